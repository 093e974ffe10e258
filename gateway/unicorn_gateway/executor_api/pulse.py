"""Heartbeats: collected in memory, written as one statement a tick. Also the proof that reception works."""

import asyncio
import time
from dataclasses import dataclass, field
from uuid import UUID

import structlog
from unicorn_core.errors import Broken
from unicorn_store import Store
from unicorn_store import executor_gateway as rows

from unicorn_gateway.executor_api.sessions import Session, Sessions

TICK_SECONDS = 1.0
_STALE_SECONDS = 5.0
_log = structlog.get_logger(__name__)


@dataclass(eq=False)
class Pulse:
    store: Store
    sessions: Sessions
    _beats: dict[UUID, tuple[str, float]] = field(default_factory=dict)  # executor -> instance, monotonic
    _ticked: float | None = None
    trouble: str = "not connected yet"

    def beat(self, session: Session, instance: str) -> None:
        """This instance was heard now. It is written by the next tick that PostgreSQL takes."""
        self._beats[session.id] = (instance, time.monotonic())

    @property
    def works(self) -> bool:
        """PostgreSQL took a tick within the last seconds: what is in mind is fresh, and what is heard will be stored."""
        return self._ticked is not None and time.monotonic() - self._ticked < _STALE_SECONDS

    async def run(self) -> None:
        """Tick until cancelled."""
        while True:
            started = time.monotonic()
            try:
                await self.tick()
            except Broken as error:
                if not self.trouble:
                    _log.warning("heartbeats cannot be written; they are kept", reason=error.reason, error=str(error))
                self.trouble = str(error)
            await asyncio.sleep(max(0.0, started + TICK_SECONDS - time.monotonic()))

    async def tick(self) -> None:
        """Write what was heard. Raises StoreUnavailable; then nothing of it is lost."""
        beats, self._beats = self._beats, {}
        now = time.monotonic()
        try:
            async with self.store.connection() as connection:
                written = await rows.tick(connection, [(id, instance, now - at) for id, (instance, at) in beats.items()])
        except BaseException:
            self._beats = {**beats, **self._beats}
            raise
        self._ticked = time.monotonic()
        if self.trouble:
            _log.info("PostgreSQL takes heartbeats", heard=len(beats))
        self.trouble = ""
        lost = []
        for row in written:
            if session := self.sessions.known(row.id):
                session.take(row)
            if row.state == "Lost":
                lost.append(row.id)
        if lost:
            await self.revive(lost)
        for executor in beats.keys() - {row.id for row in written}:
            self.sessions.suspect(executor)  # deleted, claimed by another instance, or being changed at this moment

    async def revive(self, executors: list[UUID]) -> None:
        """Lost executors that reported again are alive again, while their experiment is not final."""
        async with self.store.transaction() as connection:
            for experiment in await rows.revive(connection, executors):
                await rows.tell(connection, "experiment", experiment)
                self.sessions.stir(experiment)
