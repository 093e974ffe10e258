"""Processes as /proc shows them: which are an executor's, how they are signalled, and when they have ended.

A pid is never trusted alone: a signal goes through a pidfd that was opened while the process was still the one that was meant.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from unicorn_core.naming import ExecutorId

from unicorn_connectors.local.identity import is_own, user_of

MARK = "UNICORN_EXECUTOR_ID"  # in the environment of all that an executor starts
_KILL_PATIENCE = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Process:
    pid: int
    start: str  # time of its start, in the kernel's ticks: with the pid, its identity
    parent: int
    group: int
    users: frozenset[int]  # real, effective, saved


def of_executors(executors: Iterable[ExecutorId]) -> dict[ExecutorId, list[Process]]:
    """What runs of them now, zombies left out. One look at all of /proc: some ms; call it in a thread."""
    everything = list(_running())
    found: dict[ExecutorId, list[Process]] = {}
    for executor in executors:
        user = user_of(executor)
        if is_own(user):
            found[executor] = [process for process in everything if user in process.users]
        else:
            found[executor] = _marked(everything, executor, os.geteuid() if user is None else user)
    return found


def send(process: Process, number: signal.Signals) -> None:
    """To this very process; nothing when it has ended."""
    with contextlib.suppress(ProcessLookupError), opened(process) as pidfd:
        signal.pidfd_send_signal(pidfd, number)


@contextlib.contextmanager
def opened(process: Process) -> Iterator[int]:
    """Its pidfd. Raises ProcessLookupError when it has ended."""
    pidfd = os.pidfd_open(process.pid)
    try:
        now = _read(process.pid)
        if now is None or now.start != process.start:
            raise ProcessLookupError(process.pid)
        yield pidfd
    finally:
        os.close(pidfd)


async def wait_ended(targets: Iterable[Process], patience: timedelta) -> None:
    """Until all have ended, or for that long."""
    with contextlib.ExitStack() as stack:
        pidfds = []
        for process in targets:
            with contextlib.suppress(ProcessLookupError):
                pidfds.append(stack.enter_context(opened(process)))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience.total_seconds()):
                await asyncio.gather(*(pidfd_ended(pidfd) for pidfd in pidfds))


async def pidfd_ended(pidfd: int) -> int | None:
    """Until its process has ended; a child of ours is reaped, and its code returned (128 + n for a signal)."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(pidfd, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(pidfd)
    with contextlib.suppress(ChildProcessError):
        if end := os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG):  # noqa: ASYNC222 it has ended
            return end.si_status if end.si_code == os.CLD_EXITED else 128 + end.si_status
    return None


async def child_ended(pid: int) -> int | None:
    """The same for an unreaped child of ours."""
    pidfd = os.pidfd_open(pid)
    try:
        return await pidfd_ended(pidfd)
    finally:
        os.close(pidfd)


def kill_all(executor: ExecutorId, patience: timedelta = _KILL_PATIENCE) -> bool:
    """SIGKILL to all of it until nothing is left (True) or patience is. Blocking: call it in a thread."""
    deadline = time.monotonic() + patience.total_seconds()
    while left := of_executors([executor])[executor]:
        if time.monotonic() > deadline:
            return False
        for process in left:
            send(process, signal.SIGKILL)
        time.sleep(0.005)
    return True


def open_wrapper(pid: int, executor: ExecutorId) -> int | None:
    """A pidfd of the executor's outermost process, or None when that has ended and the number may be another's."""
    try:
        pidfd = os.pidfd_open(pid)
    except (ProcessLookupError, OSError):
        return None
    if _environment(pid).get(MARK) == str(executor):
        return pidfd
    os.close(pidfd)
    return None


def _running() -> Iterator[Process]:
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (process := _read(int(entry))) is not None:
            yield process


def _read(pid: int) -> Process | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        status = Path(f"/proc/{pid}/status").read_text(errors="replace")
    except OSError:
        return None  # it has ended
    fields = stat[stat.rindex(")") + 2 :].split()  # from the third on: the name may hold anything
    if fields[0] in "ZX" and int(fields[17]) <= 1:
        return None  # with other threads it is only its first one that has ended
    users = next((line.split()[1:4] for line in status.splitlines() if line.startswith("Uid:")), [])
    return Process(pid, fields[19], int(fields[1]), int(fields[2]), frozenset(map(int, users)))


def _marked(everything: Iterable[Process], executor: ExecutorId, user: int) -> list[Process]:
    """Those with the mark, and their descendants: a process may clean its environment, but it keeps its parent for a while."""
    children: Mapping[int, list[Process]] = defaultdict(list)
    found: dict[int, Process] = {}
    for process in everything:
        children[process.parent].append(process)
        if user in process.users and _environment(process.pid).get(MARK) == str(executor):
            found[process.pid] = process
    pending = list(found)
    while pending:
        for child in children[pending.pop()]:
            if child.pid not in found:
                found[child.pid] = child
                pending.append(child.pid)
    return list(found.values())


def _environment(pid: int) -> dict[str, str]:
    try:
        raw = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return {}
    pairs = (part.partition(b"=") for part in raw.split(b"\0") if b"=" in part)
    return {key.decode(errors="replace"): value.decode(errors="replace") for key, _, value in pairs}
