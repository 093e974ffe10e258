"""A cluster's addresses and links: a bridge, and for a second cluster on one machine a network namespace around it.

kube-proxy's nftables table has a fixed name, so two of them in one namespace break each other's services silently.
"""

import ipaddress
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import tools

_INDICES = range(32)
_KERNEL_SETTINGS = {  # file -> what a cluster with pods sets it to
    "/proc/sys/kernel/panic": "10",
    "/proc/sys/kernel/panic_on_oops": "1",
    "/proc/sys/net/ipv4/ip_forward": "1",
    "/proc/sys/vm/overcommit_memory": "1",
}
_WIDE = 8  # a route to so much is a way out (a VPN's, say), which ours are more specific than


@dataclass(frozen=True)
class Network:
    """Everything follows from the index (unique on the machine) and from whether the cluster has its own namespace.

    `namespace`: the file that the namespace is mounted on, or None for the machine's own.
    """

    index: int
    namespace: Path | None

    @property
    def bridge(self) -> str:
        return f"unicorn{self.index}"

    @property
    def veth(self) -> str:
        """The host's end."""
        return f"unicorn{self.index}h"

    @property
    def veth_peer(self) -> str:
        return f"unicorn{self.index}p"

    @property
    def gateway(self) -> str:
        """The bridge's address: node, API server, DNS and registry."""
        return f"10.88.{self.index}.1"

    @property
    def pods(self) -> str:
        return f"10.88.{self.index}.0/24"

    @property
    def services(self) -> str:
        return f"10.{96 + self.index}.0.0/16"

    @property
    def first_service(self) -> str:
        """Of `kubernetes.default`."""
        return f"10.{96 + self.index}.0.1"

    @property
    def link(self) -> str:
        """Between the machine and the namespace."""
        return f"10.89.{self.index}.0/30"

    @property
    def host_address(self) -> str:
        """Where pods, and the API server's webhooks, reach a server on the machine."""
        return f"10.89.{self.index}.1" if self.namespace else self.gateway

    @property
    def entered(self) -> tuple[str, ...]:
        """The command prefix that runs a process in this network."""
        return ("nsenter", f"--net={self.namespace}") if self.namespace else ()

    def create(self) -> None:
        if self.namespace:
            self._create_namespace(self.namespace)
        # With an address of its own: else it takes the lowest of its ports', another one as pods come and go, and pods that still
        # know the old one send into the void for up to a minute.
        hardware = "02:00:" + ":".join(f"{int(part):02x}" for part in self.gateway.split("."))
        self._ip("link", "add", self.bridge, "address", hardware, "type", "bridge")
        self._ip("addr", "add", f"{self.gateway}/24", "dev", self.bridge)
        self._ip("link", "set", self.bridge, "up")
        # Else what kube-proxy does not translate leaves by the default route.
        self._ip("route", "add", self.services, "dev", self.bridge)

    def remove(self) -> None:
        """Remove what is there, complete or not. The processes of the cluster have ended."""
        if self.namespace:
            _quietly("ip", "link", "del", self.veth)
            _quietly("umount", self.namespace)
            return
        for family in ("ip", "ip6"):
            _quietly("nft", "delete", "table", family, "kube-proxy")
        _quietly("ip", "link", "del", self.bridge)

    def _create_namespace(self, file: Path) -> None:
        file.touch()
        tools.run("unshare", f"--net={file}", "true")
        tools.run("ip", "link", "add", self.veth, "type", "veth", "peer", "name", self.veth_peer, "netns", file)
        first, second = list(ipaddress.ip_network(self.link).hosts())
        tools.run("ip", "addr", "add", f"{first}/30", "dev", self.veth)
        tools.run("ip", "link", "set", self.veth, "up")
        for cidr in (self.pods, self.services):
            tools.run("ip", "route", "add", cidr, "via", str(second))
        self._ip("link", "set", "lo", "up")
        self._ip("addr", "add", f"{second}/30", "dev", self.veth_peer)
        self._ip("link", "set", self.veth_peer, "up")
        tools.run(*self.entered, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")

    def _ip(self, *arguments: str) -> None:
        tools.run(*self.entered, "ip", *arguments)


def choose(directory: Path, taken: Sequence[int], host_is_free: bool) -> Network:
    """A network that overlaps with none of the machine's; raises ToolError when there is none.

    `taken`: indices of recorded clusters. `host_is_free`: no other cluster's kube-proxy lives in the machine's own
    namespace.
    """
    routes = [
        ipaddress.ip_network(route["dst"], strict=False)
        for route in json.loads(tools.run("ip", "-j", "-4", "route"))
        if route["dst"] != "default"
    ]
    routes = [route for route in routes if route.prefixlen > _WIDE]
    namespace = None if host_is_free and not _has_kube_proxy() else directory / "netns"
    for index in _INDICES:
        network = Network(index, namespace)
        cidrs = [ipaddress.ip_network(cidr) for cidr in (network.pods, network.services, network.link)]
        if index not in taken and not any(cidr.overlaps(route) for cidr in cidrs for route in routes):
            return network
    raise tools.ToolError("every address range for a cluster (10.88.x.0/24, 10.89.x.0/30, 10.96+x.0.0/16) is in use here")


def _has_kube_proxy() -> bool:
    tables = json.loads(tools.run("nft", "-j", "list", "tables"))["nftables"]
    return any(entry.get("table", {}).get("name") == "kube-proxy" for entry in tables)


def kernel_settings() -> dict[str, str]:
    """Those that a kubelet and the bridge plugin change for the whole machine, by their file."""
    return {name: Path(name).read_text().strip() for name in _KERNEL_SETTINGS if Path(name).exists()}


def restore(settings: Mapping[str, str]) -> None:
    """Set them back, where they are as a cluster sets them: what somebody has changed since stays."""
    for name, value in settings.items():
        if value != _KERNEL_SETTINGS[name] == Path(name).read_text().strip():
            Path(name).write_text(value)


def unmount_below(directory: Path) -> None:
    """Unmount everything in this directory, deepest and latest first."""
    prefix = f"{directory}{os.sep}"
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [line.split()[4].encode().decode("unicode_escape") for line in lines]
    for point in reversed([point for point in points if point.startswith(prefix)]):
        try:
            tools.run("umount", point)
        except tools.ToolError:
            _quietly("umount", "--lazy", point)


def _quietly(*command: str | Path) -> None:
    try:
        tools.run(*command)
    except tools.ToolError:
        pass  # it was not there
