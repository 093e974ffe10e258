"""Commands of the machine, and the Debian packages that bring them."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from . import locks, paths

Log = Callable[[str], None]

_NET_ADMIN, _SYS_ADMIN = 12, 21  # capabilities
_POLICY = Path("/usr/sbin/policy-rc.d")
_NO_SERVICES = "#!/bin/sh\n# of netunicorn-operator, while it installs packages\nexit 101\n"


class ToolError(Exception):
    """A command failed; the message has the command and the end of what it printed."""


def run(*command: str | Path, input: str | None = None, environment: Mapping[str, str] | None = None) -> str:
    """Run a command to its end and return its output. Raises ToolError."""
    try:
        done = subprocess.run(
            [str(part) for part in command],
            input=input if input is not None else "",
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            env={**os.environ, **(environment or {})},
        )
    except OSError as error:
        raise ToolError(f"{command[0]} can't be run: {error}") from error
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise ToolError(f"{' '.join(str(part) for part in command)} ended with {done.returncode}: {said}")
    return done.stdout


def can_install() -> bool:
    """Whether this is Debian (or alike) and we are root."""
    return paths.is_root() and shutil.which("apt-get") is not None


def can_run_pods() -> bool:
    """Whether we can also make links, mounts and namespaces; root in a container often can't."""
    if not can_install():
        return False
    lines = Path("/proc/self/status").read_text().splitlines()
    (effective,) = [int(line.split()[1], 16) for line in lines if line.startswith("CapEff:")]
    return all(effective >> bit & 1 for bit in (_NET_ADMIN, _SYS_ADMIN))


def ensure(wanted: Mapping[str, str], why: str, log: Log) -> None:
    """Have these: a command's name or an absolute path -> the Debian package with it. Missing ones are installed.

    Raises ToolError where that is not possible.
    """
    missing = sorted({package for tool, package in wanted.items() if not _present(tool)})
    if not missing:
        return
    if not can_install():
        raise ToolError(f"{why} needs the packages {' '.join(missing)}; install them (only root on Debian is served by itself)")
    log(f"Installing {' '.join(missing)} with apt: {why}. Usually takes about 20 s.")
    started = time.monotonic()
    with locks.held(paths.cache() / "apt.lock", "Waiting for another process that installs packages.", log), _no_services():
        _apt("update")
        _apt("install", "-y", "--no-install-recommends", *missing)
    log(f"Installed in {time.monotonic() - started:.0f} s.")


def _apt(*arguments: str) -> None:
    """A machine that is new often has another apt under way, which is waited for."""
    run("apt-get", "-q", "-o", "DPkg::Lock::Timeout=300", *arguments, environment={"DEBIAN_FRONTEND": "noninteractive"})


@contextmanager
def _no_services() -> Iterator[None]:
    """Packages would start services of their own (containerd, a registry on every address); we run ours."""
    if _POLICY.exists() and _POLICY.read_text() != _NO_SERVICES:
        yield  # the machine has a policy of its own
        return
    _POLICY.write_text(_NO_SERVICES)  # also over ours that a process left which was killed here
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink()


def _present(tool: str) -> bool:
    return Path(tool).exists() if tool.startswith("/") else shutil.which(tool) is not None
