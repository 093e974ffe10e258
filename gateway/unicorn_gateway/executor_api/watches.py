"""Looks that many requests share: whoever waits for a flag or a barrier waits for one look, not each for its own."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

_GATHER_SECONDS = 0.005


@dataclass(eq=False)
class _Watch(Generic[Value]):
    waiters: dict[asyncio.Future[Value], Callable[[Value], bool]] = field(default_factory=dict)
    stirred: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


@dataclass(eq=False)
class Watches(Generic[Key, Value]):
    look: Callable[[Key], Awaitable[Value]]
    group: Callable[[Key], Hashable]  # what news name: all watches of a group look again
    repair_seconds: float = 3.0
    _watches: dict[Key, _Watch[Value]] = field(default_factory=dict)
    _closed: bool = False

    async def until(self, key: Key, done: Callable[[Value], bool], seconds: float) -> Value:
        """The first value that is `done`, or after `seconds` whatever there is. At least one look is younger than the call.

        Raises what `look` raises.
        """
        loop = asyncio.get_running_loop()
        latest: list[Value] = []

        def judge(value: Value) -> bool:
            latest[:] = [value]
            return self._closed or done(value) or loop.time() >= deadline

        deadline = loop.time() + seconds
        watch = self._watches.get(key)
        if watch is None:
            watch = self._watches[key] = _Watch()
            watch.task = asyncio.create_task(self._watch(key, watch))
        future: asyncio.Future[Value] = loop.create_future()
        watch.waiters[future] = judge
        watch.stirred.set()
        try:
            await asyncio.wait([future], timeout=seconds)
            if not future.done() and latest:
                return latest[0]
            return await future  # no look has ended yet
        finally:
            watch.waiters.pop(future, None)
            if not watch.waiters and self._watches.get(key) is watch:
                del self._watches[key]
                if watch.task:
                    watch.task.cancel()

    def stir(self, group: Hashable | None) -> None:
        """Look again at the watches of this group (None: at all)."""
        for key, watch in self._watches.items():
            if group is None or self.group(key) == group:
                watch.stirred.set()

    def close(self) -> None:
        """Answer everybody with what there is."""
        self._closed = True
        self.stir(None)

    async def _watch(self, key: Key, watch: _Watch[Value]) -> None:
        while True:
            try:
                async with asyncio.timeout(self.repair_seconds):
                    await watch.stirred.wait()
                    await asyncio.sleep(_GATHER_SECONDS)
            except TimeoutError:
                pass
            watch.stirred.clear()
            present = list(watch.waiters.items())  # whoever comes during the look waits for the next one
            try:
                value = await self.look(key)
            except Exception as error:
                for future, _ in present:
                    if not future.done():
                        future.set_exception(error)
                        future.exception()  # its request may have gone
                continue
            for future, judge in present:
                if not future.done() and judge(value):
                    future.set_result(value)
