"""Operations: what may take longer than a pass. Read from PostgreSQL, run in bounded numbers, outcomes recorded.

One executor has one operation under way at a time, so a stop follows a start that has ended or was cancelled. All verbs are
idempotent: a new leader takes up whatever is recorded as pending.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog
from unicorn_core.connector import Connector, Done, Failed, Order, Outcome, Unknown
from unicorn_core.errors import Broken, Refused, StoreUnavailable, UnicornError
from unicorn_core.naming import ExecutorId
from unicorn_core.planning.retries import retry_delay
from unicorn_core.planning.views import Verb
from unicorn_core.text import plain

from unicorn_operator.cache import key_of
from unicorn_operator.orders import SecretReader, handle_of, order_of
from unicorn_operator.world import World

BATCH = 100  # executors a call
CALLS_PER_VERB = 8  # at one connector; each verb has its own, so that an hour of preparing holds up no stop
READ_AT_ONCE = 2000
CLEANUP_TRIES = 5  # then what is left stays; the lease is free
STOP_GRACE = timedelta(seconds=10)
NO_HURRY = timedelta(seconds=1)  # news that only tell how far an executor is: what comes of it is about to be heard
POLL = timedelta(seconds=2)  # repairs a lost wake-up, and notices cancelled operations

log = structlog.get_logger(__name__)

Row = Mapping[str, Any]


@dataclass(slots=True, eq=False)
class Call:
    """One verb on executors of one experiment at one connector."""

    connector: UUID
    verb: Verb
    rows: Sequence[Row]
    task: "asyncio.Task[None] | None" = None
    answered: bool = False  # its outcomes are being recorded: too late to break it off

    @property
    def ids(self) -> list[UUID]:
        return [row["executor_id"] for row in self.rows]


@dataclass(slots=True)
class OperationRunner:
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    _calls: list[Call] = field(default_factory=list)
    _slots: dict[tuple[UUID, Verb], asyncio.Semaphore] = field(
        default_factory=lambda: defaultdict(lambda: asyncio.Semaphore(CALLS_PER_VERB))
    )

    async def run(self, world: World) -> None:
        """Until cancelled. A database that is away is waited for."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                self.wake.clear()
                try:
                    await self._cancel_unwanted(world)
                    for call in await self._due(world):
                        self._calls.append(call)
                        call.task = tasks.create_task(self._carry_out(call, world))
                except Broken as error:
                    log.warning("operations wait", reason=error.reason, error=str(error))
                try:
                    async with asyncio.timeout(POLL.total_seconds()):
                        await self.wake.wait()
                except TimeoutError:
                    pass

    async def _due(self, world: World) -> list[Call]:
        busy = [id_ for call in self._calls for id_ in call.ids]
        async with world.store.connection() as connection:
            rows = [row async for row in world.store.queries.read_due_operations(connection, busy=busy, limit=READ_AT_ONCE)]
        groups: dict[tuple[UUID, Verb, UUID], list[Row]] = {}
        seen: set[UUID] = set()
        for row in rows:
            if row["executor_id"] in seen:
                continue  # its older operation goes first
            seen.add(row["executor_id"])
            groups.setdefault((row["connector_uid"], Verb(row["verb"]), row["experiment_uid"]), []).append(row)
        return [
            Call(connector, verb, members[start : start + BATCH])
            for (connector, verb, _), members in groups.items()
            for start in range(0, len(members), BATCH)
        ]

    async def _cancel_unwanted(self, world: World) -> None:
        """A call all of whose operations were cancelled is broken off: a stop waits behind it."""
        calls = [call for call in self._calls if call.task and call.verb in (Verb.PREPARE, Verb.START) and not call.answered]
        if not calls:
            return
        async with world.store.connection() as connection:
            ids = [id_ for call in calls for id_ in call.ids]
            rows = world.store.queries.read_cancelled_operations(connection, ids=ids)
            cancelled = {(row["executor_id"], row["verb"]) async for row in rows}
        for call in calls:
            if call.task and not call.answered and all((id_, str(call.verb)) in cancelled for id_ in call.ids):
                call.task.cancel()

    async def _carry_out(self, call: Call, world: World) -> None:
        try:
            async with self._slots[call.connector, call.verb]:
                outcomes = await _outcomes(call, world)
            call.answered = True
            await _record(call, outcomes, world)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and call.task is task and not world.closing():
                task.uncancel()  # broken off by us, not by the end of the process
            else:
                raise
        except Exception as error:
            await _not_recorded(call, error, world)
        finally:
            self._calls.remove(call)
            self.wake.set()


async def _not_recorded(call: Call, error: Exception, world: World) -> None:
    """The operation is repeated, and not at once: nothing has told the database to wait with it."""
    if isinstance(error, StoreUnavailable):
        log.warning("an outcome could not be recorded; the operation is repeated", verb=call.verb, error=str(error))
    else:
        log.error("an outcome could not be recorded; the operation is repeated", verb=call.verb, exc_info=error)
    await asyncio.sleep(POLL.total_seconds())


async def _outcomes(call: Call, world: World) -> dict[UUID, Outcome]:
    """What became of each executor of the call. Raises nothing: every error, also a fault of ours, becomes an outcome."""
    try:
        connector = world.connectors.get(call.connector)
        answer, problems = await _call(connector, call, world)
        return {id_: problems.get(id_) or understood(answer.get(ExecutorId(id_), Unknown())) for id_ in call.ids}
    except Exception as error:
        return dict.fromkeys(call.ids, outcome_of(error))


def understood(outcome: object) -> Outcome:
    """A connector may be anybody's: what is no Outcome is no evidence either."""
    if isinstance(outcome, Done | Failed | Unknown):
        return outcome
    raise TypeError(f"a connector's answer is no Outcome but {type(outcome).__name__}")


async def _call(connector: Connector, call: Call, world: World) -> tuple[Mapping[ExecutorId, Outcome], dict[UUID, Outcome]]:
    if call.verb in (Verb.STOP, Verb.CLEANUP):
        handles = [handle_of(row) for row in call.rows]
        if call.verb is Verb.STOP:
            return await connector.stop(handles, STOP_GRACE), {}
        return await connector.cleanup(handles), {}
    orders, problems = await _orders(call.rows, world)
    if not orders:
        return {}, problems
    if call.verb is Verb.PREPARE:
        return await connector.prepare(orders), problems
    return await connector.start(orders), problems


async def _orders(rows: Iterable[Row], world: World) -> tuple[list[Order], dict[UUID, Outcome]]:
    orders: list[Order] = []
    problems: dict[UUID, Outcome] = {}
    secrets = SecretReader(world)
    for row in rows:
        try:
            orders.append(await order_of(row, world, secrets, world.now()))
        except Exception as error:
            problems[row["executor_id"]] = outcome_of(error)
    return orders, problems


def outcome_of(error: Exception) -> Outcome:
    """The one place where an unexpected error is logged; its text may hold anything, so people are told its type only."""
    match error:
        case Refused():
            return Failed(error.reason, str(error))
        case UnicornError():
            return Unknown(error.reason, str(error))
        case _:
            log.error("an operation failed by a fault of ours or of a connector", exc_info=error)
            return Unknown("Fault", f"{type(error).__name__}; the operator's log has it")


async def _record(call: Call, outcomes: Mapping[UUID, Outcome], world: World) -> None:
    """Done and failed for good are final; everything else is tried again, later and later."""
    done: list[UUID] = []
    clean: list[UUID] = []
    failed: list[tuple[UUID, str, str]] = []
    later: list[tuple[UUID, str, str, timedelta]] = []
    kind = world.connectors.type_of(call.connector)
    for row in call.rows:
        id_, outcome = row["executor_id"], outcomes[row["executor_id"]]
        world.metrics.operated(kind, call.verb, type(outcome).__name__)
        if isinstance(outcome, Done):
            done.append(id_)
            if outcome.clean:
                clean.append(id_)
        elif isinstance(outcome, Failed) and _is_final(call.verb, row["tries"]):
            failed.append((id_, plain(str(outcome.reason)), plain(str(outcome.message))))
        else:
            later.append((id_, plain(str(outcome.reason)), plain(str(outcome.message)), retry_delay(row["tries"])))
    queries, verb = world.store.queries, str(call.verb)
    touched: set[UUID] = set()
    is_one = sum(map(bool, (done, failed, later))) == 1  # statement: it needs no transaction around it
    async with world.store.connection() if is_one else world.store.transaction() as connection:
        if done:
            rows = queries.finish_operations(connection, ids=done, verbs=[verb] * len(done), clean=clean)
            touched |= {row["experiment_uid"] async for row in rows}
        if failed:
            rows = queries.fail_operations(
                connection,
                ids=[entry[0] for entry in failed],
                verbs=[verb] * len(failed),
                reasons=[entry[1] for entry in failed],
                messages=[entry[2] for entry in failed],
            )
            touched |= {row["experiment_uid"] async for row in rows}
        if later:
            rows = queries.postpone_operations(
                connection,
                ids=[entry[0] for entry in later],
                verbs=[verb] * len(later),
                reasons=[entry[1] for entry in later],
                messages=[entry[2] for entry in later],
                delays=[entry[3] for entry in later],
            )
            touched |= {row["experiment_uid"] async for row in rows}
    # Who was started is waited for until it checks in: this alone moves nothing on.
    is_progress = call.verb is Verb.START and not failed and not later
    enqueue(touched, world, within=NO_HURRY if is_progress else timedelta())


def _is_final(verb: Verb, tries: int) -> bool:
    """A stop is tried until its deadline, for it is the evidence; a cleanup a few times; the others once."""
    match verb:
        case Verb.STOP:
            return False
        case Verb.CLEANUP:
            return tries + 1 >= CLEANUP_TRIES
        case _:
            return True


def enqueue(experiments: Iterable[UUID], world: World, within: timedelta = timedelta()) -> None:
    """A pass for each: now, or `within` a while, unless something else brings it earlier."""
    for uid in experiments:
        if (item := world.caches.experiments.by_uid(str(uid))) is None:
            continue
        key = key_of(item, "Experiment")
        if within:
            world.queue.add_within(key, within)
        else:
            world.queue.add(key)
