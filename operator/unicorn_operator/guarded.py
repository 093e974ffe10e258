"""A connector in a harness: each call has a time limit, and only errors of ours leave it, whoever wrote it."""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from datetime import timedelta
from typing import TypeVar

import structlog
from unicorn_core.connector import (
    Connector,
    DiscoveredNode,
    Handle,
    Health,
    Node,
    NodeName,
    Order,
    Outcome,
    Sighting,
)
from unicorn_core.errors import Broken, UnicornError
from unicorn_core.naming import ExecutorId
from unicorn_core.text import plain

T = TypeVar("T")

# Seconds. An upper bound: callers with a deadline of their own set a shorter one.
CHECK, DISCOVER, OBSERVE, START, STOP, CLEANUP, PREPARE = 20.0, 120.0, 120.0, 300.0, 300.0, 300.0, 3600.0

log = structlog.get_logger(__name__)


class TimedOut(Broken):
    """The deployment system did not answer in time. The verb may have taken effect."""

    reason = "ConnectorTimedOut"


class Guarded:
    """A Connector around a Connector."""

    def __init__(self, inner: Connector, display: str) -> None:
        self.inner, self.display = inner, display
        self._calls = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def check(self) -> Health:
        try:
            return await self._call("check", CHECK, self.inner.check())
        except UnicornError as error:
            return Health(False, error.reason, plain(str(error)))

    async def discover(self) -> Sequence[DiscoveredNode]:
        return await self._call("discover", DISCOVER, self.inner.discover())

    async def prepare(self, orders: Sequence[Order]) -> Mapping[ExecutorId, Outcome]:
        return await self._call("prepare", PREPARE, self.inner.prepare(orders))

    async def start(self, orders: Sequence[Order]) -> Mapping[ExecutorId, Outcome]:
        return await self._call("start", START, self.inner.start(orders))

    async def observe(self, nodes: Sequence[Node]) -> Mapping[NodeName, Sighting]:
        return await self._call("observe", OBSERVE, self.inner.observe(nodes))

    async def stop(self, handles: Sequence[Handle], grace: timedelta) -> Mapping[ExecutorId, Outcome]:
        return await self._call("stop", STOP + grace.total_seconds(), self.inner.stop(handles, grace))

    async def cleanup(self, handles: Sequence[Handle]) -> Mapping[ExecutorId, Outcome]:
        return await self._call("cleanup", CLEANUP, self.inner.cleanup(handles))

    async def close(self) -> None:
        await self.inner.close()

    async def idle(self) -> None:
        """Wait until no call is under way."""
        await self._idle.wait()

    async def _call(self, verb: str, seconds: float, answer: Awaitable[T]) -> T:
        self._calls += 1
        self._idle.clear()
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                return await answer
        except UnicornError:
            raise
        except TimeoutError as error:
            if limit.expired():
                raise TimedOut(f"{verb}: no answer in {seconds:.0f} s") from error
            raise Broken(f"{verb}: {type(error).__name__}") from error
        except Exception as error:
            log.error("an error that is not ours left a connector", connector=self.display, verb=verb, exc_info=error)
            raise Broken(f"{verb}: {plain(f'{type(error).__name__}: {error}', 300)}") from error
        finally:
            self._calls -= 1
            if not self._calls:
                self._idle.set()
