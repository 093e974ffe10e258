"""One try of a task run: what it was given, what it has shown so far, and what its end amounts to."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from typing import Any, Optional

from unicorn_executor.channel import FrameReader
from unicorn_executor.flags import FlagTask
from unicorn_executor.loop import Timer
from unicorn_executor.output import Output


class Attempt:
    """`number`: the try, from 1."""

    def __init__(self, run: int, number: int, task: str, spec: Mapping[str, Any]) -> None:
        self.run, self.number, self.task, self.spec = run, number, task, spec
        self.pid = 0  # once it has said so
        self.worker = 0  # the worker's pid
        self.relaunched = False  # the first worker was killed before it could begin
        self.stdout: Optional[Output] = None
        self.stderr: Optional[Output] = None
        self.report = -1  # descriptor; -1: none, or closed
        self.sources: list[tuple[int, Output]] = []  # its pipes that may still give something
        self.frames = FrameReader()
        self.flag: Optional[FlagTask] = None
        self.timer: Optional[Timer] = None  # of its timeout
        self.ending: Optional[dict[str, Any]] = None  # being ended by us: the result it will have

    @property
    def tries_left(self) -> bool:
        retry = self.spec.get("retry") or {}
        return self.number <= int(retry.get("limit", 0))

    @property
    def backoff(self) -> float:
        """Seconds before the next try."""
        return float((self.spec.get("retry") or {}).get("backoffSeconds", 0.0))

    @property
    def timeout(self) -> Optional[float]:
        seconds = self.spec.get("timeoutSeconds")
        return None if seconds is None else float(seconds)


def result_of_exit(attempt: Attempt, status: Optional[int]) -> dict[str, Any]:
    """What the end of its process means; `status` as from waitpid, None when nobody can say."""
    if status is None:
        return failure("its process is gone, and the worker that would know why", "Crashed")
    if "run" not in attempt.spec:
        if os.WIFSIGNALED(status):
            return failure(f"killed by {signal_name(os.WTERMSIG(status))}", "Killed")
        return failure(f"its process ended with exit code {os.WEXITSTATUS(status)} before the task did", "Crashed")
    value = {"value": run_value(attempt, status)}
    if os.WIFSIGNALED(status):
        return {**failure(f"killed by {signal_name(os.WTERMSIG(status))}", "Killed"), **value}
    code = os.WEXITSTATUS(status)
    if code:
        return {**failure(f"exit code {code}", "NonZeroExit"), **value}
    return {"outcome": "Success", **value}


def run_value(attempt: Attempt, status: Optional[int]) -> dict[str, Any]:
    """`{"exitCode", "stdout", "stderr"}`; the code of a signal is 128 + its number, as a shell says it; None while unknown."""
    code = None
    if status is not None:
        code = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
    return {
        "exitCode": code,
        "stdout": attempt.stdout.tail() if attempt.stdout else "",
        "stderr": attempt.stderr.tail() if attempt.stderr else "",
    }


def failure(error: str, reason: str) -> dict[str, Any]:
    return {"outcome": "Failure", "error": error, "reason": reason}


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
