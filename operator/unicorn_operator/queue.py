"""The work queue: keys, each at most once in the line and in at most one worker's hands (the semantics of client-go's).

`dirty` holds what wants a pass, `busy` what is having one. A key that becomes dirty while busy gets another pass afterwards.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from unicorn_operator.key import Key


@dataclass(frozen=True, slots=True)
class Backoff:
    """The n-th failure in a row waits `first` * 2^(n-1), at most `longest`, less up to half of it by chance."""

    first: timedelta = timedelta(milliseconds=200)
    longest: timedelta = timedelta(minutes=2)
    chance: Callable[[], float] = random.random  # in [0, 1)

    def delay(self, failures: int) -> timedelta:
        whole = min(self.first * (1 << min(failures - 1, 20)), self.longest)
        return whole * (1 - self.chance() / 2)


class _Timer(Protocol):
    def cancel(self) -> None: ...


class Clock(Protocol):
    """What the queue needs of an event loop; tests bring their own."""

    def time(self) -> float: ...
    def call_at(self, when: float, callback: Callable[[], None]) -> _Timer: ...


class _LoopClock:
    def time(self) -> float:
        return asyncio.get_running_loop().time()

    def call_at(self, when: float, callback: Callable[[], None]) -> _Timer:
        return asyncio.get_running_loop().call_at(when, callback)


class WorkQueue:
    """Not thread-safe: everything happens in one event loop. Only `get` waits."""

    def __init__(
        self, backoff: Backoff | None = None, clock: Clock | None = None, on_wait: Callable[[float], None] = lambda _: None
    ) -> None:
        self._backoff = backoff or Backoff()
        self._clock: Clock = clock or _LoopClock()
        self._on_wait = on_wait  # told how many seconds a key stood in the line
        self._line: deque[Key] = deque()
        self._dirty: dict[Key, float] = {}  # since when
        self._busy: dict[Key, float] = {}  # since when
        self._later: dict[Key, tuple[float, _Timer]] = {}
        self._within: dict[Key, _Timer] = {}
        self._failures: dict[Key, int] = {}
        self._arrived = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._closed = False

    def add(self, key: Key) -> None:
        """Let it have a pass soon. Nothing new for a key that waits for one already; ignored after `close`."""
        if self._closed or key in self._dirty:
            return
        self._dirty[key] = self._clock.time()
        if key not in self._busy:
            self._stand_in_line(key)

    def add_after(self, key: Key, delay: timedelta) -> None:
        """Let it have a pass after `delay`. Of several deadlines of a key the earliest counts."""
        if self._closed:
            return
        if delay <= timedelta():
            self.add(key)
            return
        when = self._clock.time() + delay.total_seconds()
        if planned := self._later.get(key):
            if planned[0] <= when:
                return
            planned[1].cancel()
        self._later[key] = (when, self._clock.call_at(when, lambda: self._due(key)))

    def add_within(self, key: Key, delay: timedelta) -> None:
        """Let it have a pass that begins before `delay` is over: one that another reason brings earlier is as good."""
        if self._closed or key in self._dirty or key in self._within:
            return
        when = self._clock.time() + delay.total_seconds()
        self._within[key] = self._clock.call_at(when, lambda: self.add(key))

    def add_failed(self, key: Key, at_least: timedelta = timedelta()) -> timedelta:
        """Try again after a back-off that grows with each failure in a row. Answers how long that is."""
        self._failures[key] = self._failures.get(key, 0) + 1
        delay = max(self._backoff.delay(self._failures[key]), at_least)
        self.add_after(key, delay)
        return delay

    def forget(self, key: Key) -> None:
        """It went well: the next failure starts with the shortest delay."""
        self._failures.pop(key, None)

    def failures(self, key: Key) -> int:
        """How often it failed in a row."""
        return self._failures.get(key, 0)

    async def get(self) -> Key | None:
        """The next key, which is the caller's until `done`. None after `close`."""
        while not self._line:
            if self._closed:
                return None
            self._arrived.clear()
            await self._arrived.wait()
        if self._closed:
            return None
        key = self._line.popleft()
        if timer := self._within.pop(key, None):
            timer.cancel()
        now = self._clock.time()
        self._on_wait(now - self._dirty.pop(key))
        self._busy[key] = now
        self._idle.clear()
        return key

    def done(self, key: Key) -> None:
        """The pass is over. Must follow each `get`."""
        self._busy.pop(key, None)
        if key in self._dirty and not self._closed:
            self._stand_in_line(key)
        if not self._busy:
            self._idle.set()

    def close(self) -> None:
        """No more passes begin: those in the line and the delayed ones are dropped, `get` answers None."""
        self._closed = True
        for timer in (*self._within.values(), *(timer for _, timer in self._later.values())):
            timer.cancel()
        self._within.clear()
        self._later.clear()
        self._line.clear()
        self._dirty.clear()
        self._arrived.set()

    async def drained(self) -> None:
        """Wait for the passes that are under way."""
        await self._idle.wait()

    def depth(self) -> int:
        """How many keys stand in the line."""
        return len(self._line)

    def delayed(self) -> int:
        """How many keys wait for a later moment."""
        return len(self._later.keys() | self._within.keys())

    def longest_pass(self) -> timedelta:
        """How long the longest pass under way has been going on."""
        return timedelta(seconds=self._clock.time() - min(self._busy.values())) if self._busy else timedelta()

    def longest_wait(self) -> timedelta:
        """How long the first in the line has stood there."""
        return timedelta(seconds=self._clock.time() - self._dirty[self._line[0]]) if self._line else timedelta()

    def _due(self, key: Key) -> None:
        self._later.pop(key, None)
        self.add(key)

    def _stand_in_line(self, key: Key) -> None:
        self._line.append(key)
        self._arrived.set()
