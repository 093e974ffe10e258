"""Operator and gateway as processes beside a cluster: what `make demo` and the tests run. To deploy them: manifests/."""

import os
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGTERM, Signals

from unicorn_core.tokens import write_new_key
from unicorn_operator.admission import configuration_name
from unicorn_store import migrate

from . import identities, local_nodes, wheels
from .cluster import Cluster, ClusterError
from .ports import free_port

READY_SECONDS = 60.0
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Server:
    """A process of ours with an address; the same again after a restart."""

    name: str  # of the component of the cluster
    port: int
    health_port: int
    host: str = ""  # of `port`; empty: the cluster's address of this machine


@dataclass
class Stack:
    """One installation: a database, gateways, operators. Several may stand side by side if their namespaces differ."""

    cluster: Cluster
    dsn: str
    name: str = "demo"
    namespaces: Sequence[str] = ()  # that the operators watch; empty: all
    lease_namespace: str = "default"
    webhook: bool = False
    settings: dict[str, str] = field(default_factory=dict)  # further UNICORN_ variables
    operators: list[Server] = field(default_factory=list)
    gateways: list[Server] = field(default_factory=list)
    user_gateways: list[Server] = field(default_factory=list)

    @property
    def directory(self) -> Path:
        """Of keys and the like; goes with the cluster."""
        return self.cluster.directory / "stacks" / self.name

    @property
    def gateway_url(self) -> str:
        """The first gateway's, as executors see it."""
        return f"http://{self.cluster.host_address}:{self.gateways[0].port}"

    def start(self, operators: int = 1, gateways: int = 1) -> "Stack":
        """Install the CRDs, bring the database up to date, start everything and wait until it is ready."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        install_crds(self.cluster)
        migrate(self.dsn)
        write_new_key(self.directory / "keys")
        wheels.agent_file()
        for _ in range(gateways):
            self.add_gateway()
        for _ in range(operators):
            self.add_operator()
        return self

    def add_gateway(self) -> Server:
        server = Server(f"{self.name}-gateway-{len(self.gateways)}", free_port(self.cluster.host_address), 0)
        environment = {
            **self._common(),
            "UNICORN_EXECUTOR_LISTEN": f"{self.cluster.host_address}:{server.port}",
            "UNICORN_TOKEN_PUBLIC_KEYS": str(self.directory / "keys" / "public.json"),
            "UNICORN_AGENT": str(wheels.agent_file()),
        }
        self.cluster.spawn(server.name, [sys.executable, "-m", "unicorn_gateway", "executor"], environment)
        self.gateways.append(server)
        self.wait(server)
        return server

    @property
    def user_url(self) -> str:
        """The first user API's. It listens on loopback only."""
        return f"http://127.0.0.1:{self.user_gateways[0].port}"

    def add_user_gateway(self, settings: Mapping[str, str] | None = None) -> Server:
        """A user API with the rights of manifests/base/user-gateway-rbac.yaml, and no others. `settings`: further UNICORN_
        variables."""
        server = Server(f"{self.name}-user-gateway-{len(self.user_gateways)}", free_port("127.0.0.1"), 0, "127.0.0.1")
        write_new_key(self.directory / "user-key")
        environment = {
            **self._common(),
            "UNICORN_USER_LISTEN": f"127.0.0.1:{server.port}",
            "UNICORN_USER_SIGNING_KEY_FILE": str(self.directory / "user-key" / "private.pem"),
            "UNICORN_KUBECONFIG": str(identities.user_gateway(self.cluster, self.lease_namespace, self.directory)),
            **(settings or {}),
        }
        self.cluster.spawn(server.name, [sys.executable, "-m", "unicorn_gateway", "user"], environment)
        self.user_gateways.append(server)
        self.wait(server)
        return server

    def add_operator(self, *, wait: bool = True) -> Server:
        server = Server(f"{self.name}-operator-{len(self.operators)}", 0, free_port("127.0.0.1"))
        port = free_port(self.cluster.host_address)
        environment = {
            **self._common(),
            "UNICORN_KUBECONFIG": str(self.cluster.kubeconfig),
            "UNICORN_NAMESPACE": self.lease_namespace,
            "UNICORN_GATEWAY_ENDPOINT": self.gateway_url,
            "UNICORN_AGENT_PATH": str(wheels.agent_file()),
            "UNICORN_SIGNING_KEY_FILE": str(self.directory / "keys" / "private.pem"),
            "UNICORN_STATE_DIRECTORY": str(local_nodes.directory(self.cluster.name, self.name)),
            "UNICORN_ALLOW_LOCAL": "true",
            "UNICORN_HEALTH_PORT": str(server.health_port),
            "UNICORN_WEBHOOK": str(self.webhook).lower(),
            "UNICORN_WEBHOOK_TRUSTED_USERS": identities.user_name(self.lease_namespace),
            "UNICORN_WEBHOOK_HOST": self.cluster.host_address,
            "UNICORN_WEBHOOK_PORT": str(port),
            "UNICORN_WEBHOOK_URL": f"https://{self.cluster.host_address}:{port}",
            **self.settings,
        }
        self.cluster.spawn(server.name, [sys.executable, "-m", "unicorn_operator", "run"], environment)
        self.operators.append(server)
        if wait:
            self.wait(server)
        return server

    def stop(self, server: Server, number: Signals = SIGTERM) -> None:
        self.cluster.stop(server.name, number)

    def restart(self, server: Server, number: Signals = SIGTERM) -> None:
        self.cluster.restart(server.name, number)
        self.wait(server)

    def revive(self) -> None:
        """Start again what has ended, as a Deployment would: an operator ends itself when the API server is away for long."""
        for server in [*self.gateways, *self.operators, *self.user_gateways]:
            if not self.cluster.pids(server.name):
                self.cluster.start(server.name)
                self.wait(server)

    def close(self) -> None:
        """End its processes; the database stays."""
        for server in [*self.user_gateways, *self.operators, *self.gateways]:
            self.cluster.stop(server.name)

    def remove(self) -> None:
        """The same, its webhooks and files, and what its executors still run on this machine. Its resources and database stay."""
        self.close()
        if self.webhook:  # nobody would answer
            name = configuration_name(self.lease_namespace, self.namespaces)
            kinds = "validatingwebhookconfiguration,mutatingwebhookconfiguration"
            self.cluster.run("delete", kinds, name, "--ignore-not-found")
        if self.user_gateways:
            identities.remove(self.cluster, self.lease_namespace)
        local_nodes.clear(self.cluster.name, self.name)
        shutil.rmtree(self.directory, ignore_errors=True)

    def wait(self, server: Server) -> None:
        """Until it is ready. Raises ClusterError with the end of its log."""
        host = server.host or self.cluster.host_address
        address = f"127.0.0.1:{server.health_port}" if server.health_port else f"{host}:{server.port}"
        deadline = time.monotonic() + READY_SECONDS
        said, unseen = "", 0
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"http://{address}/readyz", timeout=2):
                    return
            except urllib.error.HTTPError as error:
                said = error.read(2000).decode(errors="replace")
            except OSError as error:
                said = str(error)
            # A process that has just been started is not recognised for a moment: the kernel fills in its environment late.
            unseen = 0 if self.cluster.pids(server.name) else unseen + 1
            if unseen > 10:
                break
            time.sleep(0.05)
        log = self.log_of(server)
        raise ClusterError(f"{server.name} is not ready: {said}\n{log[-2000:]}")

    def log_of(self, server: Server) -> str:
        return (self.cluster.directory / "logs" / f"{server.name}.log").read_text(errors="replace")

    def _common(self) -> dict[str, str]:
        return {
            "UNICORN_DATABASE_URL": self.dsn,
            "UNICORN_WATCH_NAMESPACES": ",".join(self.namespaces),
            "PATH": os.environ.get("PATH", ""),
            "PYTHONUNBUFFERED": "1",
        }


def install_crds(cluster: Cluster) -> None:
    """Apply crds/ and wait until the API server serves them. Raises ToolError."""
    cluster.run("apply", "--server-side", "--force-conflicts", "-f", str(ROOT / "crds"))
    cluster.run("wait", "--for=condition=Established", "--timeout=30s", "-f", str(ROOT / "crds"))
