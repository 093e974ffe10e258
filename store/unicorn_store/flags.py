"""Flags and barriers of an experiment's attempt. Each function is one statement, on a connection that the caller gives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from unicorn_store.pool import Connection, statements


@dataclass(frozen=True, slots=True)
class FlagKey:
    experiment: UUID
    attempt: int
    name: str


@dataclass(frozen=True, slots=True)
class Flag:
    name: str
    text: str | None = None
    integer: int = 0
    version: int = 0  # 0: never written


@dataclass(frozen=True, slots=True)
class Write:
    """What makes a write unique: it is applied once, a repeat gets the first answer."""

    executor: UUID
    run: int
    operation: int


@dataclass(frozen=True, slots=True)
class Writer:
    """Whose write it is: of the executor's claimed instance, in a start that was not superseded."""

    executor: UUID
    fence: int
    instance: str


@dataclass(frozen=True, slots=True)
class Added:
    writers: frozenset[UUID]  # those of the executors that still may write
    flags: frozenset[FlagKey]  # those of their flags that stayed within 64 bits; the others are as they were


@dataclass(frozen=True, slots=True)
class Barrier:
    opened: int | None  # how many members it had when it opened; None: closed
    arrived: int
    members: int


async def read(connection: Connection, key: FlagKey) -> Flag:
    row = await statements().flag_read(connection, experiment=key.experiment, attempt=key.attempt, name=key.name)
    return Flag(**row) if row else Flag(key.name)


async def read_locked(connection: Connection, key: FlagKey) -> Flag | None:
    """Locked until the end of the transaction; None: there is no row to lock."""
    row = await statements().flag_read_locked(connection, experiment=key.experiment, attempt=key.attempt, name=key.name)
    return Flag(**row) if row else None


async def create(connection: Connection, key: FlagKey) -> None:
    await statements().flag_create(connection, experiment=key.experiment, attempt=key.attempt, name=key.name)


async def count(connection: Connection, key: FlagKey) -> int:
    """Flags of the attempt."""
    return int(await statements().flag_count(connection, experiment=key.experiment, attempt=key.attempt))


async def write(connection: Connection, key: FlagKey, flag: Flag) -> None:
    await statements().flag_write(
        connection,
        experiment=key.experiment,
        attempt=key.attempt,
        name=key.name,
        text=flag.text,
        integer=flag.integer,
        version=flag.version,
    )


async def existing(connection: Connection, keys: Sequence[FlagKey]) -> set[FlagKey]:
    """Those of these flags that are there. All are of one attempt."""
    first = keys[0]
    rows = statements().flags_existing(
        connection, experiment=first.experiment, attempt=first.attempt, names=[key.name for key in keys]
    )
    return {FlagKey(first.experiment, first.attempt, row["name"]) async for row in rows}


async def add(connection: Connection, amounts: Mapping[tuple[Writer, FlagKey], int]) -> Added:
    """Add to each of these flags, made if it is not there; tells of it. One statement."""
    writers, keys = [writer for writer, _ in amounts], [key for _, key in amounts]
    row = await statements().flags_add(
        connection,
        executors=[writer.executor for writer in writers],
        instances=[writer.instance for writer in writers],
        fences=[writer.fence for writer in writers],
        experiments=[key.experiment for key in keys],
        attempts=[key.attempt for key in keys],
        names=[key.name for key in keys],
        amounts=list(amounts.values()),
    )
    return Added(frozenset(row["writers"]), frozenset(FlagKey(*key) for key in row["added"]))


async def first_answer(connection: Connection, write: Write) -> Any:
    return await statements().flag_answer(connection, id=write.executor, run=write.run, operation=write.operation)


async def keep_answer(connection: Connection, write: Write, answer: Any) -> None:
    await statements().flag_keep_answer(connection, id=write.executor, run=write.run, operation=write.operation, answer=answer)


async def arrive(connection: Connection, key: FlagKey, write: Write) -> int:
    """Returns the number of the meeting, from 1. The executor's row must be locked."""
    meeting = await statements().barrier_arrive(
        connection,
        experiment=key.experiment,
        attempt=key.attempt,
        name=key.name,
        id=write.executor,
        run=write.run,
        operation=write.operation,
    )
    return int(meeting)


async def meeting_of(connection: Connection, key: FlagKey, write: Write) -> int | None:
    """The meeting that this arrival belongs to; None: it has not arrived."""
    meeting: int | None = await statements().barrier_meeting(
        connection, id=write.executor, run=write.run, operation=write.operation, name=key.name
    )
    return meeting


async def look(connection: Connection, key: FlagKey, meeting: int) -> Barrier:
    row = await statements().barrier_look(
        connection, experiment=key.experiment, attempt=key.attempt, name=key.name, meeting=meeting
    )
    return Barrier(**row)


async def open_barrier(connection: Connection, key: FlagKey, meeting: int, members: int) -> None:
    await statements().barrier_open(
        connection, experiment=key.experiment, attempt=key.attempt, name=key.name, meeting=meeting, members=members
    )
