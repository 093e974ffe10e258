"""Processes that outlive their starter, found again by what stands in their environment.

A mark in the environment is there from the process's first moment, so a harness that is killed between starting a
process and writing its pid down loses nothing; and a pid that was given to somebody else can't be mistaken for ours.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil


def spawn(command: Sequence[str], *, log: Path, prefix: Sequence[str] = (), **popen: Any) -> psutil.Process:
    """Start a process in a session of its own, its output appended to `log`; `marked` finds it. `end` and `wait` reap it.

    `prefix`: a program that becomes `command` when it has done its part, as nsenter does.
    """
    with log.open("ab") as output:
        line, nothing = [*prefix, *command], subprocess.DEVNULL
        child = subprocess.Popen(line, stdin=nothing, stdout=output, stderr=output, start_new_session=True, **popen)
    # It is meant to go on without us: keep Popen from warning about it. Whoever waits for it does so by psutil.
    child.returncode = 0
    process = psutil.Process(child.pid)
    _await_marks(process, list(prefix))
    return process


def _await_marks(process: psutil.Process, prefix: Sequence[str], seconds: float = 60.0) -> None:
    """Until its environment can be read: the kernel shows none while it still loads the program, after Popen has returned.

    A prefix is a program loaded before the one that stays: what it shows is hidden once more. Raises TimeoutError.
    """
    deadline = time.monotonic() + seconds
    while is_alive(process):
        try:
            shown = process.cmdline()
            if shown and not (prefix and shown[: len(prefix)] == prefix) and process.environ():
                return
        except psutil.Error:
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"process {process.pid} shows no environment after {seconds:.0f} s: {shown}")
        time.sleep(0.001)


def is_alive(process: psutil.Process) -> bool:
    """Whether it runs. A zombie does not; but one whose other threads go on still holds its files and its ports."""
    try:
        return process.is_running() and (process.status() != psutil.STATUS_ZOMBIE or process.num_threads() > 1)
    except psutil.NoSuchProcess:
        return False


def marked(marks: Mapping[str, str]) -> list[psutil.Process]:
    """The running processes of this user whose environment has all these values, oldest first."""
    found = []
    for process in psutil.process_iter():
        try:
            environment = process.environ()
            if all(environment.get(key) == value for key, value in marks.items()) and is_alive(process):
                found.append(process)
        except psutil.Error:  # gone, or of another user
            continue
    return sorted(found, key=psutil.Process.create_time)


def end(processes: Iterable[psutil.Process], number: signal.Signals = signal.SIGTERM, seconds: float = 10.0) -> None:
    """Signal them all, wait, SIGKILL what is left after so many seconds; returns when all have ended."""
    targets = list(processes)
    for process in targets:
        _send(process, number)
    left = wait(targets, seconds)
    for process in left:
        _send(process, signal.SIGKILL)
    wait(left, seconds)


def wait(processes: Sequence[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Wait for their end (not for init to reap those that are not our children); returns those that still run."""
    deadline = time.monotonic() + seconds
    while True:
        left = [process for process in processes if is_alive(process)]
        if not left or time.monotonic() > deadline:
            break
        time.sleep(0.01)
    for process in processes:
        if process not in left:
            _reap(process.pid)
    return left


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass


def _send(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        pass
