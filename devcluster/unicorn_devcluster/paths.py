"""Where the harness keeps things. Nothing here changes the mode of a directory that it did not make."""

import os
from pathlib import Path

_NAME = "netunicorn-operator"


def is_root() -> bool:
    return os.geteuid() == 0


def open_umask() -> None:
    """For a process that makes what another uid reads: a hardened root's umask would close it."""
    if is_root():
        os.umask(0o022)


def cache() -> Path:
    """The caller's own cache: binaries, image archives, cluster states."""
    return _made(Path.home() / ".cache" / _NAME)


def shared() -> Path:
    """What another uid reads or executes. Root's home may be closed (0700), hence a place of its own for root."""
    return _made(Path("/var/cache") / _NAME) if is_root() else cache()


def _made(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    if is_root() and path.is_relative_to("/var/cache"):
        path.chmod(0o755)  # ours, whatever the umask was
    return path
