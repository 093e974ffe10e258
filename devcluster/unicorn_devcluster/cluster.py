"""The cluster as others use it, whichever kind it is.

Which one: UNICORN_KUBECONFIG if set; kind where a Docker engine answers; else the embedded Kubernetes, which
UNICORN_CLUSTER=embedded demands: tests and benches stop and kill parts of it.
"""

import json
import os
import shlex
import shutil
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from . import binary, components, embedded, kind, locks, paths, state, tools
from .components import Component
from .embedded import ClusterError
from .postgres import Postgres

__all__ = ["Cluster", "ClusterError", "down", "every", "find", "up"]

CHOICE = "UNICORN_CLUSTER"
_EXPORTS = "exports.json"
_KUBECONFIG = "kubeconfig"


@dataclass(frozen=True)
class Cluster:
    """A running cluster.

    `host_address`: where pods and the API server reach a server of ours on this machine (127.0.0.1 without pods).
    `registry`: host:port to push to and to pull from, over plain HTTP when embedded; None where there is none.
    `kubectl`: the beginning of a command line. `directory`: for files of the cluster's life; `down` deletes it.
    """

    name: str
    kind: Literal["embedded", "kind", "external"]
    kubeconfig: Path
    host_address: str
    registry: str | None
    pods: bool
    kubectl: list[str]
    directory: Path

    def run(self, *arguments: str, input: str | None = None) -> str:
        """Run kubectl to its end and return its output. Raises ToolError."""
        return tools.run(*self.kubectl, *arguments, input=input)

    @property
    def exports(self) -> dict[str, str]:
        """Environment variables that put a person into what runs here: KUBECONFIG, and what was recorded."""
        return {"KUBECONFIG": str(self.kubeconfig), **_read(self.directory / _EXPORTS)}

    def record_export(self, key: str, value: str) -> None:
        """Keep this for `exports`, until the cluster goes down."""
        _add(self.directory / _EXPORTS, key, value)

    def postgres(self, *, fast: bool = False) -> Postgres:
        """The cluster's PostgreSQL on this machine, started if it is not running; `down` stops and deletes it."""
        return Postgres.start(state.postgres(self.name), fast=fast)

    def spawn(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> int:
        """Start a process that lives as long as the cluster, first to be stopped by `down`; returns its pid.

        Its output goes to `directory/logs/NAME.log`; `stop`, `start` and `restart` know it by its name.
        """
        if self.kind != "embedded":
            raise ClusterError(f"nothing of ours runs on this machine with a cluster of kind {self.kind}")
        component = Component(name, tuple(command), environment or {})
        components.add(self._record(), component)
        return embedded.start_component(self._record(), component)

    def spawned(self, prefix: str) -> list[str]:
        """Names, beginning so, of what was ever started by `spawn`."""
        return [name for name in components.names(self._record()) if name.startswith(prefix)]

    def pids(self, component: str) -> list[int]:
        """Of the running processes of this component: one, or none."""
        return [process.pid for process in embedded.running(self._record(), component)]

    def stop(self, component: str, number: signal.Signals = signal.SIGTERM) -> None:
        """Signal this component (kube-apiserver, etcd, kubelet, … or a spawned one) and wait for its end."""
        embedded.end_components(self._record(), [component], number)

    def start(self, component: str) -> None:
        """Start it again as it was; for the API server, until it is ready. Nothing to do while it runs."""
        record = self._record()
        if embedded.running(record, component):
            return
        embedded.start_component(record, components.read(record, component))
        if component in ("kube-apiserver", "etcd"):
            embedded.wait_for_api(record)

    def restart(self, component: str, number: signal.Signals = signal.SIGTERM) -> None:
        """Stop it by this signal and start it again."""
        self.stop(component, number)
        self.start(component)

    def _record(self) -> state.Record:
        if self.kind != "embedded" or not (record := state.read(self.name)):
            raise ClusterError(f"the processes of the cluster {self.name!r} ({self.kind}) are not ours to touch")
        return record


def up(name: str, *, pods: bool | None = None, log: tools.Log = print) -> Cluster:
    """Bring the cluster of this name up, or return it as it runs. Raises ClusterError, ToolError.

    `pods`: whether it must be able to run pods; None means where this machine can.
    """
    _check_name(name)
    if cluster := _external(name):
        return cluster
    if pods is not False and _has_kind():
        kind.up(name, _plain_directory(name) / _KUBECONFIG, log)
        return _of_kind(name)
    able = tools.can_run_pods()
    if pods and not able:
        raise ClusterError(
            "pods need root with its capabilities on Debian or alike, a Docker engine (kind), or UNICORN_KUBECONFIG"
        )
    wanted = able if pods is None else pods
    with locks.held(state.clusters() / f"{name}.lock", f"Waiting for another process that works on cluster {name}.", log):
        if (cluster := find(name)) and cluster.pods >= wanted:
            return cluster
        return _of_record(embedded.up(name, pods=wanted, log=log))


def down(name: str) -> None:
    """Remove the cluster and everything of it. An external one is left as it is."""
    _check_name(name)
    if _external(name):
        return
    if _has_kind() and kind.exists(name):
        kind.down(name, _plain_directory(name) / _KUBECONFIG)
    lock = state.clusters() / f"{name}.lock"
    with locks.held(lock):
        embedded.down(name)
        lock.unlink(missing_ok=True)


def find(name: str) -> Cluster | None:
    """The running cluster of this name, or None."""
    if cluster := _external(name):
        return cluster
    if (record := state.read(name)) and embedded.running(record, "kube-apiserver") and (record.directory / "up").exists():
        return _of_record(record)
    return _of_kind(name) if _has_kind() and kind.exists(name) else None


def every() -> list[Cluster]:
    """All running embedded clusters of this user."""
    return [cluster for record in state.every() if (cluster := find(record.name))]


def shell_exports(cluster: Cluster) -> str:
    """For `eval "$(…)"`. Who has no kubectl gets the cluster's own."""
    lines = [f"export {key}={shlex.quote(value)}\n" for key, value in sorted(cluster.exports.items())]
    if cluster.kind == "embedded" and not shutil.which("kubectl"):
        lines.append(f'export PATH={shlex.quote(str(_kubectl_directory(cluster)))}:"$PATH"\n')
    return "".join(lines)


def _kubectl_directory(cluster: Cluster) -> Path:
    """With the command `kubectl`; it goes with the cluster."""
    directory = cluster.directory / "bin"
    directory.mkdir(exist_ok=True)
    command = directory / "kubectl"
    command.write_text(f'#!/bin/sh\nexec {shlex.join(cluster.kubectl[:2])} "$@"\n')
    command.chmod(0o755)
    return directory


def _of_record(record: state.Record) -> Cluster:
    kubeconfig = record.directory / _KUBECONFIG
    kubectl = [str(components.binary_of(record)), "kubectl", f"--kubeconfig={kubeconfig}"]
    return Cluster(
        name=record.name,
        kind="embedded",
        kubeconfig=kubeconfig,
        host_address=record.host_address,
        registry=record.registry,
        pods=record.pods,
        kubectl=kubectl,
        directory=record.directory,
    )


def _of_kind(name: str) -> Cluster:
    directory = _plain_directory(name)
    return Cluster(
        name=name,
        kind="kind",
        kubeconfig=kind.kubeconfig(name, directory / _KUBECONFIG),
        host_address="127.0.0.1",
        registry=os.environ.get("UNICORN_REGISTRY"),
        pods=True,
        kubectl=[*_kubectl(), f"--kubeconfig={directory / _KUBECONFIG}"],
        directory=directory,
    )


def _external(name: str) -> Cluster | None:
    kubeconfig = os.environ.get("UNICORN_KUBECONFIG")
    if not kubeconfig or _embedded_is_demanded():
        return None
    return Cluster(
        name=name,
        kind="external",
        kubeconfig=Path(kubeconfig),
        host_address="127.0.0.1",
        registry=os.environ.get("UNICORN_REGISTRY"),
        pods=True,
        kubectl=[*_kubectl(), f"--kubeconfig={kubeconfig}"],
        directory=_plain_directory(name),
    )


def _has_kind() -> bool:
    return not _embedded_is_demanded() and kind.is_available()


def _embedded_is_demanded() -> bool:
    """Raises ClusterError."""
    wanted = os.environ.get(CHOICE, "")
    if wanted not in ("", "embedded"):
        raise ClusterError(f"{CHOICE} is {wanted!r}; `embedded` is all that it can be")
    return bool(wanted)


def foreign() -> Path:
    """The directories of clusters that are not embedded."""
    return paths.cache() / "foreign"


def _plain_directory(name: str) -> Path:
    directory = foreign() / name
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    return directory


def _kubectl() -> list[str]:
    if found := shutil.which("kubectl"):
        return [found]
    return [str(binary.build().kubernetes), "kubectl"]


def _check_name(name: str) -> None:
    if not (name.isascii() and name.replace("-", "").isalnum() and name == name.lower() and len(name) <= 24):
        raise ClusterError(f"{name!r} is no name for a cluster: lower-case letters, digits and dashes, at most 24")


def _read(path: Path) -> dict[str, str]:
    try:
        content: dict[str, str] = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    return content


def _add(path: Path, key: str, value: str) -> None:
    with locks.held(path.with_suffix(".lock")):
        draft = path.with_suffix(".new")
        draft.touch(mode=0o600)  # may hold a password
        draft.write_text(json.dumps({**_read(path), key: value}))
        draft.rename(path)
