"""Orphans: executors that could not be shown to be gone. Stopping them is tried again, later and later, beside all else."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog
from unicorn_core.connector import Done, Outcome, Unknown
from unicorn_core.errors import Broken
from unicorn_core.naming import ExecutorId
from unicorn_core.planning.retries import retry_delay
from unicorn_core.text import plain
from unicorn_store.leases import release_orphans

from unicorn_operator.operations import STOP_GRACE, enqueue, outcome_of, understood
from unicorn_operator.orders import handle_of
from unicorn_operator.world import World

INTERVAL = timedelta(seconds=5)
LONGEST = timedelta(minutes=5)
CALL_LIMIT = timedelta(seconds=30)  # beyond the grace
AT_ONCE = 32  # connectors
BATCH = 500  # executors a look at the records

log = structlog.get_logger(__name__)

Row = Mapping[str, Any]


@dataclass(slots=True)
class OrphanStopper:
    """A connector has one call under way; one that does not answer holds up nobody else's orphans."""

    _busy: set[UUID] = field(default_factory=set)  # connectors
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    async def run(self, world: World) -> None:
        """Until cancelled. A database that is away is waited for."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                try:
                    for connector, rows in (await self._due(world)).items():
                        self._busy.add(connector)
                        tasks.create_task(self._stop(connector, rows, world))
                except Broken as error:
                    log.warning("orphans wait", reason=error.reason, error=str(error))
                await asyncio.sleep(INTERVAL.total_seconds())

    async def _due(self, world: World) -> Mapping[UUID, list[Row]]:
        groups: dict[UUID, list[Row]] = defaultdict(list)
        async with world.store.connection() as connection:
            async for row in world.store.queries.read_orphans(connection, busy=list(self._busy), limit=BATCH):
                groups[row["connector_uid"]].append(row)
        return groups

    async def _stop(self, connector: UUID, rows: Sequence[Row], world: World) -> None:
        try:
            async with self._slots:
                outcomes = await _outcomes(connector, rows, world)
            await _record(rows, outcomes, world)
        except Broken as error:
            log.warning("what became of orphans could not be recorded; it is tried again", error=str(error))
        finally:
            self._busy.discard(connector)


async def _outcomes(connector: UUID, rows: Sequence[Row], world: World) -> Mapping[UUID, Outcome]:
    """Raises nothing: every error becomes an outcome."""
    ids = [row["executor_id"] for row in rows]
    try:
        async with asyncio.timeout((CALL_LIMIT + STOP_GRACE).total_seconds()):
            answer = await world.connectors.get(connector).stop([handle_of(row) for row in rows], STOP_GRACE)
        return {id_: understood(answer.get(ExecutorId(id_), Unknown())) for id_ in ids}
    except TimeoutError:
        return dict.fromkeys(ids, Unknown("ConnectorTimedOut", "it did not say whether it is stopped"))
    except Exception as error:
        return dict.fromkeys(ids, outcome_of(error))


async def _record(rows: Sequence[Row], outcomes: Mapping[UUID, Outcome], world: World) -> None:
    """Confirmed: its slot is free. Otherwise it is tried again, later and later."""
    gone = [row["executor_id"] for row in rows if isinstance(outcomes[row["executor_id"]], Done)]
    freed = await release_orphans(world.store, gone) if gone else []
    said = [(row, one) for row in rows if not isinstance(one := outcomes[row["executor_id"]], Done)]
    async with world.store.connection() as connection:
        if freed:
            waiting = [row["experiment_uid"] async for row in world.store.queries.read_waiting(connection, nodes=freed)]
            enqueue(waiting, world)
            world.ask_usage()
        if said:
            await world.store.queries.postpone_orphans(
                connection,
                ids=[row["executor_id"] for row, _ in said],
                reasons=[plain(str(one.reason)) for _, one in said],
                messages=[plain(str(one.message)) for _, one in said],
                delays=[min(retry_delay(row["tries"]) * 4, LONGEST) for row, _ in said],
            )
