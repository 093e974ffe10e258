"""Reading what experiments left: whole, in order, page by page."""

import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from unicorn_store import records
from unicorn_store.records import ExperimentRecord

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def small_pages(monkeypatch):
    monkeypatch.setattr(records, "_PAGE", 3)


@dataclass
class Rows:
    """Puts rows in, as operator and gateway would."""

    store: object

    async def execute(self, statement, *values):
        async with self.store.connection() as connection:
            await connection.execute(statement, *values)

    async def experiment(self, name, at=NOON, namespace="default", phase="Succeeded"):
        uid = uuid.uuid4()
        statement = """INSERT INTO unicorn.experiment (uid, namespace, name, user_name, attempt, phase, spec, created_at)
                       VALUES ($1, $2, $3, 'ann', 1, $4, '{}', $5)"""
        await self.execute(statement, uid, namespace, name, phase, at)
        return uid

    async def snapshot(self, experiment, deployment, position):
        statement = """INSERT INTO unicorn.snapshot (experiment_uid, attempt, deployment, position, graph, body)
                       VALUES ($1, 1, $2, $3, '{}', '{}')"""
        await self.execute(statement, experiment, deployment, position)

    async def executor(self, experiment, deployment="d", index=0):
        executor = uuid.uuid4()
        statement = """INSERT INTO unicorn.executor (id, experiment_uid, attempt, deployment, index, keep_alive)
                       VALUES ($1, $2, 1, $3, $4, '10 min')"""
        await self.execute(statement, executor, experiment, deployment, index)
        return executor

    async def event(self, executor, seq, kind, task, run=1, body=None):
        statement = "INSERT INTO unicorn.event (executor_id, seq, kind, task, run, body) VALUES ($1, $2, $3, $4, $5, $6)"
        await self.execute(statement, executor, seq, kind, task, run, body or {})

    async def log(self, executor, seq, text=None, blob=None):
        statement = "INSERT INTO unicorn.log_chunk (executor_id, seq, stream, content, blob) VALUES ($1, $2, 'stdout', $3, $4)"
        await self.execute(statement, executor, seq, text, blob)

    async def blob(self, executor, *parts):
        digest, size = "ab" * 32, sum(map(len, parts))
        await self.execute(
            "INSERT INTO unicorn.blob (complete, executor_id, sha256, size, stored) VALUES (true, $1, $2, $3, $3)",
            executor,
            digest,
            size,
        )
        start = 0
        for part in parts:
            statement = "INSERT INTO unicorn.blob_part (executor_id, sha256, start, content) VALUES ($1, $2, $3, $4)"
            await self.execute(statement, executor, digest, start, part)
            start += len(part)
        return digest

    async def result(self, executor, results=None, blob=None, late=False):
        statement = "INSERT INTO unicorn.result (executor_id, outcome, results, blob, late) VALUES ($1, 'Success', $2, $3, $4)"
        await self.execute(statement, executor, results, blob, late)


@pytest.fixture
def rows(store):
    return Rows(store)


async def every(pages):
    return [record async for record in pages]


async def test_experiments_come_newest_first_over_all_pages(store, rows):
    for number in range(7):
        await rows.experiment(f"e{number // 2}", NOON + timedelta(minutes=number // 2))  # two at the same moment
    await rows.experiment("elsewhere", namespace="other")
    found = await every(records.experiments(store, "default"))
    assert [record.name for record in found] == ["e3", "e2", "e2", "e1", "e1", "e0", "e0"]
    assert len({record.uid for record in found}) == 7, "no one twice, none left out"
    assert len(await every(records.experiments(store))) == 8
    assert [record.created.minute for record in await every(records.experiments(store, "default", "e2"))] == [2, 2]


async def test_an_experiment(store, rows):
    uid = await rows.experiment("hello", phase="Failed")
    found = await records.experiment(store, uid)
    assert isinstance(found, ExperimentRecord)
    assert (found.name, found.phase, found.user, found.deleted) == ("hello", "Failed", "ann", None)
    assert await records.experiment(store, uuid.uuid4()) is None


async def test_executors_come_in_the_order_of_the_deployments(store, rows):
    uid = await rows.experiment("hello")
    for position, deployment in enumerate(("z", "a")):
        await rows.snapshot(uid, deployment, position)
        for index in range(11, -1, -1):
            await rows.executor(uid, deployment, index)
    found = [(record.deployment, record.index) for record in await every(records.executors(store, uid, 1))]
    assert found == [(deployment, index) for deployment in ("z", "a") for index in range(12)]
    assert await every(records.executors(store, uid, 2)) == []


async def test_results_stand_in_the_order_of_their_first_runs(store, rows):
    executor = await rows.executor(uid := await rows.experiment("hello"))
    for seq, task in enumerate(("speak", "a", "speak"), 1):
        await rows.event(executor, seq, "TaskStarted", task)
    await rows.result(executor, {"a": [], "speak": [], "zz": []})
    (found,) = await every(records.executors(store, uid, 1))
    assert list(found.results) == ["speak", "a", "zz"]


async def test_large_results_and_logs_are_put_together_from_their_parts(store, rows):
    results = {"t": [{"outcome": "Success", "value": "é" * 1000}]}
    raw = json.dumps(results, ensure_ascii=False).encode()
    executor = await rows.executor(uid := await rows.experiment("hello"))
    digest = await rows.blob(executor, raw[:501], raw[501:502], raw[502:])
    await rows.result(executor, blob=digest)
    await rows.log(executor, 1, "short")
    await rows.log(executor, 2, blob=digest)
    (found,) = await every(records.executors(store, uid, 1))
    assert found.results == results
    assert [log.text for log in await every(records.logs(store, executor))] == ["short", raw.decode()]


async def test_a_late_result_does_not_count(store, rows):
    executor = await rows.executor(uid := await rows.experiment("hello"))
    await rows.result(executor, {}, late=True)
    (found,) = await every(records.executors(store, uid, 1))
    assert (found.outcome, found.results) == (None, None)


async def test_events_and_logs_go_on_after_a_number(store, rows):
    executor = await rows.executor(await rows.experiment("hello"))
    for seq in range(1, 9):
        await rows.event(executor, seq * 2, "TaskStarted", "t")
        await rows.log(executor, seq * 2 + 1, str(seq))
    assert [event.sequence for event in await every(records.events(store, executor))] == list(range(2, 17, 2))
    assert [event.sequence for event in await every(records.events(store, executor, after=10))] == [12, 14, 16]
    assert [log.text for log in await every(records.logs(store, executor, after=9))] == ["5", "6", "7", "8"]


async def test_progress_knows_what_runs(store, rows):
    executor = await rows.executor(uid := await rows.experiment("hello"))
    history = [
        ("TaskStarted", "a", 1),
        ("TaskStarted", "b", 2),
        ("TaskFinished", "a", 1),
        ("TaskFinished", "b", 2),
        ("TaskStarted", "b", 2),
    ]
    for seq, (kind, task, run) in enumerate(history, 1):
        await rows.event(executor, seq, kind, task, run)
    (found,) = await records.progress(store, uid, 1)
    assert (found.finished, found.running) == (2, ("b",)), "b is being tried again"
