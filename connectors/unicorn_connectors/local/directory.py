"""The directory of one executor: everything that is known of it after a restart.

<executor id>/   the operator's, 0711: what runs inside can pass through it and change nothing in it
  record.json    node, state, fence
  lock           held (flock) for each short step on the directory
  status         "fence N", then what the wrapper writes: "pid N", "exit N"; it is locked by whoever runs
  log            what the agent and the shell commands say themselves
  token, ca.pem  0600, the executor's
  home/          0700, the executor's: work/ tmp/ spool/
"""

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from uuid import UUID

from unicorn_core.naming import ExecutorId
from unicorn_core.text import plain

from unicorn_connectors.local.identity import user_of

_PASSABLE, _PRIVATE = 0o711, 0o700
_TAIL = 4096


class State(StrEnum):
    PREPARING = "Preparing"
    PREPARED = "Prepared"
    STARTED = "Started"
    STOPPED = "Stopped"


@dataclass(frozen=True, slots=True)
class Record:
    node: str
    state: State
    fence: int = 0  # the highest that was seen
    commands: str = ""  # digest of the shell commands that prepare it


@dataclass(frozen=True, slots=True)
class Status:
    """Of the last start. `held`: some of it runs."""

    fence: int = 0
    pid: int | None = None  # of the wrapper, which leads the agent's process group
    code: int | None = None  # of the agent
    held: bool = False

    @property
    def happened(self) -> bool:
        """Whether there was a process at all: its starter may have been killed just before."""
        return self.held or self.pid is not None

    @property
    def runs(self) -> bool:
        return self.held and self.code is None


class ExecutorDirectory:
    """Blocking, but short: files only."""

    def __init__(self, base: Path, executor: ExecutorId) -> None:
        self.executor = executor
        self.user = user_of(executor)
        self.path = base / str(executor)
        self.home = self.path / "home"
        self.work = self.home / "work"
        self.log = self.path / "log"
        self.token = self.path / "token"
        self.ca = self.path / "ca.pem"

    @staticmethod
    def all(base: Path) -> "Iterator[ExecutorDirectory]":
        for entry in os.listdir(base) if base.exists() else ():
            with contextlib.suppress(ValueError):
                yield ExecutorDirectory(base, ExecutorId(UUID(entry)))

    @contextlib.contextmanager
    def locked(self, make: bool = False) -> Iterator[None]:
        """Alone with it, in this process and others. Raises FileNotFoundError when there is none and it is not to be made."""
        with contextlib.ExitStack() as stack:
            while not self._lock(stack, make):
                pass  # it was removed while we waited: that was another directory
            yield

    def _lock(self, stack: contextlib.ExitStack, make: bool) -> bool:
        if make:
            self.path.mkdir(parents=True, exist_ok=True)
            self.path.chmod(_PASSABLE)
        try:
            fd = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            stack.callback(os.close, fd)
            fcntl.flock(fd, fcntl.LOCK_EX)
            return os.stat(self.path / "lock").st_ino == os.fstat(fd).st_ino
        except FileNotFoundError:
            if not make and not self.path.exists():
                raise
            return False

    # --- what stands in it -------------------------------------------------------------------------------------------

    def record(self) -> Record | None:
        try:
            raw = json.loads((self.path / "record.json").read_text())
        except FileNotFoundError:
            return None
        return Record(raw["node"], State(raw["state"]), raw["fence"], raw["commands"])

    def write_record(self, record: Record) -> None:
        self._write("record.json", json.dumps(asdict(record)).encode())

    def write_secrets(self, token: str, ca: str) -> None:
        self._write("token", token.encode(), self.user)
        if ca:
            self._write("ca.pem", ca.encode(), self.user)

    def _write(self, name: str, content: bytes, owner: int | None = None) -> None:
        draft = self.path / f".{name}"
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            if owner is not None:
                os.fchown(file.fileno(), owner, owner)
            file.write(content)
        draft.rename(self.path / name)

    def status(self) -> Status:
        try:
            fd = os.open(self.path / "status", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return Status()
        with open(fd) as file:
            try:
                fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
                held = False
            except BlockingIOError:
                held = True
            words = dict(line.split() for line in file.read(_TAIL).splitlines() if len(line.split()) == 2)
        numbers = {key: int(value) for key, value in words.items() if value.isdigit()}
        return Status(numbers.get("fence", 0), numbers.get("pid"), numbers.get("exit"), held)

    def open_status(self, fence: int) -> int:
        """A new one for a start, locked: the process that inherits this descriptor holds the lock for its life."""
        draft = self.path / ".status"
        draft.unlink(missing_ok=True)
        fd = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
        os.write(fd, f"fence {fence}\n".encode())
        draft.rename(self.path / "status")
        return fd

    def log_end(self, since: int = 0) -> str:
        """What was logged last, from the byte `since` on; fit for a message."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(since, file.seek(0, os.SEEK_END) - _TAIL))
                return plain(file.read().decode(errors="replace").strip()[-900:])
        except FileNotFoundError:
            return ""

    # --- making and removing -----------------------------------------------------------------------------------------

    def make_home(self) -> None:
        """Made by us, then given away whole: nothing below it is touched by us afterwards, a link could lead anywhere."""
        if self.home.exists() and (self.user is None or self.home.lstat().st_uid == self.user):
            return
        shutil.rmtree(self.home, ignore_errors=True)
        for directory in (self.home, self.work, self.home / "tmp", self.home / "spool"):
            directory.mkdir(mode=_PRIVATE)
        if self.user is not None:
            for directory in (self.work, self.home / "tmp", self.home / "spool", self.home):
                os.chown(directory, self.user, self.user, follow_symlinks=False)

    def remove(self) -> None:
        """With all that is in it, whatever modes it gave itself. The lock goes last."""
        if self.home.exists():
            _remove_tree(self.home)
        for entry in list(self.path.iterdir()):
            if entry.name != "lock":
                entry.unlink()
        (self.path / "lock").unlink()
        with contextlib.suppress(FileNotFoundError):
            self.path.rmdir()


def _remove_tree(path: Path) -> None:
    try:
        shutil.rmtree(path)  # follows no link
    except PermissionError:  # without root: directories that were closed
        for directory, _, _ in os.walk(path):
            os.chmod(directory, _PRIVATE)
            for name in os.listdir(directory):
                inner = Path(directory, name)
                if inner.is_dir() and not inner.is_symlink():
                    inner.chmod(_PRIVATE)
        shutil.rmtree(path)
