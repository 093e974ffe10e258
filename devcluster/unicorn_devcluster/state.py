"""What a cluster is, on disk: written before anything of it is made, so that `down` always knows what to look for."""

import json
import shutil
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import paths
from .network import Network

_FILE = "state.json"
MARK = "UNICORN_DEVCLUSTER"
COMPONENT = "UNICORN_DEVCLUSTER_COMPONENT"


@dataclass(frozen=True)
class Record:
    """`identity` stands in the environment of every process of the cluster. `network`: None without pods.

    `ports`: of what has no fixed one, by name (etcd, etcd-peer, registry, kube-apiserver, kube-proxy-…).
    `kernel`: the machine's settings as they were before the first of the clusters that run beside each other.
    """

    name: str
    identity: str
    network: Network | None
    ports: Mapping[str, int]
    kernel: Mapping[str, str] = field(default_factory=dict)

    @property
    def pods(self) -> bool:
        return self.network is not None

    @property
    def directory(self) -> Path:
        return clusters() / self.name

    @property
    def address(self) -> str:
        """Of node, API server and registry."""
        return self.network.gateway if self.network else "127.0.0.1"

    @property
    def host_address(self) -> str:
        return self.network.host_address if self.network else "127.0.0.1"

    @property
    def registry(self) -> str | None:
        return f"{self.address}:{self.ports['registry']}" if self.network else None

    @property
    def prefix(self) -> tuple[str, ...]:
        return self.network.entered if self.network else ()

    def write(self) -> None:
        network = self.network
        stored: dict[str, Any] = {"identity": self.identity, "ports": dict(self.ports), "network": None}
        stored["kernel"] = dict(self.kernel)
        if network:
            stored["network"] = {"index": network.index, "namespace": network.namespace and str(network.namespace)}
        draft = self.directory / f"{_FILE}.new"
        draft.write_text(json.dumps(stored))
        draft.rename(self.directory / _FILE)


def new_identity() -> str:
    return uuid.uuid4().hex


def clusters() -> Path:
    return paths.cache() / "clusters"


def read(name: str) -> Record | None:
    """The record of this cluster, or None where nothing was recorded."""
    try:
        stored = json.loads((clusters() / name / _FILE).read_text())
    except FileNotFoundError:
        return None
    network = None
    if entry := stored["network"]:
        network = Network(entry["index"], Path(entry["namespace"]) if entry["namespace"] else None)
    return Record(name, stored["identity"], network, stored["ports"], stored.get("kernel", {}))


def every() -> Iterator[Record]:
    """All recorded clusters of this user, running or not."""
    for directory in sorted(clusters().glob("*/")):
        if record := read(directory.name):
            yield record


def postgres(name: str) -> Path:
    """The directory of the cluster's PostgreSQL, reachable for the uid that it runs as."""
    return paths.shared() / "clusters" / name / "postgres"


def forget(name: str) -> None:
    """Delete the cluster's directories. Nothing is mounted there any more."""
    for directory in (clusters(), paths.shared() / "clusters"):
        shutil.rmtree(directory / name, ignore_errors=True)
