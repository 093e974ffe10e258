"""What the routes of one process share."""

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

import structlog
from unicorn_core.errors import Broken
from unicorn_kube import KubeClient
from unicorn_store import Store

from unicorn_gateway.problems import ProblemError, unavailable
from unicorn_gateway.rates import Bucket
from unicorn_gateway.user_api.authentication import Authentication
from unicorn_gateway.user_api.authorisation import Authorizer
from unicorn_gateway.user_api.callers import Caller
from unicorn_gateway.user_api.mediator.catalogue import Catalogue
from unicorn_gateway.user_api.metrics import Metrics
from unicorn_gateway.user_api.rooms import Places, Room
from unicorn_gateway.user_api.settings import UserSettings

LARGE_BODY = 4 * 1024 * 1024
_ANSWERS = 64 * 1024 * 1024  # of graphs and reports that are read for answers at once; as text they are half as much again
_FOLLOWED = 20  # logs, by one user
_PATIENCE_SECONDS = 60.0
_PROBE_SECONDS = 2.0
_CALLERS = 10_000
_log = structlog.get_logger(__name__)


@dataclass(eq=False)
class UserApi:
    store: Store
    kube: KubeClient
    settings: UserSettings
    authentication: Authentication
    openapi: dict[str, Any] = field(default_factory=dict)
    metrics: Metrics = field(default_factory=Metrics)
    draining: bool = False
    running: int = 0  # requests being worked on; those that only wait do not count
    present: int = 0  # all requests
    followers: int = 0  # of logs
    following: Places = field(default_factory=lambda: Places(_FOLLOWED, "you follow too many logs at once"))
    answers: Room = field(default_factory=lambda: Room(_ANSWERS))
    left: asyncio.Event = field(default_factory=asyncio.Event)  # nobody is present any more, while draining
    trouble: str = "not looked yet"  # why the database does not serve; empty: it does
    _buckets: OrderedDict[str, Bucket] = field(default_factory=OrderedDict)
    _large_of: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary)

    def __post_init__(self) -> None:
        self.authorizer = Authorizer(self.kube)
        self.catalogue = Catalogue(self.kube, self.settings.watch_namespaces)
        settings = self.settings
        self.in_flight = Places(settings.user_requests_in_flight, "you have too many requests at once")
        self.waiting = Places(settings.user_requests_waiting, "you have too many long polls and streams at once")
        self.arriving = Places(settings.logins_arriving, "too many logins from your address are still arriving")
        self._large = Room(settings.mediator_body_limit)

    @contextmanager
    def body_arriving(self) -> Iterator[None]:
        """A request whose body is not there yet is not being worked on: slow senders keep nobody out. Raises ProblemError 503
        when there is too much to do by then."""
        self.running -= 1
        try:
            yield
        finally:
            self.running += 1
        self.require_capacity()

    def require_capacity(self) -> None:
        """Raises ProblemError 503."""
        if self.running > self.settings.requests_in_flight:
            raise unavailable("too many requests at once")

    async def authorize(self, caller: Caller, verb: str, resource: str, namespace: str, name: str = "") -> None:
        """`resource`: a plural of ours, such as experiments. Raises ProblemError 403; ApiUnavailable."""
        await self.authorizer.require(caller, verb, resource, namespace, name)

    async def may(self, caller: Caller, verb: str, resource: str, namespace: str, name: str = "") -> bool:
        """The same as a question."""
        return await self.authorizer.may(caller, verb, resource, namespace, name)

    def pace(self, caller: Caller) -> None:
        """Raises ProblemError 429 when this user makes too many requests."""
        bucket = self._buckets.setdefault(caller.kubernetes_user, Bucket())
        self._buckets.move_to_end(caller.kubernetes_user)
        if len(self._buckets) > _CALLERS:
            self._buckets.popitem(last=False)
        delay = bucket.take(time.monotonic(), self.settings.user_requests_per_second, self.settings.user_request_burst)
        if delay:
            headers = {"Retry-After": str(math.ceil(delay))}
            raise ProblemError(429, "TooManyRequests", "you send too many requests", headers=headers)

    async def run(self) -> None:
        """The background work of the process, until cancelled: whether the database serves."""
        while True:
            try:
                async with self.store.connection() as connection:
                    await connection.execute("SELECT FROM unicorn.user_account LIMIT 0")
                self.trouble = ""
            except Broken as error:
                if not self.trouble:
                    _log.warning("the store is away", error=str(error))
                self.trouble = str(error)
            await asyncio.sleep(_PROBE_SECONDS)

    @asynccontextmanager
    async def room_for(self, caller: Caller, size: int | None) -> AsyncIterator[None]:
        """For a request with a body of `size` bytes (None: it does not say), from its reading to its answer: large ones are
        worked on one at a time for a user, and all together have the bytes that one may have. Who waits sends no more until
        then. Raises ProblemError 503."""
        if size is not None and size <= LARGE_BODY:
            yield
            return
        mine = self._large_of.setdefault(caller.kubernetes_user, asyncio.Lock())
        async with AsyncExitStack() as held:
            try:
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    await held.enter_async_context(mine)
                    await held.enter_async_context(self._large.take(self._large.size if size is None else size))
            except TimeoutError as error:
                raise unavailable("too many large requests at once", 5) from error
            yield

    def drain(self) -> None:
        """Take no more work: /readyz says no."""
        self.draining = True
        if not self.present:
            self.left.set()
