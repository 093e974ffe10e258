"""The janitor against real records: what no live experiment owns goes the orphan way, and no step holds up another."""

import asyncio
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from unicorn_core.errors import ApiUnavailable
from unicorn_operator import janitor
from unicorn_operator.cache import Caches
from unicorn_operator.key import Key
from unicorn_store import Store

LATER = timedelta(minutes=1)


@dataclass
class Lab:
    """A world of records, and a Kubernetes API that lists these experiments."""

    store: Store
    live: list[UUID] = field(default_factory=list)
    failing: int = 0  # LISTs that fail
    listed: int = 0
    woken: list[Key] = field(default_factory=list)
    asked: int = 0  # for who uses the nodes

    @property
    def world(self) -> Any:
        caches = Caches()
        metadata = {"namespace": "lab", "name": "waits", "uid": "w", "resourceVersion": "1"}
        caches.experiments.put({"kind": "Experiment", "metadata": metadata})
        settings = SimpleNamespace(retention_records=timedelta(days=365), retention_logs=timedelta(days=30), watch_namespaces=())

        def ask() -> None:
            self.asked += 1

        return SimpleNamespace(
            store=self.store,
            kube=SimpleNamespace(list=self._list),
            caches=caches,
            queue=SimpleNamespace(add=self.woken.append),
            settings=settings,
            ask_usage=ask,
            wake_operations=lambda: None,
            now=lambda: datetime.now(UTC) + LATER,
        )

    async def _list(self, _: object) -> Any:
        self.listed += 1
        if self.failing:
            self.failing -= 1
            raise ApiUnavailable("away")
        return SimpleNamespace(items=[{"metadata": {"uid": str(uid)}} for uid in self.live])

    async def fetch(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        async with self.store.connection() as connection:
            return [tuple(row) for row in await connection.fetch(statement, *values)]

    async def running(self, name: str) -> UUID:
        """An experiment with one executor that runs on its node, is being stopped, and waits for more nodes. Answers its uid."""
        uid, executor, node, connector = (uuid.uuid4() for _ in range(4))
        await self.fetch(
            "INSERT INTO unicorn.experiment (uid, namespace, name, user_name, attempt, phase, spec, created_at)"
            " VALUES ($1, 'lab', $2, 'ann', 1, 'Running', '{}', now())",
            uid,
            name,
        )
        await self.fetch(
            "INSERT INTO unicorn.executor (id, experiment_uid, attempt, deployment, index, keep_alive, state, node_uid,"
            " node_name, connector_uid) VALUES ($1, $2, 1, 'd', 0, '10m', 'Running', $3, 'rpi', $4)",
            executor,
            uid,
            node,
            connector,
        )
        await self.fetch("INSERT INTO unicorn.claim (node_uid, slot, holder) VALUES ($1, 0, $2)", node, f"experiment:{uid}")
        await self.fetch("INSERT INTO unicorn.node_lease (node_uid, slot, executor_id, experiment_uid) VALUES ($1, 0, $2, $3)",
                         node, executor, uid)  # fmt: skip
        await self.fetch("INSERT INTO unicorn.waiting (experiment_uid, priority, since, nodes) VALUES ($1, 0, now(), $2)",
                         uid, [node])  # fmt: skip
        await self.fetch("INSERT INTO unicorn.operation (executor_id, verb, experiment_uid, connector_uid)"
                         " VALUES ($1, 'Stop', $2, $3)", executor, uid, connector)  # fmt: skip
        return uid


@pytest.fixture
def lab(store: Store) -> Lab:
    return Lab(store)


async def test_a_force_deleted_experiments_leases_go_the_orphan_way(lab: Lab) -> None:
    gone, there = await lab.running("gone"), await lab.running("there")
    lab.live = [there]
    assert await janitor.sweep(lab.world, datetime.now(UTC) + LATER) == 1
    ((phase, reason, closed),) = await lab.fetch(
        "SELECT phase, reason, deleted_at IS NOT NULL AND completed_at IS NOT NULL FROM unicorn.experiment WHERE uid = $1", gone
    )
    assert (phase, reason, closed) == ("Cancelled", "ResourceGone", True)
    assert await lab.fetch("SELECT experiment_uid, reason, node_name FROM unicorn.orphan") == [(gone, "ResourceGone", "rpi")]
    assert await lab.fetch("SELECT experiment_uid, state::text FROM unicorn.executor WHERE state <> 'Running'") == [
        (gone, "Cancelled")
    ]
    assert await lab.fetch("SELECT experiment_uid FROM unicorn.node_lease") == [(there,)]
    assert await lab.fetch("SELECT experiment_uid FROM unicorn.waiting") == [(there,)]
    assert await lab.fetch("SELECT experiment_uid FROM unicorn.operation WHERE state = 'Pending'") == [(there,)]
    assert await lab.fetch("SELECT count(*) FROM unicorn.claim") == [(2,)], "an orphan keeps its slot"
    assert (lab.asked, lab.woken) == (1, [Key("Experiment", "lab", "waits")]), "people see the orphan, and who waits is told"


async def test_what_the_list_may_not_show_yet_is_left_alone(lab: Lab) -> None:
    await lab.running("new")
    assert await janitor.sweep(lab.world, datetime.now(UTC)) == 0
    assert lab.listed == 0


async def test_a_list_that_fails_holds_up_nothing_else(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(janitor, "AGAIN", timedelta(milliseconds=20))
    await lab.running("gone")
    await lab.fetch("INSERT INTO unicorn.claim (node_uid, slot, holder) VALUES ($1, 0, 'experiment:x')", uuid.uuid4())
    await lab.fetch(
        "INSERT INTO unicorn.experiment (uid, namespace, name, user_name, attempt, phase, spec, created_at, completed_at,"
        " deleted_at) VALUES ($1, 'lab', 'old', 'ann', 1, 'Failed', '{}', now(), now() - interval '2 years', now())",
        uuid.uuid4(),
    )
    lab.failing = 1_000_000

    async def done() -> bool:
        claims = await lab.fetch("SELECT count(*) FROM unicorn.claim")
        return claims == [(1,)] and await lab.fetch("SELECT name FROM unicorn.experiment") == [("gone",)]

    task = asyncio.create_task(janitor.keep_clean(lab.world))
    try:
        async with asyncio.timeout(20):
            while not await done():
                await asyncio.sleep(0.02)
            lab.failing = 0
            while await lab.fetch("SELECT count(*) FROM unicorn.orphan") != [(1,)]:
                await asyncio.sleep(0.02)
    finally:
        task.cancel()
        await asyncio.wait([task])
