"""What this process has in mind of the executors that talk to it, so that a heartbeat costs no query.

A session is never the truth: whoever changes a row asks PostgreSQL. It is refreshed by notifications, by what each tick
brings back, and, while somebody waits for a change of it, by polling.
"""

import asyncio
import contextlib
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

import structlog
from unicorn_core.errors import Broken
from unicorn_store import Store
from unicorn_store import executor_gateway as rows
from unicorn_store.executor_gateway import FINAL, Beat, ExecutorRow

from unicorn_gateway.rates import Bucket

REPAIR_SECONDS = 3.0
_GATHER_SECONDS = 0.02  # news of one moment are looked at together
_IDLE_SECONDS = 900.0
_log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class Session:
    id: UUID
    experiment: UUID
    attempt: int
    state: str = ""
    instance: str | None = None
    fence: int = 0
    last_seq: int = 0
    cancel: bool = False
    released: bool = False
    started: bool = False
    keep_alive: timedelta = timedelta(minutes=10)
    over: bool = False
    used_at: float = 0.0  # monotonic
    reported: bytes = b""  # the digest of what netunicorn's executor reported last
    bucket: Bucket = field(default_factory=Bucket)
    waiters: set[asyncio.Future[None]] = field(default_factory=set)

    @property
    def final(self) -> bool:
        return self.over or self.state in FINAL

    def take(self, row: ExecutorRow | Beat) -> None:
        """What the row says now. Wakes whoever waits, if it changed what matters to them."""
        before = (self.state, self.instance, self.fence, self.cancel, self.released, self.over, self.started)
        self.state, self.instance, self.fence = row.state, row.instance, row.fence
        self.cancel, self.released = row.cancel, row.released
        if isinstance(row, ExecutorRow):
            self.over, self.last_seq = row.over, row.last_seq
            self.started, self.keep_alive = row.started, row.keep_alive
        else:  # events may have been stored since this tick began
            self.last_seq = max(self.last_seq, row.last_seq)
        if before != (self.state, self.instance, self.fence, self.cancel, self.released, self.over, self.started):
            self.wake()

    def wake(self) -> None:
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(None)


@dataclass(eq=False)
class Sessions:
    store: Store
    _by_id: dict[UUID, Session] = field(default_factory=dict)
    _by_experiment: dict[UUID, set[UUID]] = field(default_factory=dict)
    _wanted: dict[UUID, asyncio.Future[Session | None]] = field(default_factory=dict)
    _loader: asyncio.Task[None] | None = None
    _stirred: asyncio.Event = field(default_factory=asyncio.Event)
    _stale: set[UUID] = field(default_factory=set)  # executors to look at again
    _awaited: set[UUID] = field(default_factory=set)  # executors with waiters

    def __len__(self) -> int:
        return len(self._by_id)

    def known(self, executor: UUID) -> Session | None:
        return self._by_id.get(executor)

    async def load(self, executor: UUID) -> Session | None:
        """A fresh look at the row; looks that are wanted at the same time share a statement. None: there is no such
        executor. Raises StoreUnavailable."""
        future = self._wanted.get(executor)
        if future is None:
            future = self._wanted[executor] = asyncio.get_running_loop().create_future()
        if self._loader is None:
            self._loader = asyncio.create_task(self._load_wanted())
        return await asyncio.shield(future)

    def stir(self, experiment: UUID | None) -> None:
        """Something changed in this experiment (None: perhaps anywhere). Looked at soon, by `run`."""
        self._stale.update(self._by_id if experiment is None else self._by_experiment.get(experiment, ()))
        self._stirred.set()

    def suspect(self, executor: UUID) -> None:
        """Look at this one again soon."""
        self._stale.add(executor)
        self._stirred.set()

    async def changed(self, session: Session, seconds: float) -> None:
        """Returns when something of it changed, or the time is over."""
        waiter = asyncio.get_running_loop().create_future()
        session.waiters.add(waiter)
        self._awaited.add(session.id)
        try:
            await asyncio.wait([waiter], timeout=seconds)
        finally:
            session.waiters.discard(waiter)
            if not session.waiters:
                self._awaited.discard(session.id)

    def wake_all(self) -> None:
        for session in self._by_id.values():
            session.wake()

    async def run(self) -> None:
        """Keep the sessions fresh, until cancelled."""
        repaired = swept = time.monotonic()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, repaired + REPAIR_SECONDS - time.monotonic())):
                    await self._stirred.wait()
                    await asyncio.sleep(_GATHER_SECONDS)
            if time.monotonic() >= repaired + REPAIR_SECONDS:  # also where there is news of others all the time
                self._stale |= self._awaited  # news may have been lost
                repaired = time.monotonic()
            self._stirred.clear()
            await self._refresh()
            if time.monotonic() - swept > _IDLE_SECONDS / 10:
                swept = time.monotonic()
                self._forget_idle(swept)

    async def _refresh(self) -> None:
        ids, self._stale = self._stale, set()
        if not ids:
            return
        try:
            await self._read(ids)
        except Broken as error:
            self._stale |= ids
            _log.warning("executors cannot be looked at; trying again", reason=error.reason, error=str(error))

    async def _load_wanted(self) -> None:
        while self._wanted:
            wanted, self._wanted = self._wanted, {}
            try:
                await self._read(wanted)
            except Exception as error:
                for future in wanted.values():
                    if not future.done():
                        future.set_exception(error)
                        future.exception()  # whoever wanted it may have gone
                continue
            for executor, future in wanted.items():
                if not future.done():
                    future.set_result(self._by_id.get(executor))
        self._loader = None

    async def _read(self, ids: Iterable[UUID]) -> None:
        asked = list(ids)
        async with self.store.connection() as connection:
            found = {row.id: row for row in await rows.rows(connection, asked)}
        for executor in asked:
            row = found.get(executor)
            if row is not None:
                self.take(row)
            elif session := self._by_id.get(executor):
                self._forget(session)

    def take(self, row: ExecutorRow) -> Session:
        session = self._by_id.get(row.id)
        if session is None:
            session = self._by_id[row.id] = Session(row.id, row.experiment_uid, row.attempt, used_at=time.monotonic())
            self._by_experiment.setdefault(row.experiment_uid, set()).add(row.id)
        session.take(row)
        return session

    def _forget(self, session: Session) -> None:
        del self._by_id[session.id]
        others = self._by_experiment[session.experiment]
        others.discard(session.id)
        if not others:
            del self._by_experiment[session.experiment]
        session.wake()

    def _forget_idle(self, now: float) -> None:
        for session in list(self._by_id.values()):
            if now - session.used_at > _IDLE_SECONDS and not session.waiters:
                self._forget(session)
