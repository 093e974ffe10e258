"""Builds as processes beside the operator, for a single machine. They end with the operator, and begin again with the next."""

import asyncio
import ctypes
import os
import shutil
import signal
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

from unicorn_core.errors import Broken
from unicorn_core.images import BuildReport
from unicorn_core.planning.builds import Seen, Stage

from unicorn_operator.images.builders import LOG_LIMIT, BuildOrder, step_in

_GRACE_SECONDS = 10.0
_LOOK_BYTES = 64 * 1024
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


@dataclass(slots=True)
class LocalBuilder:
    """`directory`: its own. The storage in it is kept: it is the cache of layers."""

    directory: Path
    ca_file: str = ""
    look_every: ClassVar = timedelta(seconds=0.5)  # at a few files
    _processes: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)

    async def start(self, order: BuildOrder) -> None:
        if order.name in self._processes:
            return
        place = self._place(order.name)
        await asyncio.to_thread(_lay_out, place, order)
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(place),
            "UNICORN_BUILD_RESULT": str(place / "result.json"),
            **({"REGISTRY_AUTH_FILE": str(place / "credentials.json")} if order.credentials else {}),
            **({"SSL_CERT_FILE": self.ca_file} if self.ca_file else {}),
            **{name: os.environ[name] for name in _PASSED_ON if name in os.environ},
        }
        storage = self.directory / "storage"
        storage.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            with (place / "log").open("wb") as log:
                self._processes[order.name] = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    "unicorn_builder",
                    str(place / "context"),
                    str(storage),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=environment,
                    start_new_session=True,
                    preexec_fn=_end_with_parent,
                )
        except OSError as error:
            raise Broken(f"the builder cannot be started: {error}") from error

    async def look(self, names: Collection[str]) -> Mapping[str, Seen]:
        return {name: await asyncio.to_thread(self._seen, name) for name in names}

    async def log(self, name: str) -> str:
        return await asyncio.to_thread(_read, self._place(name) / "log", LOG_LIMIT)

    async def remove(self, name: str) -> None:
        if (process := self._processes.get(name)) is not None:
            await _end(process)
            self._processes.pop(name, None)  # now only: broken off, `close` must still know it
        await asyncio.to_thread(shutil.rmtree, self._place(name), ignore_errors=True)

    async def sweep(self, keep: Collection[str]) -> None:
        runs = self.directory / "runs"
        for place in sorted(runs.iterdir()) if runs.exists() else ():
            if place.name not in keep:
                await self.remove(place.name)

    async def close(self) -> None:
        await asyncio.gather(*(_end(process) for process in self._processes.values()))
        self._processes.clear()

    def _place(self, name: str) -> Path:
        return self.directory / "runs" / name

    def _seen(self, name: str) -> Seen:
        process, place = self._processes.get(name), self._place(name)
        if process is not None and process.returncode is None:
            return Seen(Stage.RUNNING, step=step_in(_end_of(place / "log")))
        report = _report(place / "result.json")
        if process is None:
            return Seen(Stage.ENDED, report) if report else Seen(Stage.ABSENT)
        return Seen(Stage.ENDED, report, "" if report else f"its builder ended with exit code {process.returncode}")


_PASSED_ON = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "LANG", "TMPDIR")


def _lay_out(place: Path, order: BuildOrder) -> None:
    shutil.rmtree(place, ignore_errors=True)
    (place / "context").mkdir(parents=True, mode=0o700)
    for name, content in order.context.items():
        (place / "context" / name).write_bytes(content)
    if order.credentials:
        file = place / "credentials.json"
        file.touch(mode=0o600)
        file.write_bytes(order.credentials)


def _end_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


async def _end(process: asyncio.subprocess.Process) -> None:
    """SIGTERM, time to tidy up, SIGKILL to all of its session."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(_GRACE_SECONDS):
            await process.wait()
    except TimeoutError:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def _report(file: Path) -> BuildReport | None:
    try:
        return BuildReport.from_json(file.read_text())
    except (OSError, ValueError):
        return None


def _read(file: Path, limit: int) -> str:
    try:
        with file.open("rb") as log:
            size = os.fstat(log.fileno()).st_size
            if size <= limit:
                return log.read().decode(errors="replace")
            head = log.read(limit // 2)
            log.seek(size - limit // 2)
            return (
                f"{head.decode(errors='replace')}\n… the middle of the log is left out …\n{log.read().decode(errors='replace')}"
            )
    except OSError:
        return ""


def _end_of(file: Path) -> str:
    try:
        with file.open("rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - _LOOK_BYTES))
            return log.read().decode(errors="replace")
    except OSError:
        return ""
