"""The agent's directory on the node's disk: who holds it, which instance it is, and what outlives a restart.

```
lock, worker.lock    held by the living agent, and by its worker until that has killed what it ran
instance             32 hex digits, chosen once
assignment.json      the assignment that this spool's run belongs to
journal.jsonl        the starts and ends of task runs, with values: what a restart continues from
events/, outbox.jsonl   events on their way to the gateway (event_queue)
blobs/               values too large for an event
reserve              room for the moment when the disk is full (room)
```
Writes are handed to the kernel at once and so survive the agent's death. The journal is synced before anything is sent: what the
gateway knows survives the machine's death as well.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from pathlib import Path
from typing import Any, Optional

from unicorn_executor.room import Room

WORKER_PATIENCE = 15.0  # seconds that the worker of an agent before may need to kill what it ran


class SpoolLocked(Exception):
    """Another agent lives on this spool."""


class Spool:
    """Raises SpoolLocked, and OSError where the directory cannot be used."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = _locked(directory / "lock", 0.0)
        self.worker_lock = _locked(directory / "worker.lock", WORKER_PATIENCE)
        self.instance = self._instance()
        self.room = Room(directory / "reserve")
        self.journal = Journal(directory / "journal.jsonl")
        self.blobs = directory / "blobs"
        self.blobs.mkdir(exist_ok=True)

    def assignment(self) -> Optional[dict[str, Any]]:
        """The one that was kept, if any."""
        try:
            kept = json.loads((self.directory / "assignment.json").read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        return kept if isinstance(kept, dict) else None

    def keep_assignment(self, assignment: dict[str, Any]) -> None:
        self.room.patiently(lambda: replace(self.directory / "assignment.json", json.dumps(assignment).encode()))

    def close(self) -> None:
        self.journal.close()
        os.close(self.worker_lock)
        os.close(self._lock)

    def _instance(self) -> str:
        path = self.directory / "instance"
        try:
            kept = path.read_text("ascii").strip()
        except FileNotFoundError:
            kept = ""
        if len(kept) == 32:
            return kept
        chosen = os.urandom(16).hex()
        replace(path, chosen.encode())
        return chosen


class Journal:
    """One JSON object a line, only ever added to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        cut_torn_line(self._fd)
        self._is_synced = True

    def add(self, record: dict[str, Any]) -> None:
        """All of it or nothing."""
        line = json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        size = os.fstat(self._fd).st_size
        try:
            write_all(self._fd, line)
        except OSError:
            os.ftruncate(self._fd, size)
            raise
        self._is_synced = False

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.path.read_bytes().splitlines()]

    def sync(self) -> None:
        if not self._is_synced:
            self._is_synced = True  # first: what is added meanwhile is for the next time
            try:
                os.fsync(self._fd)
            except OSError:
                self._is_synced = False
                raise

    def close(self) -> None:
        os.close(self._fd)


def replace(path: Path, content: bytes) -> None:
    """Writes the whole file or leaves it as it was."""
    scratch = path.with_name(path.name + ".new")
    try:
        scratch.write_bytes(content)
        os.replace(scratch, path)
    except OSError:
        scratch.unlink(missing_ok=True)  # on a full disk it takes what others need
        raise


def write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def cut_torn_line(fd: int) -> None:
    """Removes a last line that has no end: the machine died while it was written."""
    size = os.fstat(fd).st_size
    position = size
    while position > 0:
        start = max(0, position - 65536)
        end = os.pread(fd, position - start, start).rfind(b"\n")
        if end >= 0:
            position = start + end + 1
            break
        position = start
    if position != size:
        os.ftruncate(fd, position)


def _locked(path: Path, patience: float) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    until = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return fd
        except BlockingIOError:
            if time.monotonic() >= until:
                os.close(fd)
                raise SpoolLocked(str(path)) from None
            time.sleep(0.02)
