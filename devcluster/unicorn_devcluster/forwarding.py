"""Ports of pods on this machine's loopback: `kubectl port-forward`, left running, and found again by its environment."""

import os
import time
from pathlib import Path

import psutil

from . import processes
from .cluster import Cluster, ClusterError
from .ports import free_port

_CLUSTER = "UNICORN_DEVCLUSTER_FORWARD"
_TARGET = "UNICORN_DEVCLUSTER_FORWARD_TARGET"
_PORT = "UNICORN_DEVCLUSTER_FORWARD_PORT"
_READY_SECONDS = 30.0


def start(cluster: Cluster, namespace: str, target: str, port: int) -> int:
    """Forward to this port of `target` (KIND/NAME); returns the port on 127.0.0.1. Raises ClusterError.

    One that runs already is exchanged for a new one on the same port: its pod may be gone.
    """
    marks = {_CLUSTER: str(cluster.directory), _TARGET: target}
    before = processes.marked(marks)
    local = _port_of(before) or free_port("127.0.0.1")
    processes.end(before)
    logs = cluster.directory / "logs"
    logs.mkdir(exist_ok=True)
    log = logs / f"forward-{target.replace('/', '-')}.log"
    command = [*cluster.kubectl, "port-forward", "--address=127.0.0.1", f"--namespace={namespace}", target, f"{local}:{port}"]
    log.unlink(missing_ok=True)
    process = processes.spawn(command, log=log, env={**os.environ, **marks, _PORT: str(local)})
    deadline = time.monotonic() + _READY_SECONDS
    while processes.is_alive(process) and time.monotonic() < deadline:
        # Its own word: that something listens there says nothing about who.
        if f"127.0.0.1:{local} ->" in log.read_text(errors="replace"):
            return local
        time.sleep(0.05)
    processes.end([process])
    said = " ".join(log.read_text(errors="replace").split())[-500:]
    raise ClusterError(f"no port-forward to {target} in {namespace}: {said}")


def end(directory: Path) -> None:
    """All of the cluster with this directory."""
    processes.end(processes.marked({_CLUSTER: str(directory)}))


def _port_of(running: list[psutil.Process]) -> int | None:
    for process in running:
        try:
            return int(process.environ()[_PORT])
        except (psutil.Error, KeyError):  # it has just ended
            continue
    return None
