"""All that an experiment needs: cluster, PostgreSQL, operator, gateway, Connectors. What runs is found again."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psycopg
import yaml
from unicorn_core.naming import API_VERSION

from .. import building, images, wheels
from .. import cluster as clusters
from ..cluster import Cluster, ClusterError
from ..stack import Server, Stack
from ..tools import Log
from . import inside, people

DEFAULT = "demo"  # the cluster's name
NAMESPACE = "default"
_STACK = "demo"
_DATABASE = "unicorn"
_DSN = "UNICORN_DATABASE_URL"
_DEMO_DSN = "UNICORN_DEMO_DATABASE_URL"  # the same, by which a later demo knows it again
IMAGES = ("agent", "demo-base", "builder")
_NODES = 24
_PACKAGES = ("netunicorn-base==0.4.1", "netunicorn-client==0.4.0", "netunicorn-executor==0.4.2", "netunicorn-library==0.4.15")


@dataclass(frozen=True)
class Installation:
    """What `up` brought up. `dsn`: as this machine sees it. `logs`: where, or by which command."""

    cluster: Cluster
    dsn: str
    logs: str

    @property
    def local(self) -> bool:
        """Whether there is the connector `local`: where the operator runs on this machine."""
        return self.cluster.kind == "embedded"

    @property
    def builds(self) -> bool:
        """Whether environments can be built: where the cluster pulls from a registry that we push to."""
        return self.cluster.pods and self.cluster.registry is not None


def up(name: str = DEFAULT, log: Log = print) -> Installation:
    """Bring up what is not there yet, and wait until it serves. Raises ClusterError, ToolError, PostgresError."""
    cluster = clusters.up(name, log=log)
    dsn, gateway, endpoint = _beside(cluster, log) if cluster.kind == "embedded" else inside.up(cluster, log)
    made = Installation(cluster, dsn, str(cluster.directory / "logs") if cluster.kind == "embedded" else inside.LOGS)
    for variable in (_DSN, _DEMO_DSN):
        cluster.record_export(variable, dsn)
    cluster.record_export("UNICORN_GATEWAY", gateway)
    people.settle(cluster, dsn, endpoint)
    image = images.recorded(cluster).get("demo-base") if cluster.pods else None
    objects = yaml.safe_dump_all(infrastructure(image, made.local, netunicorn_python(log) if made.local else ""))
    cluster.run("apply", "--server-side", "--force-conflicts", "-n", NAMESPACE, "-f", "-", input=objects)
    cluster.run("wait", "--for=condition=InventorySynced", "--timeout=60s", "-n", NAMESPACE, "connectors", "--all")
    return made


def down(name: str = DEFAULT) -> bool:
    """End and remove everything, the database of UNICORN_DATABASE_URL aside. Whether there was something."""
    cluster = clusters.find(name)
    if cluster and cluster.kind != "embedded":
        return inside.down(cluster)
    clusters.down(name)
    return cluster is not None


def infrastructure(image: str | None, local: bool = True, python: str = "") -> list[dict[str, Any]]:
    """The demo's Connectors, shared with all namespaces. Nodes have the property `site`: home or away.

    `local` is at home, with this Python, and one of its nodes has an access tag; where it cannot be, pods are. Away are pods in
    `image`, which the Environment `demo` names too; without pods, two more local nodes.
    """
    at_home = {"properties": {"site": "home"}}
    if local:
        config = {"nodes": _NODES, **({"python": python} if python else {}), **at_home}
        # The node before its connector, so that discovery does not make it first.
        objects = [people.tagged_node("local"), _connector("local", {"type": "local", "config": config})]
    else:
        objects = [_connector("home", {"type": "kubernetes", "config": at_home})]
    if image is None:
        nodes = [f"away-{index}" for index in range(2)]
        away = _connector("away", {"type": "local", "config": {"nodes": nodes, "properties": {"site": "away"}}})
        return [*objects, away]
    pods = _connector("kubernetes", {"type": "kubernetes", "config": {"properties": {"site": "away"}}})
    return [*objects, pods, _object("Environment", "demo", {"image": {"ref": image}})]


def settings(cluster: Cluster, references: Mapping[str, str]) -> dict[str, str]:
    """The operator's, for these images."""
    if not references:
        return {}
    images = {"UNICORN_AGENT_IMAGE": references["agent"], "UNICORN_DEFAULT_IMAGE": references["demo-base"]}
    return {**images, **building.settings(cluster, references)}


def user_settings(references: Mapping[str, str]) -> dict[str, str]:
    """The user API's: images for netunicorn's client are built on the demo's, whatever Python the client has."""
    return {"UNICORN_MEDIATOR_BASE_IMAGE": references["demo-base"]} if references else {}


def _connector(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return _object("Connector", name, {**spec, "sharing": {"namespaces": {"from": "All"}}})


def _object(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}


def netunicorn_python(log: Log) -> str:
    """The Python of local nodes: it has what an unmodified client's graphs need, netunicorn's own executor, and that client."""
    return str(wheels.interpreter(_PACKAGES, log))


def _beside(cluster: Cluster, log: Log) -> tuple[str, str, str]:
    """Operator and gateways as processes of this machine; returns the DSN and the gateways' URLs, of executors and of users."""
    dsn = _given_database() or _database(cluster)
    references = images.push(cluster, IMAGES, log) if cluster.pods else {}
    stack = _stack(cluster, dsn, references, log)
    return dsn, stack.gateway_url, stack.user_url


def _given_database() -> str:
    """The person's own. What an earlier demo has told their shell about is none: its server may be gone."""
    dsn = os.environ.get(_DSN, "")
    return "" if dsn == os.environ.get(_DEMO_DSN) else dsn


def _database(cluster: Cluster) -> str:
    """Of the cluster's own PostgreSQL; kept until the cluster goes down."""
    server = cluster.postgres()
    try:
        return server.create_database(_DATABASE)
    except psycopg.errors.DuplicateDatabase:
        return server.database_dsn(_DATABASE)


def _stack(cluster: Cluster, dsn: str, references: Mapping[str, str], log: Log) -> Stack:
    """The running one if it is of this code and these settings; else a new one."""
    stack = Stack(cluster, dsn, _STACK, lease_namespace=NAMESPACE, webhook=True, settings=settings(cluster, references))
    record = stack.directory / "stack.json"
    made_of = [dsn, dict(references), wheels.content(wheels.SOURCES), wheels.content(["devcluster"])]
    before = _read(record)
    if before.get("madeOf") == made_of and _resume(stack, before):
        return stack
    log("Starting operator and gateways: usually takes 5 s.")
    record.unlink(missing_ok=True)
    for component in cluster.spawned(f"{_STACK}-"):  # also of a start that was interrupted
        cluster.stop(component)
    stack.start()
    stack.add_user_gateway(user_settings(references))
    servers = {kind: [asdict(each) for each in listed] for kind, listed in _servers(stack).items()}
    record.touch(mode=0o600)  # the DSN has a password
    record.write_text(json.dumps({"madeOf": made_of, **servers}))
    return stack


def _resume(stack: Stack, record: Mapping[str, Any]) -> bool:
    """Take the recorded servers up again; whether all are ready."""
    for kind, listed in _servers(stack).items():
        listed.extend(Server(**entry) for entry in record[kind])
    try:
        for listed in _servers(stack).values():
            for server in listed:
                stack.wait(server)
    except ClusterError:
        for listed in _servers(stack).values():
            listed.clear()
        return False
    return True


def _servers(stack: Stack) -> dict[str, list[Server]]:
    return {"operators": stack.operators, "gateways": stack.gateways, "userGateways": stack.user_gateways}


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return content
