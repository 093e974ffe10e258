"""Questions to registries. Each is asked in a task of its own, once for all who ask it; a pass waits for the answer but a moment.

So a registry that hangs holds up whoever needs it, and nobody else.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from unicorn_core.errors import UnicornError, Waiting
from unicorn_core.reasons import EnvironmentReason

PATIENCE_SECONDS = 2.0  # of all passes together, for one asking
FAILED_SECONDS = 3.0  # an answer that is an error is kept for so long
ASK_AGAIN = timedelta(seconds=1)  # less than that: nobody misses an error
_AT_ONCE = 4  # of one registry
_KEPT = 10_000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Answer:
    until: float
    value: Any = None
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class _Asked:
    task: "asyncio.Task[_Answer]"
    until: float  # passes wait for it


@dataclass(slots=True)
class Questions:
    """To be closed at the end."""

    patience: float = PATIENCE_SECONDS
    _answers: "OrderedDict[Hashable, _Answer]" = field(default_factory=OrderedDict)
    _asked: dict[Hashable, _Asked] = field(default_factory=dict)
    _places: "WeakValueDictionary[str, asyncio.Semaphore]" = field(default_factory=WeakValueDictionary)

    async def answer(self, question: Hashable, host: str, ask: Callable[[], Awaitable[T]], fresh: Callable[[T], float]) -> T:
        """What `ask` answers or raises, now or up to `fresh` seconds ago. Raises Waiting while the registry has not answered."""
        now = asyncio.get_running_loop().time()
        kept = self._answers.get(question)
        if kept is None or now >= kept.until:
            asked = self._asked.get(question) or self._begin(question, host, ask, fresh)
            if asked.until > now:
                await asyncio.wait([asked.task], timeout=asked.until - now)
            if not asked.task.done() or asked.task.cancelled():
                message = f"the registry {host} has not answered yet"
                raise Waiting(EnvironmentReason.REGISTRY_UNREACHABLE, message, ASK_AGAIN)
            kept = asked.task.result()
        if isinstance(kept.error, UnicornError):
            raise kept.error.with_traceback(None)
        if kept.error is not None:  # a fault of ours: the log is to say where
            raise kept.error
        found: T = kept.value
        return found

    async def aclose(self) -> None:
        tasks = [asked.task for asked in self._asked.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, question: Hashable, host: str, ask: Callable[[], Awaitable[T]], fresh: Callable[[T], float]) -> _Asked:
        loop = asyncio.get_running_loop()
        task = loop.create_task(self._ask(question, host, ask, fresh))
        asked = self._asked[question] = _Asked(task, loop.time() + self.patience)
        task.add_done_callback(lambda _: self._asked.pop(question))
        return asked

    async def _ask(self, question: Hashable, host: str, ask: Callable[[], Awaitable[T]], fresh: Callable[[T], float]) -> _Answer:
        """Whatever goes wrong is an answer too: whoever comes next is told."""
        loop = asyncio.get_running_loop()
        async with self._places.setdefault(host, asyncio.Semaphore(_AT_ONCE)):
            try:
                value = await ask()
            except Exception as error:
                answer = _Answer(loop.time() + FAILED_SECONDS, error=error)
            else:
                answer = _Answer(loop.time() + fresh(value), value)
        self._answers[question] = answer
        self._answers.move_to_end(question)
        while len(self._answers) > _KEPT:
            self._answers.popitem(last=False)
        return answer
