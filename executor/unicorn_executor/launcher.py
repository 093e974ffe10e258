"""The agent's end of the worker: starts it, hands it orders, takes its reports, starts another one when it was killed."""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Optional

import unicorn_executor
from unicorn_executor.channel import EXIT, ORDER
from unicorn_executor.compact import encode
from unicorn_executor.seed import Seed

if TYPE_CHECKING:
    import subprocess

# The interpreter's own first entry is the working directory, where a file `json.py` may lie: our imports come first.
_START = "import sys; sys.path[0] = {home!r}; from unicorn_executor.worker import main; main()"


SHORT_LIFE = 5.0  # seconds; a worker that lives less long may never live
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0


class Exit(NamedTuple):
    run: int
    number: int
    status: int  # as from waitpid


class Pipes(NamedTuple):
    """The agent's ends; non-blocking."""

    stdout: int
    stderr: int
    report: int


class Launcher:
    """`seed`: what the first worker is to be, if it was forked; every later one is a program of its own."""

    def __init__(self, workdir: Path, journal: Path, lock: int, seed: Optional[Seed] = None) -> None:
        self._workdir, self._journal, self._lock = workdir, journal, lock
        self.modules: tuple[str, ...] = ()  # what workers started from now on import, where it is there
        self._rest = b""
        self._started_at, self._short_lives = time.monotonic(), 0
        self.pid = 0
        self.reports: Optional[socket.socket] = None
        self._orders: Optional[socket.socket] = None
        self._process: Optional[subprocess.Popen[bytes]] = None
        if seed is None:
            self.start()
        else:
            self.pid, self.reports, self._orders = seed.pid, seed.reports, seed.orders
            seed.grow(workdir, journal, lock)

    def start(self) -> None:
        """A new worker; the one before must be gone."""
        import subprocess  # here: most agents have one worker, which was forked

        self.close()
        orders, their_orders = socket.socketpair()
        reports, their_reports = socket.socketpair()
        home = str(Path(unicorn_executor.__file__).parent.parent)
        fds = (their_orders.fileno(), their_reports.fileno(), self._lock)
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-c", _START.format(home=home), *map(str, fds), str(self._journal), *self.modules],
            stdin=subprocess.DEVNULL,
            cwd=self._workdir,
            pass_fds=fds,
            start_new_session=True,  # signals for our terminal's group are ours
        )
        their_orders.close()
        their_reports.close()
        self._rest = b""
        self._started_at = time.monotonic()
        self.pid, self.reports, self._orders = self._process.pid, reports, orders

    def pause(self) -> float:
        """Seconds to wait before the next worker is started; this one is gone."""
        self._short_lives = self._short_lives + 1 if time.monotonic() - self._started_at < SHORT_LIFE else 0
        return pause_after(self._short_lives)

    def reaped(self, status: int) -> None:
        """The agent has taken the worker's exit status itself, beside Popen."""
        if self._process is not None:
            self._process.returncode = status

    def order(self, run: int, number: int, order: dict[str, Any]) -> Optional[Pipes]:
        """A process for one try of a task run. None when the worker is gone."""
        assert self._orders is not None
        ours, theirs = [], []
        for _ in range(3):
            read, write = os.pipe()
            os.set_blocking(read, False)
            ours.append(read)
            theirs.append(write)
        source = _file_of(encode(order))
        try:
            socket.send_fds(self._orders, [ORDER.pack(run, number)], [source, *theirs])
        except OSError:
            for fd in ours:
                os.close(fd)
            return None
        finally:
            for fd in (source, *theirs):
                os.close(fd)
        return Pipes(*ours)

    def exits(self) -> Optional[list[Exit]]:
        """The exits since the last time; to be called when `reports` is readable. None when the worker is gone."""
        assert self.reports is not None
        try:
            data = self.reports.recv(65536)
        except ConnectionError:
            data = b""
        if not data:
            return None
        data = self._rest + data
        complete = len(data) - len(data) % EXIT.size
        self._rest = data[complete:]
        return [Exit(*fields) for fields in EXIT.iter_unpack(data[:complete])]

    def close(self) -> None:
        """The worker kills what is left below it and ends."""
        for end in (self._orders, self.reports):
            if end is not None:
                end.close()


def pause_after(short_lives: int) -> float:
    """Seconds; none after the first worker that ended soon."""
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** (short_lives - 2)) if short_lives > 1 else 0.0


def _file_of(content: bytes) -> int:
    """A file without a name that holds `content`, read from its beginning."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("unicorn-order")
    else:
        import tempfile  # on a Mac only: it brings a dozen modules

        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]
    os.lseek(fd, 0, os.SEEK_SET)
    return fd
