"""The worker: a single-threaded process, started before check-in, from which every task's process forks.

It keeps one fork ready, the spare, which waits for an order of the agent and becomes the process of that task: no time goes into
forking between two tasks. The worker itself never runs anything of a task and never sees the token. It keeps up with the agent's
journal, so that a task's process is born with what earlier tasks gave. When the agent is gone it kills everything below it.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import selectors
import signal
import socket
import sys
from collections.abc import Sequence

from unicorn_executor import child, processes
from unicorn_executor.channel import EXIT, TAKEN, receive_order
from unicorn_executor.previous import Previous


def main() -> None:
    """Arguments: the descriptors of the orders' socket, of the reports' socket and of the worker's lock; the journal's path;
    the names of modules that every task's process will need."""
    orders, reports, lock = (int(argument) for argument in sys.argv[1:4])
    for fd in (orders, reports, lock):
        os.set_inheritable(fd, False)
    live(socket.socket(fileno=orders), socket.socket(fileno=reports), lock, sys.argv[4], sys.argv[5:])


def live(orders: socket.socket, reports: socket.socket, lock: int, journal: str, modules: Sequence[str] = ()) -> None:
    """Be the worker until the agent is gone; the working directory is the tasks'."""
    sys.path.insert(0, os.getcwd())  # tasks may import what lies in the working directory; the agent's own imports are done
    for name in modules:
        with contextlib.suppress(Exception):  # whose process needs it will say so
            importlib.import_module(name)
    processes.adopt_orphans()
    Worker(orders, reports, lock, journal).serve()


class Worker:
    def __init__(self, orders: socket.socket, reports: socket.socket, lock: int, journal: str) -> None:
        self._orders, self._reports, self._lock = orders, reports, lock
        self._previous = Previous(journal)
        self._tasks: dict[int, tuple[int, int]] = {}  # pid -> run, try
        self._spare = 0  # its pid
        self._taken, self._taken_end = os.pipe()
        self._wake, self._wake_end = os.pipe()
        for fd in (self._taken, self._wake, self._wake_end):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(self._wake_end)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def serve(self) -> None:
        gc.collect()
        gc.freeze()  # what is here now is shared with every task's process: collecting it there would copy it
        self._fork()
        with selectors.DefaultSelector() as selector:
            for source in (self._reports, self._taken, self._wake):
                selector.register(source, selectors.EVENT_READ)
            while True:
                ready = [key.fileobj for key, _ in selector.select()]
                if self._reports in ready:  # the agent never writes there: it is gone
                    processes.kill_below([os.getpid()])
                    return
                self._note_taken()
                if self._wake in ready:
                    os.read(self._wake, 4096)
                    self._note_ends()

    def _fork(self) -> None:
        self._previous.refresh()
        self._spare = os.fork()
        if self._spare == 0:
            self._be_spare()

    def _be_spare(self) -> None:
        """Waits for an order; does not return."""
        try:
            signal.set_wakeup_fd(-1)
            for fd in (self._reports.fileno(), self._lock, self._taken, self._wake, self._wake_end):
                os.close(fd)  # their ends tell the agent that the worker is gone
            order = receive_order(self._orders)
            if order is None:
                os._exit(0)
            os.write(self._taken_end, TAKEN.pack(os.getpid(), order.run, order.number))
            child.become(order.fds, (self._orders.fileno(), self._taken_end), self._previous)
        finally:
            os._exit(70)

    def _note_taken(self) -> None:
        try:
            data = os.read(self._taken, TAKEN.size)
        except BlockingIOError:
            return
        pid, run, number = TAKEN.unpack(data)
        self._tasks[pid] = (run, number)
        self._fork()

    def _note_ends(self) -> None:
        ended = processes.reap()
        self._note_taken()  # what it was may have been said after the last look
        for pid, status in ended.items():
            task = self._tasks.pop(pid, None)
            if task is not None:
                try:
                    self._reports.sendall(EXIT.pack(*task, status))
                except OSError:
                    return  # the agent is gone; the next look says so
            elif pid == self._spare:
                self._fork()
