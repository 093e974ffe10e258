"""How much of something there may be at once: so many bytes for all together, so many places for each."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from unicorn_gateway.problems import ProblemError


@dataclass(eq=False)
class Room:
    """For `size` bytes. Who comes first is served first; what is larger than all there is takes all of it, alone."""

    size: int
    taken: int = 0
    _waiting: deque[tuple[int, asyncio.Future[None]]] = field(default_factory=deque)

    @asynccontextmanager
    async def take(self, amount: int) -> AsyncIterator[None]:
        amount = min(amount, self.size)
        await self._enter(amount)
        try:
            yield
        finally:
            self._leave(amount)

    async def _enter(self, amount: int) -> None:
        if not self._waiting and self.taken + amount <= self.size:
            self.taken += amount
            return
        admitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((amount, admitted))
        try:
            await admitted
        except asyncio.CancelledError:
            if not admitted.cancelled():  # it was let in, and is told to go in the same moment
                self._leave(amount)
            else:
                self._admit()  # those behind it may fit
            raise

    def _leave(self, amount: int) -> None:
        self.taken -= amount
        self._admit()

    def _admit(self) -> None:
        while self._waiting and (self._waiting[0][1].done() or self.taken + self._waiting[0][0] <= self.size):
            amount, admitted = self._waiting.popleft()
            if not admitted.done():
                self.taken += amount
                admitted.set_result(None)


@dataclass(eq=False)
class Places:
    """At most `most` at once for each. `what`: of what there are too many."""

    most: int
    what: str
    _taken: dict[str, int] = field(default_factory=dict)

    @contextmanager
    def one(self, who: str) -> Iterator[None]:
        """Raises ProblemError 429."""
        taken = self._taken.get(who, 0)
        if taken >= self.most:
            raise ProblemError(429, "TooManyRequests", f"{self.what}, at most {self.most}", headers={"Retry-After": "1"})
        self._taken[who] = taken + 1
        try:
            yield
        finally:
            self._taken[who] -= 1
            if not self._taken[who]:
                del self._taken[who]
