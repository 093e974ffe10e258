"""What is left of experiments for those who read it: outcomes, results, logs, events. Everything long comes in pages.

Values and texts are what executors sent: data, to be escaped by whoever shows it.
"""

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from unicorn_store import blobs
from unicorn_store.blobs import BlobKey
from unicorn_store.pool import Store

_PAGE = 200


@dataclass(frozen=True, slots=True)
class ExperimentRecord:
    """An experiment as its resource last said; `deleted`: when the resource went. `status` is the resource's."""

    uid: UUID
    namespace: str
    name: str
    user: str
    attempt: int
    phase: str
    reason: str
    message: str
    created: datetime
    started: datetime | None
    completed: datetime | None
    deleted: datetime | None
    status: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ExecutorRecord:
    """`outcome`: Success or Failure of its graph; None without a final report. `results`: task -> a list of
    {outcome, value, error}, one for each time that it ran, in the order of their first runs; None where none were reported."""

    id: UUID
    deployment: str
    index: int
    node: str
    state: str
    reason: str
    message: str
    released: datetime | None
    finished: datetime | None
    exit_code: int | None
    events: int  # how many were stored, log chunks included
    log_bytes: int
    outcome: str | None
    results: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class ProgressRecord:
    """`finished`: task runs (tries counted each) that have ended. `running`: tasks that run now."""

    id: UUID
    deployment: str
    index: int
    node: str
    state: str
    finished: int
    running: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EventRecord:
    """`body`: outcome, value, error, … as docs/executor-protocol.md has them; a long value is a blob there.

    `late`: it came too late to count.
    """

    sequence: int
    kind: str
    task: str | None
    run: int | None
    try_: int | None
    wall: float | None
    mono: float | None
    boot_id: str | None
    received: datetime
    late: bool
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LogRecord:
    sequence: int
    task: str | None
    run: int | None
    stream: str  # stdout, stderr, agent
    wall: float | None
    received: datetime
    late: bool
    text: str


async def experiments(store: Store, namespace: str | None = None, name: str | None = None) -> AsyncIterator[ExperimentRecord]:
    """Newest first; of one name there may be several, one after the other. Raises StoreUnavailable."""
    created, uid = None, None
    while True:
        async with store.connection() as connection:
            query = store.queries.records_of_experiments(
                connection, namespace=namespace, name=name, created=created, uid=uid, limit=_PAGE
            )
            page = [_experiment(row) async for row in query]
        for record in page:
            yield record
        if len(page) < _PAGE:
            return
        created, uid = page[-1].created, page[-1].uid


async def experiment(store: Store, uid: UUID) -> ExperimentRecord | None:
    """Raises StoreUnavailable."""
    async with store.connection() as connection:
        row = await store.queries.records_experiment(connection, uid=uid)
    return _experiment(row) if row else None


async def executors(store: Store, uid: UUID, attempt: int) -> AsyncIterator[ExecutorRecord]:
    """By deployment, then index, with their results. Raises StoreUnavailable."""
    place = {"position": -2, "deployment": "", "index": -1}
    while True:
        async with store.connection() as connection:
            rows = [
                row
                async for row in store.queries.records_of_executors(connection, uid=uid, attempt=attempt, limit=_PAGE, **place)
            ]
        for row in rows:
            results = row["results"]
            if results is None and row["blob"] is not None:
                results = json.loads(b"".join([part async for part in blob(store, BlobKey(row["id"], row["blob"]))]))
            yield _executor(row, results)
        if len(rows) < _PAGE:
            return
        place = {key: rows[-1][key] for key in place}


async def progress(store: Store, uid: UUID, attempt: int) -> list[ProgressRecord]:
    """How far each executor is; meant for experiments of a size that a person follows. Raises StoreUnavailable."""
    async with store.connection() as connection:
        rows = [row async for row in store.queries.records_of_progress(connection, uid=uid, attempt=attempt)]
    return [
        ProgressRecord(
            row["id"], row["deployment"], row["index"], row["node_name"], row["state"], row["finished"], tuple(row["running"])
        )
        for row in rows
    ]


async def events(store: Store, executor: UUID, after: int = 0) -> AsyncIterator[EventRecord]:
    """In the executor's order, after this number. Raises StoreUnavailable."""
    while True:
        async with store.connection() as connection:
            rows = [row async for row in store.queries.records_of_events(connection, id=executor, after=after, limit=_PAGE)]
        for row in rows:
            yield _event(row)
        if len(rows) < _PAGE:
            return
        after = rows[-1]["seq"]


async def logs(store: Store, executor: UUID, after: int = 0) -> AsyncIterator[LogRecord]:
    """In the executor's order, after this number; long texts are read in full. Raises StoreUnavailable."""
    while True:
        async with store.connection() as connection:
            rows = [row async for row in store.queries.records_of_logs(connection, id=executor, after=after, limit=_PAGE)]
        for row in rows:
            text = row["content"]
            if text is None:
                parts = [part async for part in blob(store, BlobKey(executor, row["blob"]))]
                text = b"".join(parts).decode(errors="replace")
            yield _log(row, text)
        if len(rows) < _PAGE:
            return
        after = rows[-1]["seq"]


async def blob(store: Store, key: BlobKey) -> AsyncIterator[bytes]:
    """Its bytes, part by part. Raises StoreUnavailable."""
    async with store.connection() as connection:
        starts = await blobs.starts(connection, key)
    for start in starts:
        async with store.connection() as connection:
            part = await blobs.part(connection, key, start)
        yield part


def _experiment(row: Any) -> ExperimentRecord:
    return ExperimentRecord(
        uid=row["uid"],
        namespace=row["namespace"],
        name=row["name"],
        user=row["user_name"],
        attempt=row["attempt"],
        phase=row["phase"],
        reason=row["reason"],
        message=row["message"],
        created=row["created_at"],
        started=row["started_at"],
        completed=row["completed_at"],
        deleted=row["deleted_at"],
        status=row["status"],
    )


def _executor(row: Any, results: Mapping[str, Any] | None) -> ExecutorRecord:
    if results is not None:  # jsonb keeps no order
        results = {task: results[task] for task in [*row["tasks"], *results] if task in results}
    return ExecutorRecord(
        id=row["id"],
        deployment=row["deployment"],
        index=row["index"],
        node=row["node_name"],
        state=row["state"],
        reason=row["reason"],
        message=row["message"],
        released=row["released_at"],
        finished=row["finished_at"],
        exit_code=row["exit_code"],
        events=row["last_seq"],
        log_bytes=row["log_bytes"],
        outcome=row["outcome"],
        results=results,
    )


def _event(row: Any) -> EventRecord:
    return EventRecord(
        sequence=row["seq"],
        kind=row["kind"],
        task=row["task"],
        run=row["run"],
        try_=row["try"],
        wall=row["wall"],
        mono=row["mono"],
        boot_id=row["boot_id"],
        received=row["received_at"],
        late=row["late"],
        body=row["body"],
    )


def _log(row: Any, text: str) -> LogRecord:
    return LogRecord(
        sequence=row["seq"],
        task=row["task"],
        run=row["run"],
        stream=row["stream"],
        wall=row["wall"],
        received=row["received_at"],
        late=row["late"],
        text=text,
    )
