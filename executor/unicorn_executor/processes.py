"""Processes as /proc shows them: who descends from whom, and ending them. Without a /proc nothing is seen."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple

GIVE_UP = 10.0  # seconds after a KILL: what is left then hangs in the kernel
_SET_DUMPABLE, _SET_CHILD_SUBREAPER = 4, 36


class Process(NamedTuple):
    pid: int
    born: int  # clock ticks since boot: with the pid it names a process for ever
    parent: int
    group: int
    session: int


def table() -> dict[int, Process]:
    """All living processes (zombies left out) by pid; empty where there is no /proc."""
    found: dict[int, Process] = {}
    try:
        entries = os.listdir("/proc")
    except OSError:
        return found
    for entry in entries:
        if entry.isdigit():
            process = _read(int(entry))
            if process is not None:
                found[process.pid] = process
    return found


def descendants(processes: Mapping[int, Process], roots: Iterable[int]) -> set[Process]:
    """Those below `roots`, without `roots` themselves."""
    children: dict[int, list[Process]] = {}
    for process in processes.values():
        children.setdefault(process.parent, []).append(process)
    found: set[Process] = set()
    todo = list(roots)
    while todo:
        for child in children.get(todo.pop(), ()):
            if child not in found:
                found.add(child)
                todo.append(child.pid)
    return found


def of_group(processes: Mapping[int, Process], leader: int) -> set[Process]:
    """Those in the process group or session that `leader` founded."""
    if not leader:
        return set()  # 0 is the kernel's own
    return {process for process in processes.values() if leader in (process.group, process.session)}


def environment(pid: int) -> dict[str, str]:
    """What it was started with; empty when it is gone or not ours."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            raw = file.read()
    except OSError:
        return {}
    return dict(item.decode(errors="replace").partition("=")[::2] for item in raw.split(b"\0") if b"=" in item)


def send(processes: Iterable[Process], number: int) -> None:
    for process in processes:
        current = _read(process.pid)
        if current is None or current.born != process.born:
            continue
        try:
            os.kill(process.pid, number)
        except OSError:
            pass  # it went, or it is another user's


def send_group(leader: int, number: int) -> None:
    try:
        os.killpg(leader, number)
    except OSError:
        pass  # it went


def kill_below(roots: Iterable[int]) -> None:
    """Kills everything below `roots` until nothing is left there, or what is left hangs in the kernel. Needs `roots` to be
    subreapers."""
    roots = list(roots)
    pause, until = 0.001, time.monotonic() + GIVE_UP
    while True:
        doomed = descendants(table(), roots)
        if not doomed or time.monotonic() > until:
            return
        send(doomed, signal.SIGKILL)
        reap()
        time.sleep(pause)
        pause = min(0.1, pause * 2)


def reap() -> dict[int, int]:
    """The children that ended, and their wait statuses. Doesn't block."""
    ended: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        ended[pid] = status


def adopt_orphans() -> None:
    """Orphaned descendants become children of this process, not of init: they stay in reach."""
    _prctl(_SET_CHILD_SUBREAPER, 1)


def hide() -> None:
    """Other processes of the same user may not read this one's memory and first environment, where the token is."""
    _prctl(_SET_DUMPABLE, 0)


def _prctl(option: int, value: int) -> None:
    if _LIBC is not None:
        _LIBC.prctl(option, value, 0, 0, 0)


def _read(pid: int) -> Process | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            raw = file.read()
    except OSError:
        return None
    fields = raw[raw.rindex(b")") + 2 :].split()  # the name before may hold anything
    if fields[0] in (b"Z", b"X") and int(fields[17]) <= 1:
        return None  # with other threads it is only its first one that has ended
    return Process(pid, int(fields[19]), int(fields[1]), int(fields[2]), int(fields[3]))


_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
