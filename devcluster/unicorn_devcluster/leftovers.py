"""`python -m unicorn_devcluster.leftovers`: removes what sessions of tests and benches that were killed have left running.

Their clusters and servers are named test-PID and bench-PID after the session's process.
"""

import shutil
from pathlib import Path

import psutil

from . import cluster as clusters
from . import forwarding, local_nodes, paths, state
from .postgres import Postgres

_PREFIXES = ("test-", "bench-")


def remove() -> list[str]:
    """Bring them down and return their names. Those of living sessions stay."""
    removed = []
    for directory in _abandoned(state.clusters()):
        clusters.down(directory.name)
        removed.append(f"cluster {directory.name}")
    for directory in _abandoned(clusters.foreign()):
        forwarding.end(directory)
        shutil.rmtree(directory)
        removed.append(f"files of the demo {directory.name}")
    for directory in _abandoned(paths.shared() / "postgres"):
        Postgres.discard(directory)
        removed.append(f"PostgreSQL {directory.name}")
    for directory in _abandoned(local_nodes.root()):
        local_nodes.clear(directory.name)
        removed.append(f"executors of {directory.name}")
    return removed


def _abandoned(parent: Path) -> list[Path]:
    """The directories of sessions that are over."""
    return [directory for directory in sorted(parent.glob("*/")) if _is_over(directory.name)]


def _is_over(name: str) -> bool:
    prefix = next((prefix for prefix in _PREFIXES if name.startswith(prefix)), None)
    if prefix is None:
        return False
    pid = name.removeprefix(prefix).split("-")[0]
    return pid.isdigit() and not psutil.pid_exists(int(pid))


if __name__ == "__main__":
    for what in remove():
        print(f"Removed {what}, left by tests or benches that were stopped.")
