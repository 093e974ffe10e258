"""What the routes of one process share."""

import asyncio
import contextlib
import math
import time
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import structlog
from aiohttp import web
from unicorn_store import Store, listen
from unicorn_store.flags import Barrier, Flag, FlagKey

from unicorn_gateway.executor_api import limits, looks
from unicorn_gateway.executor_api.agent import Agent
from unicorn_gateway.executor_api.authentication import Authenticator, Caller, check, check_fence, check_instance, fits
from unicorn_gateway.executor_api.looks import Meeting
from unicorn_gateway.executor_api.metrics import Metrics
from unicorn_gateway.executor_api.pulse import Pulse
from unicorn_gateway.executor_api.sessions import Session, Sessions
from unicorn_gateway.executor_api.v1.additions import Additions
from unicorn_gateway.executor_api.watches import Watches
from unicorn_gateway.problems import ProblemError
from unicorn_gateway.settings import ExecutorSettings

_KEYS_SECONDS = 2.0
_log = structlog.get_logger(__name__)


@dataclass(eq=False)
class Gateway:
    store: Store
    settings: ExecutorSettings
    authenticator: Authenticator
    agent: Agent | None = None
    openapi: dict[str, Any] = field(default_factory=dict)
    metrics: Metrics = field(default_factory=Metrics)
    draining: bool = False
    running: int = 0  # requests being worked on; those that only wait do not count
    uploads: int = 0
    downloads: int = 0
    present: int = 0  # all requests, those that wait too
    held_strangers: int = 0  # answers to those without a valid token that are kept back
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)  # nobody is present any more, while draining

    def __post_init__(self) -> None:
        self.sessions = Sessions(self.store)
        self.pulse = Pulse(self.store, self.sessions)
        self.flags = Watches[FlagKey, Flag](lambda key: looks.at_flag(self.store, key), group=lambda key: key.experiment)
        self.barriers = Watches[Meeting, Barrier](
            lambda key: looks.at_barrier(self.store, key), group=lambda key: key.flag.experiment
        )
        self.additions = Additions(self.store)
        self.large_reports = asyncio.Semaphore(limits.V1_LARGE_AT_ONCE)

    async def run(self) -> None:
        """The background work of the process, until cancelled. An error in any part ends it: better restarted than deaf."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.pulse.run())
            tasks.create_task(self.sessions.run())
            tasks.create_task(self._watch_keys())
            tasks.create_task(
                listen(
                    self.store.dsn,
                    ["unicorn_executor", "unicorn_flag"],
                    heard=self._heard,
                    on_connect=self._look_everywhere,
                    on_loss=lambda error: _log.warning("no news from PostgreSQL; polling", error=str(error)),
                    application_name="unicorn-executor-gateway-listen",
                )
            )

    async def session(self, request: web.Request, *, check_in: bool = False) -> tuple[Caller, Session]:
        """Whose request it is. Raises ProblemError 400, 401, 404, 410, 429; StoreUnavailable."""
        caller = self.authenticator.caller(request, time.time())
        session = await self.standing(caller, check_in=check_in)
        delay = self.toll(session)
        if delay:
            headers = {"Retry-After": str(math.ceil(delay))}
            raise ProblemError(429, "TooManyRequests", "this executor sends too many requests", headers=headers)
        if not check_in:
            self.heard(caller, session)
        return caller, session

    def heard(self, caller: Caller, session: Session) -> None:
        """Whatever it sends, it lives: while a blob is uploaded no events come."""
        if not session.final:
            self.pulse.beat(session, caller.instance)

    async def standing(self, caller: Caller, *, check_in: bool = False) -> Session:
        """What the row of this caller says, looked at anew where that may matter. Raises ProblemError 404, 410."""
        session = self.sessions.known(caller.executor)
        if session is None or check_in or not (fits(caller, session) and self.pulse.works):
            session = await self.sessions.load(caller.executor)
            if session is None:
                raise ProblemError(404, "NotFound", "there is no such executor")
            if check_in:
                check_fence(caller, session)
                check_instance(caller, session)
            else:
                check(caller, session)
        session.used_at = time.monotonic()
        return session

    def toll(self, session: Session) -> float:
        """Takes a request from its rate; else the seconds until it may send one."""
        return session.bucket.take(time.monotonic(), self.settings.requests_per_second, self.settings.request_burst)

    async def hold(self, seconds: float, *, stranger: bool) -> None:
        """Before an answer, to a request `seconds` ago, that the same request would follow at once. Not too many strangers."""
        left = self.settings.netunicorn_hold.total_seconds() - seconds
        if left <= 0 or self.draining or (stranger and self.held_strangers >= limits.HELD_STRANGERS):
            return
        self.held_strangers += stranger
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self.stopping.wait()
        finally:
            self.held_strangers -= stranger

    def drain(self) -> None:
        """Take no more work: whoever waits is answered, /readyz says no."""
        self.draining = True
        self.stopping.set()
        self.sessions.wake_all()
        self.flags.close()
        self.barriers.close()
        if not self.present:
            self.left.set()

    def _heard(self, channel: str, payload: str) -> None:
        experiment = _uuid(payload)
        if channel == "unicorn_executor":
            self.sessions.stir(experiment)
            self.barriers.stir(experiment)
        else:
            self.flags.stir(experiment)
            self.barriers.stir(experiment)

    def _look_everywhere(self) -> None:
        self.sessions.stir(None)
        self.flags.stir(None)
        self.barriers.stir(None)

    async def _watch_keys(self) -> None:
        while True:
            await asyncio.sleep(_KEYS_SECONDS)
            self.authenticator.refresh_keys()


def _uuid(text: str) -> UUID | None:
    """None, which means everything, for a payload that names nothing."""
    try:
        return UUID(text)
    except ValueError:
        return None
