"""Keeps a worker alive: for one that is gone another is started, and the tasks of the first live on as the agent's children."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Optional, Protocol

from unicorn_executor import processes
from unicorn_executor.attempt import Attempt
from unicorn_executor.launcher import Launcher
from unicorn_executor.loop import Loop

ORPHAN_LOOK = 0.1  # seconds between two looks at a task whose worker was killed


class Tasks(Protocol):
    """The run of the graph, as its worker's upkeep needs it."""

    @property
    def attempts(self) -> Mapping[int, Attempt]:
        """Those under way, by run number."""

    def is_current(self, attempt: Attempt) -> bool: ...

    def read_report(self, attempt: Attempt) -> bool:
        """Takes what the task's own report gives now."""

    def exited(self, run: int, number: int, status: Optional[int]) -> None:
        """The process of a try has ended; `status`: None where nobody knows how."""

    def relaunch(self, attempt: Attempt) -> None:
        """Nothing of it has run yet."""


class Upkeep:
    def __init__(self, loop: Loop, launcher: Launcher, tasks: Tasks) -> None:
        self._loop, self._launcher, self._tasks = loop, launcher, tasks
        self._reaped: dict[int, int] = {}  # adopted tasks that ended: pid -> status
        self._is_watched = False  # the worker

    def watch(self) -> None:
        self._loop.watch(self._launcher.reports, self._read)
        self._is_watched = True

    def restart(self) -> None:
        """Its tasks live on as our children, where the system lets us adopt them."""
        if self._is_watched:
            self._loop.forget(self._launcher.reports)
        orphans = [attempt for attempt in self._tasks.attempts.values() if attempt.worker == self._launcher.pid]
        self._launcher.start()
        self.watch()
        for attempt in orphans:
            self._look_at_orphan(attempt)

    def reap(self) -> None:
        for pid, status in processes.reap().items():
            if pid == self._launcher.pid:
                self._launcher.reaped(status)
            self._reaped[pid] = status

    def _read(self) -> None:
        exits = self._launcher.exits()
        if exits is None:
            self._lose()
            return
        for one in exits:
            self._tasks.exited(one.run, one.number, one.status)

    def _lose(self) -> None:
        """Another one is started, later and later where none can live; who needs one at once starts it."""
        gone = self._launcher.pid
        self._loop.forget(self._launcher.reports)
        self._is_watched = False
        pause = self._launcher.pause()

        def restart() -> None:
            if self._launcher.pid == gone:
                self.restart()

        if pause:
            self._loop.after(pause, restart)
        else:
            restart()

    def _look_at_orphan(self, attempt: Attempt) -> None:
        tasks = self._tasks
        if not attempt.pid:
            tasks.read_report(attempt)
        if not tasks.is_current(attempt):
            return
        if attempt.pid in self._reaped:
            tasks.exited(attempt.run, attempt.number, self._reaped.pop(attempt.pid))
        elif _exists(attempt.pid) if attempt.pid else attempt.report >= 0:
            self._loop.after(ORPHAN_LOOK, lambda: self._look_at_orphan(attempt))
        elif attempt.pid or attempt.relaunched:
            tasks.exited(attempt.run, attempt.number, None)
        else:
            # Its process says its pid before anything of the task runs: nothing has.
            attempt.relaunched = True
            tasks.relaunch(attempt)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
