"""The demo's users: accounts, homes, rights, and the variables by which a script finds them."""

import asyncio
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from unicorn_core.naming import API_VERSION
from unicorn_gateway.user_api.authentication.method import USER_PREFIX
from unicorn_gateway.user_api.authentication.passwords import hash_new
from unicorn_store import Store, connect, users
from unicorn_store.users import NewAccount

from ..cluster import Cluster

TAG = "lab-7"
TAGGED_NODE = "local-23"  # of the connector `local`
_RBAC = "rbac.authorization.k8s.io"
_BINDING = "netunicorn-demo"
_ROLES = Path(__file__).resolve().parents[3] / "manifests/base/roles.yaml"


@dataclass(frozen=True)
class Person:
    """`variables`: the names under which login and password are exported."""

    name: str
    namespace: str
    variables: tuple[str, str]
    access_tags: tuple[str, ...] = ()
    sudo: bool = False


PEOPLE = (
    Person("demo", "default", ("UNICORN_LOGIN", "UNICORN_PASSWORD")),
    Person("demo2", "netunicorn-demo2", ("UNICORN_LOGIN2", "UNICORN_PASSWORD2")),
    Person("demo-sudo", "netunicorn-demo-sudo", ("UNICORN_SUDO_LOGIN", "UNICORN_SUDO_PASSWORD"), sudo=True),
    Person("demo-tag", "netunicorn-demo-tag", ("UNICORN_TAG_LOGIN", "UNICORN_TAG_PASSWORD"), access_tags=(TAG,)),
)


def settle(cluster: Cluster, dsn: str, endpoint: str) -> None:
    """Have them all, and export how to be them. Safe to repeat: passwords stay. Raises ToolError, UnicornError."""
    cluster.run("apply", "--server-side", "--force-conflicts", "-f", str(_ROLES))
    objects = yaml.safe_dump_all([body for person in PEOPLE for body in _objects(person)])
    cluster.run("apply", "--server-side", "--force-conflicts", "-f", "-", input=objects)
    known = cluster.exports
    passwords = {person.name: known.get(person.variables[1], "") for person in PEOPLE}
    for person, password in zip(PEOPLE, asyncio.run(_accounts(dsn, passwords)), strict=True):
        cluster.record_export(person.variables[0], person.name)
        cluster.record_export(person.variables[1], password)
    cluster.record_export("UNICORN_TAG", TAG)
    cluster.record_export("UNICORN_ENDPOINT", endpoint)


def remove(cluster: Cluster) -> None:
    """Take homes and rights away again, from a cluster that stays. Raises ToolError."""
    for person in PEOPLE:
        if person.namespace == "default":
            cluster.run("delete", "rolebinding", _BINDING, "--namespace", person.namespace, "--ignore-not-found")
        else:
            cluster.run("delete", "namespace", person.namespace, "--ignore-not-found", "--timeout=120s")


def tagged_node(connector: str) -> dict[str, Any]:
    """A node of this connector that only those have who have the tag, or none at all."""
    spec = {"connectorRef": {"name": connector}, "nodeName": TAGGED_NODE, "accessTags": [TAG]}
    return {"apiVersion": API_VERSION, "kind": "TargetNode", "metadata": {"name": f"{connector}.{TAGGED_NODE}"}, "spec": spec}


async def _accounts(dsn: str, passwords: dict[str, str]) -> list[str]:
    """Each one's password: the one that is known, if there is such an account."""
    store = await connect(dsn, application_name="demo", max_size=1)
    try:
        return [await _account(store, person, passwords[person.name]) for person in PEOPLE]
    finally:
        await store.close()


async def _account(store: Store, person: Person, known: str) -> str:
    there = await users.by_name(store, person.name)
    if there is not None and known:
        return known
    password = known or secrets.token_urlsafe(12)
    hashed = hash_new(password)
    if there is not None:
        await users.set_password(store, person.name, hashed)
        return password
    new = NewAccount(
        name=person.name,
        kubernetes_user=USER_PREFIX + person.name,
        namespace=person.namespace,
        access_tags=person.access_tags,
        sudo=person.sudo,
    )
    await users.add(store, new, hashed)
    return password


def _objects(person: Person) -> list[dict[str, Any]]:
    """Their home, and the right to run experiments there."""
    binding = {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": _BINDING, "namespace": person.namespace},
        "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": "unicorn-user"},
        "subjects": [{"apiGroup": _RBAC, "kind": "User", "name": USER_PREFIX + person.name}],
    }
    home = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": person.namespace}}
    return [binding] if person.namespace == "default" else [home, binding]
