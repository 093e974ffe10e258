"""The first worker, forked from the agent at its very start: a second interpreter would cost each executor 40 ms of CPU.

It is forked before the agent reads anything, so that it never holds the token; where the token stands in the environment, which a
fork shares, there is no seed and the worker is started as a program of its own. What it needs to begin is said to it later.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, NoReturn, Optional

from unicorn_executor import worker
from unicorn_executor.compact import encode

_LONGEST_WORD = 16384  # two paths and what JSON adds


class Seed(NamedTuple):
    """The agent's ends."""

    pid: int
    orders: socket.socket
    reports: socket.socket

    def grow(self, workdir: Path, journal: Path, lock: int) -> None:
        """Let it be the worker that lives in `workdir`, reads `journal` and holds `lock`."""
        word = encode({"workdir": str(workdir), "journal": str(journal)})
        socket.send_fds(self.reports, [word], [lock])


def sow(environment: Mapping[str, str]) -> Optional[Seed]:
    """To be called before anything secret is read and any thread is started. None when a fork would share a secret."""
    if "UNICORN_TOKEN" in environment:
        return None
    orders, their_orders = socket.socketpair()
    reports, their_reports = socket.socketpair()
    gc.freeze()  # what is here now stays: to look at it for garbage would also copy it
    pid = os.fork()
    if pid == 0:
        gc.enable()
        orders.close()
        reports.close()
        _be_worker(their_orders, their_reports)
    their_orders.close()
    their_reports.close()
    return Seed(pid, orders, reports)


def _be_worker(orders: socket.socket, reports: socket.socket) -> NoReturn:
    """As the program in `launcher` would find it: a session of its own, no input, signals as a fresh interpreter has them."""
    try:
        os.setsid()  # signals for the agent's terminal's group are the agent's
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with open(os.devnull, "rb") as nothing:
            os.dup2(nothing.fileno(), 0)
        word, fds, _, _ = socket.recv_fds(reports, _LONGEST_WORD, 1)
        if fds:  # else the agent ended before it had a use for us
            said = json.loads(word)
            os.chdir(said["workdir"])
            sys.path[0] = os.path.dirname(os.path.dirname(worker.__file__))
            sys.modules["__main__"] = types.ModuleType("__main__")  # a task's own processes must not import the agent's
            os.set_inheritable(fds[0], False)
            worker.live(orders, reports, fds[0], said["journal"])
    except KeyboardInterrupt:
        pass  # before it ignored them
    finally:
        os._exit(0)
