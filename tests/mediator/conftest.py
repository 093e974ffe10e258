"""The mediator on a whole stack with admission: users with homes, and nodes whose Python has netunicorn's packages."""

import asyncio
import json
import os
import uuid
from collections.abc import AsyncIterator, Iterator

import e2e_kit
import netunicorn_venv
import pytest
import yaml
from e2e_kit import Kit
from mediator_lab import NODES, TAGGED, Lab
from notebooks import Notebook
from unicorn_core.naming import API_VERSION
from unicorn_devcluster.cluster import Cluster
from unicorn_devcluster.postgres import Postgres
from unicorn_devcluster.stack import ROOT, Stack
from unicorn_store import connect
from user_parts import account


@pytest.fixture(scope="session")
def lab(cluster: Cluster, postgres: Postgres) -> Iterator[Lab]:
    """A stack of its own: it needs no images, but admission."""
    name, database = f"lab-{os.getpid()}", f"lab_{uuid.uuid4().hex[:12]}"
    system, namespaces = f"{name}-system", (name, f"{name}-ada", f"{name}-bob")
    stack = Stack(cluster, postgres.create_database(database), name, namespaces, lease_namespace=system, webhook=True)
    for namespace in (system, *namespaces):
        cluster.run("create", "namespace", namespace)
    try:
        stack.start()
        stack.add_user_gateway({"UNICORN_USER_REQUESTS_PER_SECOND": "1000", "UNICORN_USER_REQUEST_BURST": "5000"})
        lab = Lab(stack, *namespaces)
        _furnish(lab)
        yield lab
    finally:
        stack.revive()
        cluster.run("delete", "namespace", *namespaces, "--timeout=90s")  # first, while an operator has its Lease
        cluster.run("delete", "namespace", system, "--wait=false")
        stack.remove()
        postgres.drop_database(database)


def _furnish(lab: Lab) -> None:
    """Nodes, rights and accounts."""
    lab.run("apply", "--server-side", "--force-conflicts", "-f", str(ROOT / "manifests" / "base" / "roles.yaml"))
    config = {
        "nodes": [*NODES, TAGGED],
        "python": str(netunicorn_venv.python()),
        "properties": {"site": "home", "location": "lab", "cores": 4},
    }
    connector = {
        "apiVersion": API_VERSION,
        "kind": "Connector",
        "metadata": {"name": "campus"},
        "spec": {"type": "local", "config": config, "sharing": {"namespaces": {"from": "All"}}},
    }
    lab.run("apply", "-n", lab.infra, "-f", "-", input=yaml.safe_dump(connector))
    lab.run("wait", "--for=condition=InventorySynced", "--timeout=60s", "connector/campus", "-n", lab.infra)
    lab.run("wait", "--for=condition=Ready", "--timeout=60s", "targetnodes", "--all", "-n", lab.infra)
    nodes = json.loads(lab.run("get", "targetnodes", "-n", lab.infra, "-o", "json"))["items"]
    (tagged,) = (one["metadata"]["name"] for one in nodes if one["spec"]["nodeName"] == TAGGED)
    lab.run("patch", "targetnode", tagged, "-n", lab.infra, "--type=merge", "-p", '{"spec": {"accessTags": ["team"]}}')
    for user, home in (("ada", lab.ada), ("bob", lab.bob), ("root", lab.ada), ("tess", lab.ada), ("other", lab.ada)):
        lab.run("create", "rolebinding", f"{user}-runs", "-n", home, "--clusterrole=unicorn-user", f"--user=netunicorn:{user}")
    asyncio.run(_accounts(lab.stack.dsn, lab.ada, lab.bob))


async def _accounts(dsn: str, ada: str, bob: str) -> None:
    store = await connect(dsn, application_name="unicorn-test")
    try:
        await account(store, "ada", namespace=ada)
        await account(store, "bob", namespace=bob)
        await account(store, "root", namespace=ada, sudo=True)
        await account(store, "tess", namespace=ada, access_tags=["team"])
        await account(store, "other", namespace=ada, access_tags=["nobody"])
        await account(store, "stray", namespace=ada)  # nobody gave it any right
    finally:
        await store.close()


@pytest.fixture
async def kit(lab: Lab) -> AsyncIterator[Kit]:
    lab.stack.revive()
    async with e2e_kit.opened(lab.stack) as opened:
        yield opened


@pytest.fixture
async def book(lab: Lab) -> AsyncIterator[Notebook]:
    """With clients ada, bob, root and tess. What they prepared is ended and deleted afterwards."""
    notebook = await Notebook.open(netunicorn_venv.python())
    try:
        await notebook.log_in(lab.url, ada="ada", bob="bob", root="root", tess="tess", other="other", stray="stray")
        yield notebook
        await notebook(_TIDY)
    finally:
        await notebook.close()


_TIDY = """
for client in (ada, bob):
    for name, information in client.get_experiments().items():
        if information.status is not ExperimentStatus.FINISHED:
            try:
                client.cancel_experiment(name)
            except RemoteClientException:
                pass
            finish(client, name)
        client.delete_experiment(name)
"""
