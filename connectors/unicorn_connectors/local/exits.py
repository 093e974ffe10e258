"""Noticing that executors end, without polling, and seeing to it that nothing of them is left then."""

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterable
from datetime import timedelta

from unicorn_core.naming import ExecutorId

from unicorn_connectors.local import processes
from unicorn_connectors.local.directory import ExecutorDirectory

_KILL_PATIENCE = timedelta(seconds=2)


class Exits:
    """Watches wrappers by pidfd. An executor whose agent ended is swept: what it left running is killed. Then it is news."""

    def __init__(self, notify: Callable[[ExecutorId], None] | None) -> None:
        self._notify = notify
        self._opened: dict[ExecutorId, int] = {}  # pidfds of those just started, until they are watched
        self._watches: dict[ExecutorId, asyncio.Task[None]] = {}
        self._pending: dict[ExecutorId, ExecutorDirectory] = {}
        self._sweeper: asyncio.Task[None] | None = None
        self._swept: set[ExecutorId] = set()

    def started(self, executor: ExecutorId, pid: int) -> None:
        """A child of ours; from any thread."""
        self._opened[executor] = os.pidfd_open(pid)

    def watch(self, directory: ExecutorDirectory, pid: int | None) -> None:
        """Idempotent. `pid`: of its wrapper, as far as known."""
        executor = directory.executor
        pidfd = self._opened.pop(executor, None)
        if pidfd is None:
            if executor in self._watches or pid is None:
                return
            pidfd = processes.open_wrapper(pid, executor)
        self.forget(executor)
        if pidfd is None:
            self._ended(directory)
            return
        self._watches[executor] = asyncio.get_running_loop().create_task(self._watch(directory, pidfd))

    def forget(self, executor: ExecutorId) -> None:
        """Another one is being started in its place, or its directory is gone."""
        self._swept.discard(executor)
        self._pending.pop(executor, None)
        if watch := self._watches.pop(executor, None):
            watch.cancel()

    async def sweep(self, directories: Iterable[ExecutorDirectory]) -> set[ExecutorId]:
        """Of executors whose agents ended; at most once each. Returns those of which something cannot be killed."""
        unswept = {directory.executor: directory for directory in directories if directory.executor not in self._swept}
        if not unswept:
            return set()
        running = await asyncio.to_thread(processes.of_executors, unswept)
        left = set()
        for executor in [executor for executor, its in running.items() if its]:
            if not await asyncio.to_thread(_kill_left_overs, unswept[executor]):
                left.add(executor)
        self._swept |= unswept.keys() - left
        return left

    async def close(self) -> None:
        tasks = [*self._watches.values(), *([self._sweeper] if self._sweeper else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for pidfd in self._opened.values():
            os.close(pidfd)
        self._opened.clear()

    async def _watch(self, directory: ExecutorDirectory, pidfd: int) -> None:
        try:
            await processes.pidfd_ended(pidfd)
        finally:
            os.close(pidfd)
        if self._watches.get(directory.executor) is asyncio.current_task():
            del self._watches[directory.executor]
            self._ended(directory)

    def _ended(self, directory: ExecutorDirectory) -> None:
        self._pending[directory.executor] = directory
        if self._sweeper is None or self._sweeper.done():
            self._sweeper = asyncio.get_running_loop().create_task(self._sweep_pending())

    async def _sweep_pending(self) -> None:
        """All that ended meanwhile with one look at /proc."""
        while self._pending:
            ended, self._pending = self._pending, {}
            await self.sweep(ended.values())
            for executor in ended:
                if self._notify is not None:
                    self._notify(executor)


def _kill_left_overs(directory: ExecutorDirectory) -> bool:
    """Whether nothing is left. Under the lock of its directory: whoever starts it again waits."""
    with contextlib.suppress(FileNotFoundError), directory.locked():
        if directory.status().runs:
            return True  # started again in between: these are no left-overs
        return processes.kill_all(directory.executor, _KILL_PATIENCE)
    return True
