"""What executors of serialized graphs report: the bytes of [Result, [log line]] as they sent them; never loaded here."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from unicorn_store import blobs
from unicorn_store.blobs import BlobKey
from unicorn_store.pool import Connection, Store, statements


@dataclass(frozen=True, slots=True)
class Report:
    content: bytes
    final: bool  # else of its last heartbeat: results and log so far
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of an executor's report without its bytes."""

    final: bool
    log_lines: int  # of its log that are in log_chunk


async def put_report(connection: Connection, executor: UUID, content: bytes, *, final: bool, log_lines: int = 0) -> bool:
    """Replaces what was reported before. False: a final report is there, and stays."""
    stored = await statements().report_put(connection, id=executor, content=content, final=final, log_lines=log_lines)
    return bool(stored)


async def take_report(connection: Connection, key: BlobKey) -> bool:
    """A complete blob of the executor becomes its final report, and is no blob any more. False: there is no such blob."""
    blob = await blobs.read(connection, key)
    if blob is None or not blob.complete:
        return False
    await statements().report_from_blob(connection, id=key.executor, digest=key.digest)
    await blobs.discard(connection, key, blob.size)
    return True


async def read_reports(store: Store, executors: Iterable[UUID]) -> Mapping[UUID, Report]:
    """Of those of these executors that reported. Raises StoreUnavailable."""
    async with store.connection() as connection:
        rows = statements().reports_read(connection, ids=list(executors))
        return {row["executor_id"]: Report(row["content"], row["final"], row["received_at"]) async for row in rows}


async def standing(connection: Connection, executor: UUID) -> Standing | None:
    """None: it has not reported yet."""
    row = await statements().report_standing(connection, id=executor)
    return Standing(**row) if row else None
