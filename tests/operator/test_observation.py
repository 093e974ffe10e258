"""Looking at nodes and stopping orphans, on real records and fake connectors: one that is silent holds up no other."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from unicorn_connectors import fake
from unicorn_core.connector import ConnectorContext, Handle, Node, Running
from unicorn_core.errors import Waiting
from unicorn_core.naming import ExecutorId
from unicorn_core.planning.views import Sight
from unicorn_operator import observation, orphans
from unicorn_operator.cache import Caches
from unicorn_operator.guarded import Guarded
from unicorn_operator.observation import Observer
from unicorn_operator.orphans import OrphanStopper
from unicorn_operator.queue import WorkQueue
from unicorn_store import Store, leases

PATIENCE = 20.0


@dataclass
class Lab:
    """Connectors by name, each with a fake world, and executors on them."""

    store: Store
    caches: Caches = field(default_factory=Caches)
    connectors: dict[UUID, Any] = field(default_factory=dict)
    names: dict[str, UUID] = field(default_factory=dict)
    settling: timedelta = timedelta()  # since the start
    queue: WorkQueue = field(default_factory=WorkQueue)

    @property
    def world(self) -> Any:
        def get(uid: UUID) -> Any:
            if uid not in self.connectors:
                raise Waiting("ConnectorNotReady", "not yet")
            return self.connectors[uid]

        return SimpleNamespace(
            store=self.store,
            caches=self.caches,
            connectors=SimpleNamespace(get=get),
            queue=self.queue,
            ask_usage=lambda: None,
            now=lambda: datetime.now(UTC) + self.settling,
        )

    def connector(self, name: str, *, made: bool = True) -> fake.World:
        uid = self.names.setdefault(name, uuid.uuid4())
        metadata = {"namespace": "lab", "name": name, "uid": str(uid), "resourceVersion": "1"}
        self.caches.connectors.put({"kind": "Connector", "metadata": metadata})
        if made:
            config = fake.FakeConfig(world=f"{self.store.dsn}/{name}")
            self.connectors[uid] = Guarded(fake.TYPE.create(ConnectorContext(name, "lab", str(uid), config)), name)
        return fake.world(f"{self.store.dsn}/{name}")

    async def fetch(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        async with self.store.connection() as connection:
            return [tuple(row) for row in await connection.fetch(statement, *values)]

    async def running(self, name: str) -> UUID:
        """An executor that was started through this connector and runs. Answers its id."""
        connector, experiment, executor, node = self.names[name], *(uuid.uuid4() for _ in range(3))
        for statement, values in (
            (
                "INSERT INTO unicorn.experiment (uid, namespace, name, user_name, attempt, phase, spec, created_at)"
                " VALUES ($1, 'lab', 'e', 'ann', 1, 'Running', '{}', now())",
                (experiment,),
            ),
            (
                "INSERT INTO unicorn.executor (id, experiment_uid, attempt, deployment, index, keep_alive, state, started,"
                " node_uid, node_name, connector_uid) VALUES ($1, $2, 1, 'd', 0, '10m', 'Running', true, $3, 'fake-0', $4)",
                (executor, experiment, node, connector),
            ),
            ("INSERT INTO unicorn.claim (node_uid, slot, holder) VALUES ($1, 0, 'x')", (node,)),
            (
                "INSERT INTO unicorn.node_lease (node_uid, slot, executor_id, experiment_uid) VALUES ($1, 0, $2, $3)",
                (node, executor, experiment),
            ),
            (
                "INSERT INTO unicorn.operation (executor_id, verb, experiment_uid, connector_uid, state)"
                " VALUES ($1, 'Start', $2, $3, 'Done')",
                (executor, experiment, connector),
            ),
        ):
            await self.fetch(statement, *values)
        if connector in self.connectors:
            handle = Handle(ExecutorId(executor), Node("fake-0"), "lab", str(experiment))
            place = fake.world(f"{self.store.dsn}/{name}")
            place.executors[ExecutorId(executor)] = fake.FakeExecutor(handle, 1, Running())
        return executor

    async def orphan(self, name: str) -> UUID:
        executor = await self.running(name)
        await leases.record_orphans(self.store, [executor], "StopNotConfirmed")
        return executor

    async def sights(self, *executors: UUID) -> list[str]:
        rows = dict(await self.fetch("SELECT id, sighting || ' ' || sighting_reason FROM unicorn.executor"))  # type: ignore[arg-type]
        return [str(rows[executor]).strip() for executor in executors]

    async def orphaned(self) -> list[UUID]:
        return [row[0] for row in await self.fetch("SELECT executor_id FROM unicorn.orphan ORDER BY recorded_at")]


@pytest.fixture
async def lab(store: Store, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Lab]:
    for module in (observation, orphans):
        monkeypatch.setattr(module, "INTERVAL", timedelta(milliseconds=50))
    monkeypatch.setattr(observation, "SOON", timedelta(milliseconds=5))
    made = Lab(store)
    yield made
    for name in made.names:
        await fake.forget(f"{store.dsn}/{name}")


@asynccontextmanager
async def running(part: Observer | OrphanStopper, lab: Lab) -> AsyncIterator[None]:
    task = asyncio.create_task(part.run(lab.world))
    try:
        yield
        assert not task.done(), "whatever a connector answers, it goes on"
    finally:
        task.cancel()
        await asyncio.wait([task])


async def until(check: Callable[[], Any]) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            found = check()
            if await found if asyncio.iscoroutine(found) else found:
                return
            await asyncio.sleep(0.01)


async def test_a_silent_connector_holds_up_no_sighting_of_others(lab: Lab) -> None:
    lab.connector("silent").delays["observe"] = 1000
    there = lab.connector("there")
    one, two = await lab.running("silent"), await lab.running("there")
    observer = Observer()
    async with running(observer, lab):

        async def seen(*expected: str) -> bool:
            return await lab.sights(one, two) == list(expected)

        await until(lambda: seen("", "Running"))
        there.exit(ExecutorId(two), 1)
        await until(lambda: seen("", "Exited"))
        assert not observer.complete, "one was not heard of yet"
        assert fake.world(f"{lab.store.dsn}/silent").calls["observe"] == 1, "it is not asked again meanwhile"


async def test_a_connector_that_does_not_answer_in_time_is_unreachable(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observation, "CALL_LIMIT", timedelta(milliseconds=50))
    lab.connector("silent").delays["observe"] = 1000
    one = await lab.running("silent")
    observer = Observer()
    async with running(observer, lab):
        await until(lambda: observer.complete)
    assert await lab.sights(one) == ["Unreachable ConnectorTimedOut"]


@pytest.mark.parametrize("answer", [None, {"fake-0": "ok"}, KeyError("x")], ids=["nothing", "no sighting", "an error"])
async def test_an_answer_that_is_none_ends_nothing(lab: Lab, answer: object) -> None:
    lab.connector("odd")
    lab.connector("there")
    odd, there = await lab.running("odd"), await lab.running("there")

    async def observe(_: object) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    lab.connectors[lab.names["odd"]] = SimpleNamespace(observe=observe)
    observer = Observer()
    async with running(observer, lab):
        await until(lambda: observer.complete)
        assert await lab.sights(there) == ["Running"]
    assert (await lab.sights(odd))[0] in ("Unreachable Fault", "")


async def test_connectors_that_are_not_made_yet_are_waited_for_and_not_for_ever(lab: Lab) -> None:
    lab.connector("late", made=False)
    one = await lab.running("late")
    observer = Observer()
    async with running(observer, lab):
        await asyncio.sleep(0.2)
        assert not observer.complete, "nobody has looked at its executors"
        lab.settling = 2 * observation.SETTLING
        await until(lambda: observer.complete)
    assert await lab.sights(one) == [""], "nothing is said of what was not asked for"


async def test_one_that_is_made_at_last_completes_the_first_look(lab: Lab) -> None:
    lab.connector("late", made=False)
    await lab.running("late")
    observer = Observer()
    async with running(observer, lab):
        await asyncio.sleep(0.1)
        lab.connector("late")
        await until(lambda: observer.complete)


async def test_after_a_restoration_all_must_be_seen_whole(lab: Lab) -> None:
    lab.connector("one")
    silent = lab.connector("two")
    await lab.running("one")
    silent.delays["observe"] = 1000
    await lab.fetch("UPDATE unicorn.restoration SET restored_at = now(), observed_at = NULL")

    async def observed() -> bool:
        return (await lab.fetch("SELECT observed_at IS NOT NULL FROM unicorn.restoration")) == [(True,)]

    async with running(Observer(), lab):
        await until(lambda: fake.world(f"{lab.store.dsn}/one").calls["observe"] > 2)
        assert not await observed()
    silent.delays.clear()
    async with running(Observer(), lab):
        await until(observed)


async def test_a_silent_connector_holds_up_no_orphan_of_others(lab: Lab) -> None:
    lab.connector("silent").delays["stop"] = 1000
    lab.connector("there")
    first, second = await lab.orphan("silent"), await lab.orphan("there")

    async def left(*expected: UUID) -> bool:
        return await lab.orphaned() == list(expected)

    async with running(OrphanStopper(), lab):
        await until(lambda: left(first))
        third = await lab.orphan("there")
        assert third != second
        await until(lambda: left(first))
        assert fake.world(f"{lab.store.dsn}/silent").calls["stop"] == 1, "one call at a time"
    assert await lab.fetch("SELECT count(*) FROM unicorn.claim") == [(1,)]


async def test_an_orphan_that_does_not_go_is_tried_later_and_says_why(lab: Lab) -> None:
    lab.connector("campus").unreachable.add("fake-0")
    await lab.orphan("campus")

    async def tried() -> bool:
        query = "SELECT tries, reason, next_try_at > now() + interval '1 second' FROM unicorn.orphan"
        return await lab.fetch(query) == [(1, "Unreachable", True)]

    async with running(OrphanStopper(), lab):
        await until(tried)


async def test_a_stop_that_answers_nonsense_is_no_evidence(lab: Lab) -> None:
    lab.connector("odd")
    executor = await lab.orphan("odd")

    async def stop(*_: object) -> Any:
        return None

    lab.connectors[lab.names["odd"]] = SimpleNamespace(stop=stop)

    async def tried() -> bool:
        return await lab.fetch("SELECT tries, reason FROM unicorn.orphan") == [(1, "Fault")]

    async with running(OrphanStopper(), lab):
        await until(tried)
    assert await lab.orphaned() == [executor]


@pytest.mark.parametrize(
    ("sight", "now", "within"),
    [(Sight.WAITING, 0, 1), (Sight.RUNNING, 0, 1), (Sight.HOPELESS, 1, 0), (Sight.EXITED, 1, 0), (Sight.UNREACHABLE, 1, 0)],
)
async def test_who_is_on_its_way_brings_no_pass_of_its_own(lab: Lab, sight: Sight, now: int, within: int) -> None:
    lab.connector("a")
    executor = await lab.running("a")
    ((uid,),) = await lab.fetch("SELECT uid FROM unicorn.experiment")
    metadata = {"namespace": "lab", "name": "e", "uid": str(uid), "resourceVersion": "1"}
    lab.caches.experiments.put({"kind": "Experiment", "metadata": metadata})
    await observation._record([observation.Look(executor, sight)], lab.world)
    assert (lab.queue.depth(), lab.queue.delayed()) == (now, within)
