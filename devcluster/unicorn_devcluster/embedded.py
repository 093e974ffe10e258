"""The embedded Kubernetes: brought up, taken down, its processes stopped and started one by one."""

import os
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import psutil

from . import binary as binaries
from . import components, local_nodes, locks, network, paths, processes, state, tools
from .api import Api, ApiError
from .components import NODE, STOP_ORDER, Component
from .ports import free_ports
from .postgres import Postgres
from .state import COMPONENT, MARK, Record

_TOOLS = {
    "containerd": "containerd",
    "runc": "runc",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "nft": "nftables",
    "ip": "iproute2",
    "docker-registry": "docker-registry",
    "buildah": "buildah",
}
_PORTS = ("etcd", "etcd-peer", "kube-apiserver", "registry", "kube-proxy-health", "kube-proxy-metrics")
_READY_SECONDS = 90.0
_POLL_SECONDS = 0.05
_LINKS = Path("/var/log/containers")
_CGROUPS = Path("/sys/fs/cgroup")


class ClusterError(Exception):
    """The cluster did not come up; the message says which part, with the end of its log."""


def install(*, pods: bool, log: tools.Log) -> binaries.Binary:
    """Have what it is made of; the first time that takes minutes. Raises ToolError."""
    binary = binaries.build(log)
    if pods:
        tools.ensure(_TOOLS, "pods run in containerd, images lie in a registry", log)
    return binary


def up(name: str, *, pods: bool, log: tools.Log) -> Record:
    """Bring it up from nothing, whatever an earlier one left. Raises ClusterError, ToolError."""
    binary = install(pods=pods, log=log)
    down(name)
    started = time.monotonic()
    log(f"Starting Kubernetes{' with' if pods else ' without'} pods: usually takes 5 s.")
    try:
        record = _reserve(name, pods)
        if record.network:
            record.network.create()
        _start_all(record, components.prepare(record, binary), binary)
        (record.directory / "up").touch()  # complete: from now on it is found
    except BaseException:
        down(name)
        raise
    log(f"Kubernetes is ready after {time.monotonic() - started:.1f} s.")
    return record


def down(name: str) -> None:
    """Remove everything of the cluster, complete or not: processes, pods, mounts, links, tables, files."""
    record = state.read(name)
    if record is None:
        local_nodes.clear(name)
        Postgres.discard(state.postgres(name))
        state.forget(name)  # killed before it had made anything else
        return
    end_components(record, [other for other in _running_names(record) if other not in sum(STOP_ORDER, ())])
    local_nodes.clear(name)  # after their operators, which might start them again
    Postgres.discard(state.postgres(name))
    for names in STOP_ORDER:
        if "containerd" in names:
            _remove_pods(record)
        end_components(record, names)
    processes.end(processes.marked({MARK: record.identity}), signal.SIGKILL)  # shims
    if record.network:
        network.unmount_below(record.directory)
        record.network.remove()
        network.unmount_below(record.directory)
        _remove_traces(record)
    state.forget(name)


def start_component(record: Record, component: Component) -> int:
    """Start this process, which `components` has recorded, and return its pid at once."""
    environment = {**os.environ, **component.environment, MARK: record.identity, COMPONENT: component.name}
    logs = record.directory / "logs"
    logs.mkdir(exist_ok=True)
    log = logs / f"{component.name}.log"
    prefix, command = _parted(record, component.command)
    return processes.spawn(command, log=log, prefix=prefix, env=environment, cwd=record.directory).pid


def end_components(record: Record, names: Iterable[str], number: signal.Signals = signal.SIGTERM) -> None:
    """Signal these and wait for their end."""
    found: list[psutil.Process] = []
    for name in names:
        found += running(record, name)
    processes.end(found, number)


def running(record: Record, component: str) -> list[psutil.Process]:
    """Its process, or nothing. What it started itself (shims, executors) bears its name too, but is another command."""
    try:
        _, own = _parted(record, components.read(record, component).command)
    except KeyError:
        return []  # never started
    found = processes.marked({MARK: record.identity, COMPONENT: component})
    # The end of the line: a script's begins with its interpreter.
    return [process for process in found if len(own) == 1 or _arguments(process)[1 - len(own) :] == list(own[1:])]


def _parted(record: Record, command: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What enters the cluster's network, and what stays."""
    size = len(record.prefix) if command[: len(record.prefix)] == record.prefix else 0
    return command[:size], command[size:]


def wait_for_api(record: Record, seconds: float = _READY_SECONDS) -> None:
    """Until the API server is ready. Raises ClusterError."""
    api = _api(record)
    _wait(record, "the API server", lambda: api.get("/readyz") == "ok", seconds, ("etcd", "kube-apiserver"))


def _reserve(name: str, pods: bool) -> Record:
    """Choose addresses and ports and write them down; what another process chooses meanwhile is different."""
    with locks.held(paths.cache() / "clusters.lock"):
        directory = state.clusters() / name
        directory.mkdir(parents=True, mode=0o700)
        others = [record for record in state.every() if record.network]
        if not others:
            components.trim_registry()
        networks = [other.network for other in others if other.network]
        taken = [other.index for other in networks]
        on_host = any(other.namespace is None for other in networks)
        chosen = network.choose(directory, taken, host_is_free=not on_host) if pods else None
        kernel = (others[0].kernel if others else network.kernel_settings()) if pods else {}
        record = Record(name, state.new_identity(), chosen, dict(zip(_PORTS, free_ports(len(_PORTS)), strict=True)), kernel)
        record.write()
    return record


def _start_all(record: Record, wanted: Sequence[Component], binary: binaries.Binary) -> None:
    for component in wanted:
        if not component.after_api:
            start_component(record, component)
    api = _api(record)
    watched = [component.name for component in wanted if not component.after_api]
    if record.network:
        socket_file = components.containerd_socket(record)
        _wait(record, "containerd", socket_file.exists, _READY_SECONDS, watched)
        tools.run("ctr", "--address", socket_file, "--namespace", "k8s.io", "images", "import", binary.pause)
    _wait(record, "the API server", lambda: api.get("/readyz") == "ok", _READY_SECONDS, watched)
    for component in wanted:
        if component.after_api:
            start_component(record, component)
    for path, content in _roles():
        api.create(path, content)
    watched = [component.name for component in wanted]
    accounts = "/api/v1/namespaces/default/serviceaccounts/default"
    _wait(record, "the default service account", lambda: bool(api.get(accounts)), _READY_SECONDS, watched)
    if record.network:
        _wait(record, "the node", lambda: _node_is_ready(api), _READY_SECONDS, watched)


def _node_is_ready(api: Api) -> bool:
    conditions = api.get(f"/api/v1/nodes/{NODE}")["status"]["conditions"]
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def _api(record: Record) -> Api:
    return Api(record.address, record.ports["kube-apiserver"], record.directory / "pki")


def _wait(record: Record, what: str, is_ready: Callable[[], bool], seconds: float, watched: Sequence[str]) -> None:
    """Until the condition holds. Raises ClusterError at the deadline, and at once when a watched process has ended."""
    deadline = time.monotonic() + seconds
    said = ""
    while True:
        try:
            if is_ready():
                return
        except ApiError as error:
            said = str(error)
        alive = _running_names(record)
        dead = [name for name in watched if name not in alive]
        if dead or time.monotonic() > deadline:
            name = dead[0] if dead else watched[-1]
            reason = f"{name} has ended" if dead else f"not within {seconds:.0f} s: {said}"
            raise ClusterError(f"{what} did not become ready: {reason}\n{_log_end(record, name)}")
        time.sleep(_POLL_SECONDS)


def _log_end(record: Record, component: str) -> str:
    path = record.directory / "logs" / f"{component}.log"
    return "\n".join(path.read_text(errors="replace").splitlines()[-15:]) if path.exists() else ""


def _roles() -> list[tuple[str, dict[str, Any]]]:
    """What kube-proxy, CoreDNS and the kubelet may read: (collection, object).

    The kubelet learns of a pod often before the node authorizer does. Refused what the pod refers to ("no relationship found"),
    it asks again a second or two later, and the pod waits. Here the one node has all pods, so it may read all.
    """
    group, watched = "/apis/rbac.authorization.k8s.io/v1", ["list", "watch"]
    version = {"apiVersion": "rbac.authorization.k8s.io/v1"}
    rules: dict[str, list[dict[str, Any]]] = {
        "system:coredns": [
            {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": watched},
            {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": watched},
        ],
        "devcluster:node": [{"apiGroups": [""], "resources": ["secrets", "configmaps"], "verbs": ["get", *watched]}],
    }
    objects: list[tuple[str, dict[str, Any]]] = [
        (f"{group}/clusterroles", {**version, "kind": "ClusterRole", "metadata": {"name": name}, "rules": allowed})
        for name, allowed in rules.items()
    ]
    bound = {
        "system:coredns": "system:coredns",
        "system:kube-proxy": "system:node-proxier",
        f"system:node:{NODE}": "devcluster:node",
    }
    for user, role in bound.items():
        binding = {
            **version,
            "kind": "ClusterRoleBinding",
            "metadata": {"name": f"devcluster:{user.removeprefix('system:')}"},
            "subjects": [{"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}],
            "roleRef": {"kind": "ClusterRole", "name": role, "apiGroup": "rbac.authorization.k8s.io"},
        }
        objects.append((f"{group}/clusterrolebindings", binding))
    return objects


def _remove_pods(record: Record) -> None:
    """By the container runtime, which also gives back addresses and mounts; it is started again if it died."""
    configuration = record.directory / "containerd.toml"
    if not record.network or not configuration.exists() or not (record.directory / "containerd").exists():
        return
    socket_file = components.containerd_socket(record)
    if not running(record, "containerd"):
        socket_file.unlink(missing_ok=True)
        start_component(record, components.containerd(record))
    try:
        _wait(record, "containerd", socket_file.exists, 20.0, ["containerd"])
        tools.run(components.binary_of(record), "remove-sandboxes", f"unix://{socket_file}")
    except (ClusterError, tools.ToolError):
        pass  # what is left is killed and unmounted by the next steps


def _remove_traces(record: Record) -> None:
    """Outside of our directory: links to logs, empty cgroups, and with the last cluster the machine's settings."""
    with locks.held(paths.cache() / "clusters.lock"):
        if all(other.network is None or other.name == record.name for other in state.every()):
            network.restore(record.kernel)
    inside = f"{record.directory}{os.sep}"
    if _LINKS.exists():
        for link in _LINKS.iterdir():
            if link.is_symlink() and os.readlink(link).startswith(inside):
                link.unlink()
    for parent in {path.parent for path in _CGROUPS.glob("**/k8s.io") if path.is_dir()}:
        try:
            (parent / "k8s.io").rmdir()
        except OSError:
            pass  # another cluster's


def _running_names(record: Record) -> set[str]:
    names = set()
    for process in processes.marked({MARK: record.identity}):
        try:
            names.add(process.environ().get(COMPONENT, ""))
        except psutil.Error:
            continue  # it has just ended
    return names


def _arguments(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
