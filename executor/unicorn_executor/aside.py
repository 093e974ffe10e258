"""An order to the worker that is no run of a task: what its process answers, without waiting for it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

from unicorn_executor.attempt import failure
from unicorn_executor.channel import RESULT, FrameReader
from unicorn_executor.launcher import Launcher
from unicorn_executor.loop import Loop
from unicorn_executor.output import Output

RUN = 0  # no task's


class Aside:
    """`done` is called once, in the loop, with `{"outcome", "value" | "error", "reason"}`; `show` takes log events."""

    def __init__(
        self,
        loop: Loop,
        launcher: Launcher,
        order: Mapping[str, Any],
        show: Callable[[dict[str, Any]], None],
        done: Callable[[dict[str, Any]], None],
    ) -> None:
        self._loop, self._done = loop, done
        self._frames = FrameReader()
        self._answer = failure("its process ended before it answered", "Crashed")
        pipes = launcher.order(RUN, 1, dict(order))
        if pipes is None:
            loop.post(lambda: done(failure("the worker is gone", "Crashed")))
            return
        self._report = pipes.report
        self._outputs = {fd: Output(None, None, "agent", show) for fd in (pipes.stdout, pipes.stderr)}
        for fd in self._outputs:
            loop.watch(fd, self._reader(fd))
        loop.watch(pipes.report, self._read_report)

    def _reader(self, fd: int) -> Callable[[], object]:
        return lambda: self._read(fd)

    def _read(self, fd: int) -> int:
        """Bytes read; 0 when there is nothing (any more)."""
        try:
            data = os.read(fd, 65536)
        except BlockingIOError:
            return 0
        if data:
            self._outputs[fd].feed(data)
            return len(data)
        self._outputs.pop(fd).flush()
        self._loop.forget(fd)
        os.close(fd)
        return 0

    def _read_report(self) -> None:
        try:
            data = os.read(self._report, 1024 * 1024)
        except BlockingIOError:
            return
        for kind, document, _ in self._frames.feed(data):
            if kind == RESULT:
                self._answer = json.loads(document)
                data = b""
        if data:
            return
        self._loop.forget(self._report)
        os.close(self._report)
        for fd in list(self._outputs):
            while self._read(fd):
                pass
        for output in self._outputs.values():
            output.flush()
        self._done(self._answer)
