"""The processes of an embedded cluster: their configuration files and command lines. Nothing is started here."""

import base64
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from . import locks, paths
from .binary import PAUSE_IMAGE, Binary
from .certificates import Authority, write_key
from .state import Record

NODE = "dev"
_COMMANDS = "commands.json"
_BINARY = "kubernetes"
_REGISTRY = "registry"
_REGISTRY_BYTES = 5 * 1024**3
_GO = {"GOGC": "200"}  # a cluster this small collects its garbage all the time otherwise: 15 % of its CPU while pods start
# The order in which they are stopped; those of one line together.
STOP_ORDER = (
    ("kubelet", "kube-proxy", "coredns", "kube-scheduler", "kube-controller-manager"),
    ("containerd",),
    ("registry",),
    ("kube-apiserver",),
    ("etcd",),
)


@dataclass(frozen=True)
class Component:
    """`after_api`: started when API server and containerd answer, which the others don't need."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    after_api: bool = False


@dataclass(frozen=True)
class _Files:
    """The directory and what is signed in it."""

    record: Record
    binary: Path
    pki: Path
    authority: Authority

    @property
    def directory(self) -> Path:
        return self.record.directory

    @property
    def api(self) -> str:
        return f"https://{self.record.address}:{self.record.ports['kube-apiserver']}"

    def kubeconfig(self, name: str, user: str, *groups: str) -> Path:
        """A kubeconfig for this user with its certificate inside; 0600."""
        pair = self.authority.sign(self.pki, name, user=user, groups=groups)
        path = self.directory / ("kubeconfig" if name == "admin" else f"{name}.kubeconfig")
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "default",
            "clusters": [{"name": "default", "cluster": {"server": self.api, "certificate-authority-data": _data(self.ca)}}],
            "users": [
                {"name": name, "user": {"client-certificate-data": _data(pair.certificate), "client-key-data": _data(pair.key)}}
            ],
            "contexts": [{"name": "default", "context": {"cluster": "default", "user": name}}],
        }
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(content))
        return path

    @property
    def ca(self) -> Path:
        return self.authority.pair.certificate

    def yaml(self, name: str, content: Mapping[str, Any]) -> Path:
        path = self.directory / name
        path.write_text(yaml.safe_dump(dict(content), sort_keys=False))
        return path


def prepare(record: Record, binary: Binary) -> list[Component]:
    """Write every file that the cluster's processes read and return the processes, in the order of their start."""
    pki = record.directory / "pki"
    pki.mkdir(mode=0o700)
    files = _Files(record, binary.kubernetes, pki, Authority.make(pki))
    files.kubeconfig("admin", "kubernetes-admin", "system:masters")
    components = [_etcd(files), _apiserver(files), _controller_manager(files), _scheduler(files)]
    if record.network:
        components += [_registry(files), _containerd(files), _kubelet(files), _kube_proxy(files), _coredns(files)]
    components = [replace(component, environment={**component.environment, **_GO}) for component in components]
    for component in components:
        add(record, component)
    (record.directory / _BINARY).symlink_to(binary.kubernetes)
    return components


def read(record: Record, name: str) -> Component:
    """As it was started: one of those that `prepare` made, or one that `add` recorded. Raises KeyError."""
    command, environment = _stored(record)[name]
    return Component(name, tuple(command), environment)


def names(record: Record) -> list[str]:
    """Of all that were recorded, running or not."""
    return sorted(_stored(record))


def add(record: Record, component: Component) -> None:
    """Record another process of the cluster."""
    path = record.directory / _COMMANDS
    with locks.held(path.with_suffix(".lock")):
        draft = path.with_suffix(".new")
        draft.touch(mode=0o600)  # an environment may hold a password
        draft.write_text(json.dumps({**_stored(record), component.name: (component.command, dict(component.environment))}))
        draft.rename(path)


def _stored(record: Record) -> dict[str, tuple[list[str], dict[str, str]]]:
    try:
        content: dict[str, tuple[list[str], dict[str, str]]] = json.loads((record.directory / _COMMANDS).read_text())
    except FileNotFoundError:
        return {}
    return content


def binary_of(record: Record) -> Path:
    """The binary that the cluster was started with; the sources may have moved on."""
    return record.directory / _BINARY


def trim_registry() -> None:
    """Empty the registry when it has grown beyond 5 GB; no cluster uses it now."""
    storage = paths.cache() / _REGISTRY
    if sum(file.lstat().st_size for file in storage.rglob("*") if file.is_file()) > _REGISTRY_BYTES:
        shutil.rmtree(storage)


def containerd_socket(record: Record) -> Path:
    return record.directory / "containerd.sock"


def containerd(record: Record) -> Component:
    """Needed apart: it is started again to remove pods when it died."""
    configuration = str(record.directory / "containerd.toml")
    return Component("containerd", (*record.prefix, "containerd", "--config", configuration, "--log-level", "warn"))


def _etcd(files: _Files) -> Component:
    client = f"http://127.0.0.1:{files.record.ports['etcd']}"
    peer = f"http://127.0.0.1:{files.record.ports['etcd-peer']}"
    flags = {
        "name": "dev",
        "data-dir": files.directory / "etcd",
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"dev={peer}",
        "log-level": "error",
    }
    return Component("etcd", (*_flags(files, "etcd", flags), "--unsafe-no-fsync"))


def _apiserver(files: _Files) -> Component:
    record = files.record
    names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost"]
    network = record.network
    services = network.services if network else "10.96.0.0/16"
    hosts = [*names, "127.0.0.1", record.address, *([network.first_service] if network else [])]
    serving = files.authority.sign(files.pki, "apiserver", user="kube-apiserver", hosts=sorted(set(hosts)))
    kubelet = files.authority.sign(files.pki, "apiserver-kubelet", user="kube-apiserver", groups=["system:masters"])
    accounts = files.pki / "service-accounts.key"
    write_key(accounts)
    flags = {
        "etcd-servers": f"http://127.0.0.1:{record.ports['etcd']}",
        "bind-address": record.address,
        "advertise-address": record.address,
        "secure-port": record.ports["kube-apiserver"],
        "client-ca-file": files.ca,
        "tls-cert-file": serving.certificate,
        "tls-private-key-file": serving.key,
        "authorization-mode": "Node,RBAC",
        "allow-privileged": "true",
        "enable-admission-plugins": "NodeRestriction",
        "service-cluster-ip-range": services,
        "service-account-issuer": "https://kubernetes.default.svc",
        "service-account-key-file": accounts,
        "service-account-signing-key-file": accounts,
        "kubelet-client-certificate": kubelet.certificate,
        "kubelet-client-key": kubelet.key,
        "kubelet-certificate-authority": files.ca,
        "kubelet-preferred-address-types": "InternalIP",
        "shutdown-delay-duration": "0s",
    }
    if not network:
        flags["endpoint-reconciler-type"] = "none"  # a loopback address is no valid endpoint
    return Component("kube-apiserver", _flags(files, "kube-apiserver", flags))


def _controller_manager(files: _Files) -> Component:
    # As an admin, in place of a service account for each controller: those take it seconds to get.
    flags = {
        "kubeconfig": files.kubeconfig("controller-manager", "system:kube-controller-manager", "system:masters"),
        "service-account-private-key-file": files.pki / "service-accounts.key",
        "root-ca-file": files.ca,
        "secure-port": 0,
        "leader-elect": "false",
    }
    return Component("kube-controller-manager", _flags(files, "kube-controller-manager", flags), after_api=True)


def _scheduler(files: _Files) -> Component:
    flags = {"kubeconfig": files.kubeconfig("scheduler", "system:kube-scheduler"), "secure-port": 0, "leader-elect": "false"}
    return Component("kube-scheduler", _flags(files, "kube-scheduler", flags), after_api=True)


def _registry(files: _Files) -> Component:
    assert files.record.registry
    storage = paths.cache() / _REGISTRY  # common to all clusters: what was pushed once need not be again
    storage.mkdir(exist_ok=True)
    config = {
        "version": 0.1,
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(storage)}, "delete": {"enabled": True}},
        "http": {"addr": files.record.registry},
    }
    return Component("registry", (*files.record.prefix, "docker-registry", "serve", str(files.yaml("registry.yaml", config))))


def _containerd(files: _Files) -> Component:
    directory, registry, network = files.directory, files.record.registry, files.record.network
    assert network
    own = directory / "containerd"
    certs = directory / "certs.d" / str(registry)
    certs.mkdir(parents=True)
    (certs / "hosts.toml").write_text(
        f'server = "http://{registry}"\n[host."http://{registry}"]\n  capabilities = ["pull", "resolve"]\n'
    )
    bridge = {
        "type": "bridge",
        "bridge": network.bridge,
        "isGateway": True,
        "ipMasq": False,  # pods have no way out of the machine
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "dataDir": str(directory / "cni-addresses"),
            "ranges": [[{"subnet": network.pods}]],
            "routes": [{"dst": network.services}, {"dst": f"{network.host_address}/32"}],
        },
    }
    cni = directory / "cni"
    cni.mkdir()
    (cni / "10-bridge.conflist").write_text(json.dumps({"cniVersion": "0.4.0", "name": network.bridge, "plugins": [bridge]}))
    cri = "io.containerd.grpc.v1.cri"
    # restrict_oom_score_adj: without CAP_SYS_RESOURCE a score can't be lowered and runc fails.
    # netns_mounts_under_state_dir: pods' namespaces are mounted in our directory, not in the machine's /run/netns.
    config = f"""version = 2
root = "{own}/root"
state = "{own}/state"
oom_score = 0
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
  address = "{containerd_socket(files.record)}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{own}/opt"
[plugins."{cri}"]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  netns_mounts_under_state_dir = true
  enable_unprivileged_icmp = true
  stream_server_address = "127.0.0.1"
[plugins."{cri}".cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "{cni}"
[plugins."{cri}".registry]
  config_path = "{directory}/certs.d"
"""
    (directory / "containerd.toml").write_text(config)
    return containerd(files.record)


def _kubelet(files: _Files) -> Component:
    directory, address = files.directory, files.record.address
    serving = files.authority.sign(
        files.pki, "kubelet-serving", user=f"system:node:{NODE}", groups=["system:nodes"], hosts=[address]
    )
    config = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": address,
        "readOnlyPort": 0,
        "healthzPort": 0,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(files.ca)},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(serving.certificate),
        "tlsPrivateKeyFile": str(serving.key),
        "containerRuntimeEndpoint": f"unix://{containerd_socket(files.record)}",
        "cgroupDriver": "cgroupfs",
        "cgroupsPerQOS": False,
        "enforceNodeAllocatable": [],
        "failCgroupV1": False,
        "failSwapOn": False,
        "resolvConf": "/etc/resolv.conf",  # of pods in the machine's network; others ask the cluster's DNS
        "clusterDNS": [address],
        "clusterDomain": "cluster.local",
        "oomScoreAdj": 0,
        "makeIPTablesUtilChains": False,
        "podLogsDir": str(directory / "pod-logs"),
        "volumePluginDir": str(directory / "volume-plugins"),
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "maxPods": 250,
        "serializeImagePulls": False,
        # One node has all pods: with the default of 50 requests a second, mounts of their Secrets wait in line for a second each.
        "kubeAPIQPS": 500,
        "kubeAPIBurst": 1000,
    }
    flags = {
        "config": files.yaml("kubelet.yaml", config),
        "kubeconfig": files.kubeconfig("kubelet", f"system:node:{NODE}", "system:nodes"),
        "root-dir": directory / "kubelet",
        "cert-dir": files.pki,
        "hostname-override": NODE,
        "node-ip": address,
    }
    return Component("kubelet", _flags(files, "kubelet", flags), after_api=True)


def _kube_proxy(files: _Files) -> Component:
    record = files.record
    config = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "bindAddress": record.address,
        "hostnameOverride": NODE,
        "nodePortAddresses": ["primary"],
        "oomScoreAdj": 0,
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "healthzBindAddress": f"127.0.0.1:{record.ports['kube-proxy-health']}",
        "metricsBindAddress": f"127.0.0.1:{record.ports['kube-proxy-metrics']}",
        "clientConnection": {"kubeconfig": str(files.kubeconfig("kube-proxy", "system:kube-proxy"))},
    }
    flags = {"config": files.yaml("kube-proxy.yaml", config)}
    return Component("kube-proxy", _flags(files, "kube-proxy", flags), after_api=True)


def _coredns(files: _Files) -> Component:
    kubeconfig = files.kubeconfig("coredns", "system:coredns")
    # Foreign names don't exist; without the template they would be "try again", for seconds.
    corefile = f""".:53 {{
  bind {files.record.address}
  errors
  cache 5
  kubernetes cluster.local in-addr.arpa {{
    kubeconfig {kubeconfig} default
  }}
  template ANY ANY {{
    rcode NXDOMAIN
  }}
}}
"""
    path = files.directory / "Corefile"
    path.write_text(corefile)
    return Component("coredns", _flags(files, "coredns", {"conf": path}, dashes="-"), after_api=True)


def _flags(files: _Files, subcommand: str, flags: Mapping[str, object], dashes: str = "--") -> tuple[str, ...]:
    arguments = (f"{dashes}{name}={value}" for name, value in flags.items())
    return (*files.record.prefix, str(files.binary), subcommand, *arguments)


def _data(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
