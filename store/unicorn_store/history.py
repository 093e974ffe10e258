"""Pages of what is left of one namespace's experiments, for those who read them over HTTP. Each function is a page or a row.

Values and texts are what executors sent: data, to be escaped by whoever shows it. All functions raise StoreUnavailable.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from unicorn_store.blobs import BlobKey
from unicorn_store.flags import Flag
from unicorn_store.pool import Connection, Store


@dataclass(frozen=True, slots=True)
class ExperimentFilter:
    """None: whatever it is."""

    name: str | None = None
    user: str | None = None
    phases: Sequence[str] | None = None
    search: str | None = None  # in name or message, case aside
    since: datetime | None = None  # made then or later
    until: datetime | None = None  # made before
    deleted: bool | None = None  # its resource is gone


@dataclass(frozen=True, slots=True)
class Experiment:
    """As its resource last said; `deleted_at`: when the resource went."""

    uid: UUID
    namespace: str
    name: str
    user_name: str
    attempt: int
    phase: str
    reason: str
    message: str
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    deleted_at: datetime | None
    spec: Any = None  # of a single one only
    status: Any = None


@dataclass(frozen=True, slots=True)
class Place:
    """Of an executor in its attempt: the position of its deployment, the deployment, the index."""

    position: int = -2
    deployment: str = ""
    index: int = -1


@dataclass(frozen=True, slots=True)
class ExecutorFilter:
    states: Sequence[str] | None = None
    deployment: str | None = None
    node: str | None = None


@dataclass(frozen=True, slots=True)
class Executor:
    id: UUID
    experiment_uid: UUID
    attempt: int
    deployment: str
    index: int
    node_name: str
    state: str
    reason: str
    message: str
    checked_in_at: datetime | None
    released_at: datetime | None
    heard_at: datetime | None
    finished_at: datetime | None
    cancel_requested_at: datetime | None
    exit_code: int | None
    last_seq: int
    log_bytes: int
    position: int

    @property
    def place(self) -> Place:
        return Place(self.position, self.deployment, self.index)


@dataclass(frozen=True, slots=True)
class TaskRun:
    """A try; `body` is None while it runs."""

    seq: int
    task: str
    run: int
    try_: int
    started: float | None
    finished: float | None
    seconds: float | None
    body: Any


@dataclass(frozen=True, slots=True)
class Event:
    seq: int
    kind: str
    task: str | None
    run: int | None
    try_: int | None
    wall: float | None
    mono: float | None
    boot_id: str | None
    received_at: datetime
    late: bool
    body: Any


@dataclass(frozen=True, slots=True)
class LogFilter:
    task: str | None = None
    streams: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class LogChunk:
    """`content`, or the blob that holds it."""

    seq: int
    task: str | None
    run: int | None
    stream: str
    wall: float | None
    received_at: datetime
    late: bool
    content: str | None
    blob: str | None


@dataclass(frozen=True, slots=True)
class Result:
    outcome: str
    reason: str
    message: str
    results: Any  # of all executors of an attempt: as text
    blob: str | None
    late: bool
    received_at: datetime


@dataclass(frozen=True, slots=True)
class ExecutorResult:
    id: UUID
    deployment: str
    index: int
    node_name: str
    state: str
    result: Result
    place: Place = field(default=Place())


@dataclass(frozen=True, slots=True)
class ReportFacts:
    size: int
    final: bool
    received_at: datetime


async def experiments(
    store: Store, namespace: str, wanted: ExperimentFilter, after: tuple[datetime, UUID] | None, limit: int
) -> list[Experiment]:
    """Newest first."""
    created, uid = after or (None, None)
    async with store.connection() as connection:
        rows = store.queries.history_experiments(
            connection,
            namespace=namespace,
            name=wanted.name,
            user_name=wanted.user,
            phases=wanted.phases,
            search=wanted.search,
            since=wanted.since,
            until=wanted.until,
            deleted=wanted.deleted,
            created=created,
            uid=uid,
            limit=limit,
        )
        return [Experiment(**row) async for row in rows]


async def experiment(store: Store, namespace: str, uid: UUID | None, name: str | None) -> Experiment | None:
    """By uid, or the newest of this name."""
    async with store.connection() as connection:
        row = await store.queries.history_experiment(connection, namespace=namespace, uid=uid, name=name)
    return Experiment(**row) if row else None


async def executors(store: Store, uid: UUID, attempt: int, wanted: ExecutorFilter, after: Place, limit: int) -> list[Executor]:
    async with store.connection() as connection:
        rows = store.queries.history_executors(
            connection,
            uid=uid,
            attempt=attempt,
            states=wanted.states,
            deployment=wanted.deployment,
            node=wanted.node,
            position=after.position,
            after=after.deployment,
            index=after.index,
            limit=limit,
        )
        return [Executor(**row) async for row in rows]


async def executor(store: Store, uid: UUID, id: UUID) -> Executor | None:
    """`uid`: of its experiment."""
    async with store.connection() as connection:
        row = await store.queries.history_executor(connection, uid=uid, id=id)
    return Executor(**row) if row else None


async def is_final(store: Store, id: UUID) -> bool:
    """Nothing that counts will come from it any more."""
    async with store.connection() as connection:
        return bool(await store.queries.history_is_final(connection, id=id))


async def task_runs(store: Store, id: UUID, task: str | None, after: int, limit: int) -> list[TaskRun]:
    async with store.connection() as connection:
        rows = store.queries.history_task_runs(connection, id=id, task=task, after=after, limit=limit)
        return [TaskRun(*row.values()) async for row in rows]


async def events(store: Store, id: UUID, kinds: Sequence[str] | None, task: str | None, after: int, limit: int) -> list[Event]:
    async with store.connection() as connection:
        rows = store.queries.history_events(connection, id=id, kinds=kinds, task=task, after=after, limit=limit)
        return [Event(*row.values()) async for row in rows]


async def logs(store: Store, id: UUID, wanted: LogFilter, after: int, limit: int) -> list[LogChunk]:
    async with store.connection() as connection:
        rows = store.queries.history_logs(connection, id=id, task=wanted.task, streams=wanted.streams, after=after, limit=limit)
        return [LogChunk(**row) async for row in rows]


async def log_tail(store: Store, id: UUID, wanted: LogFilter, count: int) -> int:
    """The number after which the last `count` chunks begin."""
    async with store.connection() as connection:
        return int(await store.queries.history_log_tail(connection, id=id, task=wanted.task, streams=wanted.streams, count=count))


async def result(store: Store, id: UUID) -> Result | None:
    async with store.connection() as connection:
        row = await store.queries.history_result(connection, id=id)
    return Result(**row) if row else None


async def results(store: Store, uid: UUID, attempt: int, after: Place, limit: int, bytes: int) -> list[ExecutorResult]:
    """Of an attempt's executors that have reported; results as JSON text. At most so many, with at most so many bytes of
    results (but one at least): none means the end."""
    async with store.connection() as connection:
        rows = store.queries.history_results(
            connection,
            uid=uid,
            attempt=attempt,
            position=after.position,
            after=after.deployment,
            index=after.index,
            limit=limit,
            bytes=bytes,
        )
        return [_result(row) async for row in rows]


async def report(store: Store, id: UUID) -> ReportFacts | None:
    """Of a serialized graph's executor: what netunicorn's client would get."""
    async with store.connection() as connection:
        row = await store.queries.history_report(connection, id=id)
    return ReportFacts(**row) if row else None


async def report_part(store: Store, id: UUID, start: int, length: int) -> bytes:
    """`start`: from 0."""
    async with store.connection() as connection:
        part: bytes | None = await store.queries.history_report_part(connection, id=id, start=start + 1, length=length)
    return part or b""


async def blob_size(store: Store, key: BlobKey) -> int | None:
    """None: there is no complete one."""
    async with store.connection() as connection:
        row = await store.queries.history_blob(connection, id=key.executor, digest=key.digest)
    return row["size"] if row and row["complete"] else None


async def flags(connection: Connection, store: Store, uid: UUID, attempt: int, after: str, limit: int) -> list[Flag]:
    """By name; those that were written."""
    rows = store.queries.history_flags(connection, uid=uid, attempt=attempt, after=after, limit=limit)
    return [Flag(**row) async for row in rows]


def _result(row: Any) -> ExecutorResult:
    told = Result(**{name: row[name] for name in ("outcome", "reason", "message", "results", "blob", "late", "received_at")})
    place = Place(row["position"], row["deployment"], row["index"])
    return ExecutorResult(row["id"], row["deployment"], row["index"], row["node_name"], row["state"], told, place)
