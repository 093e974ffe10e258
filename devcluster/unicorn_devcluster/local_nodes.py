"""What the `local` connector leaves on this machine when its operator goes: executors that run, and their directories."""

import shutil
from pathlib import Path

from unicorn_connectors.local import processes
from unicorn_connectors.local.directory import ExecutorDirectory

from . import paths


def directory(cluster: str, stack: str) -> Path:
    """The state directory of a stack's operators, passable for the executors' uids."""
    return _of_cluster(cluster) / stack


def clear(cluster: str, stack: str = "*") -> None:
    """Kill the executors that still run there, and delete everything. Of all stacks of the cluster when none is named.

    Call it when their operators are gone.
    """
    for base in _of_cluster(cluster).glob(f"{stack}/*/"):  # a directory for each Connector
        for executor in ExecutorDirectory.all(base):
            processes.kill_all(executor.executor)
    for state in _of_cluster(cluster).glob(f"{stack}/"):
        shutil.rmtree(state, ignore_errors=True)
    if not any(_of_cluster(cluster).glob("*")):
        shutil.rmtree(_of_cluster(cluster), ignore_errors=True)


def root() -> Path:
    """Of the directories of all clusters."""
    return paths.shared() / "local"


def _of_cluster(name: str) -> Path:
    return root() / name
