"""What the executor gateway reads and writes. Each function is one statement, on a connection that the caller gives."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from unicorn_store.pool import Connection, statements

FINAL = frozenset({"Succeeded", "Failed", "Cancelled"})


@dataclass(frozen=True, slots=True)
class ExecutorRow:
    """What decides about a request of an executor."""

    id: UUID
    experiment_uid: UUID
    attempt: int
    state: str
    instance: str | None
    fence: int
    started: bool
    keep_alive: timedelta
    last_seq: int
    cancel: bool
    released: bool
    over: bool  # its experiment is final

    @property
    def final(self) -> bool:
        """Reports of it are late: they change no state and no count."""
        return self.state in FINAL or self.over


@dataclass(frozen=True, slots=True)
class Beat:
    """What a tick brings back of a row it wrote."""

    id: UUID
    state: str
    instance: str | None
    fence: int
    last_seq: int
    cancel: bool
    released: bool


@dataclass(frozen=True, slots=True)
class Assignment:
    id: UUID
    index: int
    attempt: int
    deployment: str
    node_name: str
    node_properties: dict[str, Any]
    report_results: bool
    keep_alive: timedelta
    last_seq: int
    experiment: str
    experiment_uid: UUID
    namespace: str
    graph: dict[str, Any] | None  # None: there is no snapshot
    params: dict[str, str] | None


@dataclass(frozen=True, slots=True)
class Batch:
    """Events that continue `before`; `events` and `logs` are rows as the statement names their columns."""

    executor: UUID
    instance: str
    fence: int
    before: int
    last: int
    boot_id: str | None
    events: Sequence[Mapping[str, Any]]
    logs: Sequence[Mapping[str, Any]]
    log_bytes: int
    log_quota: int


@dataclass(frozen=True, slots=True)
class Stored:
    last_seq: int
    state: str
    cancel: bool
    late: bool
    log_before: int  # bytes of log that had come before these


@dataclass(frozen=True, slots=True)
class Result:
    outcome: str
    reason: str
    message: str
    results: Any
    blob: str | None
    late: bool


async def rows(connection: Connection, ids: Iterable[UUID]) -> list[ExecutorRow]:
    return [ExecutorRow(**row) async for row in statements().gateway_rows(connection, ids=list(ids))]


async def lock(connection: Connection, executor: UUID) -> ExecutorRow | None:
    row = await statements().gateway_lock(connection, id=executor)
    return ExecutorRow(**row) if row else None


async def assignment(connection: Connection, executor: UUID) -> Assignment | None:
    row = await statements().gateway_assignment(connection, id=executor)
    return Assignment(**row) if row else None


async def check_in(connection: Connection, executor: UUID, instance: str) -> None:
    await statements().gateway_check_in(connection, id=executor, instance=instance)


async def revive(connection: Connection, ids: Iterable[UUID]) -> set[UUID]:
    """Returns the experiments whose executors came back; tell the operator."""
    return {row["experiment_uid"] async for row in statements().gateway_revive(connection, ids=list(ids))}


async def fail(connection: Connection, executor: UUID, reason: str, message: str) -> None:
    await statements().gateway_fail(connection, id=executor, reason=reason, message=message)


async def tell(connection: Connection, channel: str, experiment: UUID) -> None:
    """channel: experiment (wakes the operator), executor or flag (wake the gateways). Sent at commit."""
    await statements().gateway_tell(connection, channel=channel, experiment=experiment)


async def tick(connection: Connection, beats: Iterable[tuple[UUID, str, float]]) -> list[Beat]:
    """beats: executor, instance, seconds since it was heard. One statement."""
    listed = list(beats)
    ids, instances, ages = [b[0] for b in listed], [b[1] for b in listed], [b[2] for b in listed]
    return [Beat(**row) async for row in statements().gateway_tick(connection, ids=ids, instances=instances, ages=ages)]


async def store_batch(connection: Connection, batch: Batch) -> Stored | None:
    """All of it or, where it does not continue the stored events of the claimed instance, nothing (None). One statement."""
    row = await statements().gateway_store_batch(
        connection,
        id=batch.executor,
        instance=batch.instance,
        fence=batch.fence,
        before=batch.before,
        last=batch.last,
        boot_id=batch.boot_id,
        events=batch.events,
        logs=batch.logs,
        log_bytes=batch.log_bytes,
        quota=batch.log_quota,
    )
    return Stored(**row) if row else None


async def complete_blobs(connection: Connection, executor: UUID, digests: Iterable[str]) -> set[str]:
    return {row["sha256"] async for row in statements().gateway_complete_blobs(connection, id=executor, digests=list(digests))}


async def store_result(connection: Connection, executor: UUID, result: Result) -> bool:
    """False: there is one already, and it stays."""
    stored = await statements().gateway_store_result(
        connection,
        id=executor,
        outcome=result.outcome,
        reason=result.reason,
        message=result.message,
        results=result.results,
        blob=result.blob,
        late=result.late,
    )
    return bool(stored)


async def finish(connection: Connection, executor: UUID, state: str, reason: str, message: str) -> None:
    await statements().gateway_finish(connection, id=executor, state=state, reason=reason, message=message)


async def ring_barriers(connection: Connection, experiment: UUID, attempt: int) -> None:
    await statements().gateway_ring_barriers(connection, experiment=experiment, attempt=attempt)
