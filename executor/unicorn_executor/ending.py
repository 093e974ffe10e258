"""Ending processes: TERM, five seconds, KILL, until none of them is left."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

from unicorn_executor import processes
from unicorn_executor.loop import Loop
from unicorn_executor.processes import Process

GRACE = 5.0  # seconds between TERM and KILL
LOOK = 0.05  # seconds between two looks

Find = Callable[[], set[Process]]


def end(loop: Loop, find: Find, then: Callable[[], None]) -> None:
    """`find` gives what is left of those to end; `then` is called when that is nothing."""
    _Ending(loop, find, then).look()


class _Ending:
    def __init__(self, loop: Loop, find: Find, then: Callable[[], None]) -> None:
        self._loop, self._find, self._then = loop, find, then
        self._began = time.monotonic()
        self._told: set[Process] = set()

    def look(self) -> None:
        left = self._find()
        age = time.monotonic() - self._began
        if not left or age > GRACE + processes.GIVE_UP:
            self._then()
            return
        if age >= GRACE:
            processes.send(left, signal.SIGKILL)
        else:
            processes.send(left - self._told, signal.SIGTERM)
            self._told |= left
        self._loop.after(LOOK, self.look)


def find_all(worker: Callable[[], int], own: int) -> Find:
    """Everything below this process but the worker and its spare, which share a session; tasks have sessions of their own."""

    def find() -> set[Process]:
        return {process for process in processes.descendants(processes.table(), [own]) if process.session != worker()}

    return find


def find_task(leader: int, run: int, executor: str, own: int) -> Find:
    """A task's tree: its process group and session, what descends from it, and what bears its marks but left both."""
    known: set[Process] = set()

    def find() -> set[Process]:
        table = processes.table()
        known.intersection_update(table.values())
        seeds = processes.of_group(table, leader) | known | {process for process in table.values() if process.pid == leader}
        strays = processes.descendants(table, [own]) - seeds
        seeds |= {process for process in strays if _bears_marks(process, run, executor)}
        known.update(seeds | processes.descendants(table, [process.pid for process in seeds]))
        return set(known)

    return find


def _bears_marks(process: Process, run: int, executor: str) -> bool:
    environment = processes.environment(process.pid)
    return environment.get("UNICORN_RUN") == str(run) and environment.get("UNICORN_EXECUTOR_ID") == executor
