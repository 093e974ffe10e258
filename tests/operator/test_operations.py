"""What becomes of operations whatever goes wrong: nothing that an order or a connector does ends the runner."""

import asyncio
import base64
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from structlog.testing import capture_logs
from unicorn_core.connector import Done, Failed, Unknown
from unicorn_core.errors import Broken, NotFound, Refused, StoreUnavailable, Waiting
from unicorn_core.naming import ExecutorId
from unicorn_operator import operations
from unicorn_operator.cache import Caches
from unicorn_operator.operations import OperationRunner
from unicorn_operator.orders import SecretReader
from unicorn_operator.queue import WorkQueue

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
CONNECTOR, EXPERIMENT = uuid4(), uuid4()


class Secrets:
    """The Kubernetes API, of which only Secrets are asked for."""

    def __init__(self, **data: bytes) -> None:
        self.data = {key: base64.b64encode(value).decode() for key, value in data.items()}
        self.reads = 0

    async def get(self, resource: object, namespace: str, name: str) -> dict[str, Any]:
        self.reads += 1
        if name != "there":
            raise NotFound(name)
        return {"data": self.data}


def reader(**data: bytes) -> tuple[SecretReader, Secrets]:
    secrets = Secrets(**data)
    return SecretReader(SimpleNamespace(kube=secrets)), secrets  # type: ignore[arg-type]


async def test_a_secret_is_read_once_for_all_orders_of_a_call() -> None:
    secret, api = reader(a="ä".encode(), b=b"")
    assert [await secret.value("lab", "there", key) for key in ("a", "b", "a")] == ["ä", "", "ä"]
    assert api.reads == 1


@pytest.mark.parametrize(
    ("name", "key", "error", "reason", "because"),
    [
        ("there", "binary", Refused, "SecretNotUsable", "it is no text"),
        ("there", "nul", Refused, "SecretNotUsable", "no environment takes a NUL"),
        ("there", "other", Waiting, "SecretNotFound", "the key may still come"),
        ("elsewhere", "binary", Waiting, "SecretNotFound", "the Secret may still come"),
    ],
)
async def test_a_secret_that_cannot_be_used(name: str, key: str, error: type[Exception], reason: str, because: str) -> None:
    secret, _ = reader(binary=b"hidden\xff", nul=b"hidden\0")
    with pytest.raises(error) as raised:
        await secret.value("lab", name, key)
    assert raised.value.reason == reason, because  # type: ignore[attr-defined]
    assert key in str(raised.value) or name == "elsewhere"
    chain = (raised.value, raised.value.__cause__, raised.value.__context__)
    assert not any("hidden" in repr(one) or "hidden" in repr(getattr(one, "object", "")) for one in chain), "never shown"


@dataclass
class Records:
    """The store, of which only operations are asked for: those that are due, and what became of them."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    outcomes: list[tuple[str, UUID, str]] = field(default_factory=list)  # statement, executor, reason
    broken: list[Exception] = field(default_factory=list)  # what the next recordings end with
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, verb: str, count: int = 1) -> list[UUID]:
        made = [uuid4() for _ in range(count)]
        self.rows += [_row(executor, verb) for executor in made]
        return made

    @property
    def queries(self) -> "Records":
        return self

    @asynccontextmanager
    async def connection(self) -> Any:
        yield None

    transaction = connection

    async def read_due_operations(self, connection: None, busy: list[UUID], limit: int) -> Any:
        for row in [row for row in self.rows if row["executor_id"] not in busy]:
            yield row

    async def read_cancelled_operations(self, connection: None, ids: list[UUID]) -> Any:
        return
        yield

    def finish_operations(self, connection: None, ids: list[UUID], verbs: list[str], clean: list[UUID]) -> Any:
        return self._end("done", ids, [""] * len(ids))

    def fail_operations(self, connection: None, ids: list[UUID], reasons: list[str], **_: Any) -> Any:
        return self._end("failed", ids, reasons)

    def postpone_operations(self, connection: None, ids: list[UUID], reasons: list[str], **_: Any) -> Any:
        return self._end("later", ids, reasons)

    async def _end(self, how: str, ids: list[UUID], reasons: list[str]) -> Any:
        if self.broken:
            raise self.broken.pop(0)
        self.rows = [row for row in self.rows if row["executor_id"] not in ids]
        self.outcomes += [(how, id_, reason) for id_, reason in zip(ids, reasons, strict=True)]
        self.changed.set()
        yield {"experiment_uid": EXPERIMENT}

    async def until(self, count: int) -> dict[UUID, tuple[str, str]]:
        """The outcomes, once there are so many."""
        while len(self.outcomes) < count:
            self.changed.clear()
            await asyncio.wait_for(self.changed.wait(), 10)
        return {id_: (how, reason) for how, id_, reason in self.outcomes}


def _row(executor: UUID, verb: str) -> dict[str, Any]:
    return {
        "executor_id": executor,
        "experiment_uid": EXPERIMENT,
        "connector_uid": CONNECTOR,
        "verb": verb,
        "fence": 1,
        "tries": 0,
        "node_name": "n",
        "node_address": "",
        "node_properties": {},
        "namespace": "lab",
    }


class Answering:
    """A connector of anybody's: answers what a test says, and counts what is under way."""

    def __init__(self, **answers: Callable[[Any], Any]) -> None:
        self.answers = answers
        self.running: Counter[str] = Counter()
        self.most: Counter[str] = Counter()

    async def _answer(self, verb: str, handles: Any) -> Any:
        self.running[verb] += 1
        self.most[verb] = max(self.most[verb], self.running[verb])
        try:
            answer = self.answers[verb](handles)
            return await answer if asyncio.iscoroutine(answer) else answer
        finally:
            self.running[verb] -= 1

    async def prepare(self, orders: Any) -> Any:
        return await self._answer("prepare", orders)

    async def start(self, orders: Any) -> Any:
        return await self._answer("start", orders)

    async def stop(self, handles: Any, grace: timedelta) -> Any:
        return await self._answer("stop", handles)

    async def cleanup(self, handles: Any) -> Any:
        return await self._answer("cleanup", handles)


def all_done(handles: Any) -> Mapping[ExecutorId, Done]:
    return {handle.executor: Done() for handle in handles}


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`async with running(records, connector)`: the runner at work; it must still run at the end."""
    monkeypatch.setattr(operations, "POLL", timedelta(milliseconds=20))

    async def order_of(row: Mapping[str, Any], *_: Any) -> Any:
        return SimpleNamespace(executor=ExecutorId(row["executor_id"]))

    monkeypatch.setattr(operations, "order_of", order_of)

    @asynccontextmanager
    async def made(records: Records, connector: Any) -> Any:
        world = SimpleNamespace(
            store=records,
            connectors=SimpleNamespace(get=lambda _: connector, type_of=lambda _: "fake"),
            caches=Caches(),
            queue=WorkQueue(),
            metrics=SimpleNamespace(operated=lambda *_: None),
            now=lambda: NOON,
            closing=lambda: False,
        )
        task = asyncio.create_task(OperationRunner().run(world))  # type: ignore[arg-type]
        try:
            yield world
            assert not task.done(), "whatever a connector answers, the runner goes on"
        finally:
            task.cancel()
            await asyncio.wait([task])

    return made


def raising(error: Exception) -> Callable[[Any], Any]:
    def answer(_: Any) -> Any:
        raise error

    return answer


@pytest.mark.parametrize(
    ("answer", "expected", "faults", "because"),
    [
        (all_done, ("done", ""), 0, "it went well"),
        (raising(Broken("away")), ("later", "Broken"), 0, "an error of ours is tried again"),
        (raising(ValueError("hidden")), ("later", "Fault"), 1, "nobody expected this"),
        (lambda _: None, ("later", "Fault"), 1, "that is no answer"),
        (lambda handles: {handle.executor: "ok" for handle in handles}, ("later", "Fault"), 1, "nor is that"),
        (lambda _: {}, ("later", "NoAnswer"), 0, "nothing was said of it"),
        (lambda handles: {handle.executor: Unknown("B\0ad", "a\0b\udc80") for handle in handles}, ("later", "Bad"), 0, "no NUL"),
    ],
)
async def test_every_answer_becomes_an_outcome(
    running: Any, answer: Callable[[Any], Any], expected: tuple[str, str], faults: int, because: str
) -> None:
    records = Records()
    (executor,) = records.add("Stop")
    with capture_logs() as logs:
        async with running(records, Answering(stop=answer)):
            assert (await records.until(1))[executor] == expected, because
    assert sum(entry["log_level"] == "error" for entry in logs) == faults, "logged once, where it is a fault"


@pytest.mark.parametrize(
    ("verb", "answer", "now", "within"),
    [
        ("Start", all_done, 0, 1),
        ("Start", lambda handles: {handle.executor: Failed("NodeGone") for handle in handles}, 1, 0),
        ("Stop", all_done, 1, 0),
    ],
    ids=["started", "not started", "stopped"],
)
async def test_a_start_brings_no_pass_of_its_own(
    running: Any, verb: str, answer: Callable[[Any], Any], now: int, within: int
) -> None:
    records, item = Records(), {"metadata": {"uid": str(EXPERIMENT), "namespace": "lab", "name": "e", "resourceVersion": "1"}}
    async with running(records, Answering(start=answer, stop=answer)) as world:
        world.caches.experiments.put(item)
        records.add(verb)
        async with asyncio.timeout(10):
            while not world.queue.depth() + world.queue.delayed():
                await asyncio.sleep(0.001)
        assert (world.queue.depth(), world.queue.delayed()) == (now, within)


async def test_an_order_that_cannot_be_made_fails_alone(running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    records = Records()
    good, bad, refused = records.add("Prepare", 3)

    async def order_of(row: Mapping[str, Any], *_: Any) -> Any:
        if row["executor_id"] == bad:
            raise KeyError("hidden")
        if row["executor_id"] == refused:
            raise Refused([], "SecretNotUsable")
        return SimpleNamespace(executor=ExecutorId(row["executor_id"]))

    monkeypatch.setattr(operations, "order_of", order_of)
    async with running(records, Answering(prepare=all_done)):
        found = await records.until(3)
    assert found == {good: ("done", ""), bad: ("later", "Fault"), refused: ("failed", "SecretNotUsable")}


@pytest.mark.parametrize("error", [StoreUnavailable("away"), Broken("PostgreSQL (22P05)"), ValueError("ours")])
async def test_an_outcome_that_cannot_be_recorded_is_asked_for_again(running: Any, error: Exception) -> None:
    records = Records(broken=[error])
    (executor,) = records.add("Stop")
    async with running(records, Answering(stop=all_done)):
        assert (await records.until(1))[executor] == ("done", "")


async def test_a_stop_waits_behind_no_preparation(running: Any) -> None:
    records, held = Records(), asyncio.Event()

    async def slow(orders: Any) -> Any:
        await held.wait()
        return all_done(orders)

    connector = Answering(prepare=slow, start=slow, stop=all_done, cleanup=all_done)
    async with running(records, connector):
        count = operations.BATCH * (operations.CALLS_PER_VERB + 2)
        records.add("Prepare", count)
        records.add("Start", count)
        (stopped,), (cleaned,) = records.add("Stop"), records.add("Cleanup")
        found = await records.until(2)
        assert found == {stopped: ("done", ""), cleaned: ("done", "")}
        assert connector.most["prepare"] == connector.most["start"] == operations.CALLS_PER_VERB, "in bounded numbers"
        held.set()
        await records.until(2 * count + 2)


async def test_failed_for_good_and_failed_for_now(running: Any) -> None:
    records = Records()
    (prepare,), (stop,) = records.add("Prepare"), records.add("Stop")
    failing = lambda handles: {handle.executor: Failed("NodeGone") for handle in handles}  # noqa: E731
    async with running(records, Answering(prepare=failing, stop=failing)):
        assert await records.until(2) == {prepare: ("failed", "NodeGone"), stop: ("later", "NodeGone")}
