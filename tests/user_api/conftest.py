"""A user API on a migrated database."""

import os
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from records_lab import Lab, bind
from unicorn_devcluster.cluster import Cluster
from unicorn_devcluster.stack import Stack
from unicorn_store import Store, connect
from user_parts import ROLES, Running, Served, account, served_by, user_api_on

Start = Callable[..., Any]
CRDS = Path(__file__).parents[2] / "crds"


@pytest.fixture
async def store(migrated: str) -> AsyncIterator[Store]:
    store = await connect(migrated, application_name="unicorn-test", max_size=5)
    yield store
    await store.close()


@pytest.fixture
async def start(migrated: str, tmp_path: Path) -> AsyncIterator[Start]:
    """`await start(setting=…)`: a process's worth of server. Closed at the end of the test."""
    async with AsyncExitStack() as stack:

        async def begin(**settings: Any) -> Running:
            return await stack.enter_async_context(user_api_on(migrated, tmp_path, **settings))

        yield begin


@pytest.fixture
async def api(start: Start) -> Running:
    return await start()


@pytest.fixture(scope="session")
def user_stack(stacks: Callable[..., Stack]) -> Stack:
    """Operator with webhooks, executor gateway and user API, which has the rights that manifests/ give it and no others.

    Its two namespaces are `user_stack.namespaces`; in the first stand the demo's Connectors.
    """
    name = f"users-{os.getpid()}"
    stack = stacks(name, f"{name}-b", webhook=True)
    stack.add_user_gateway()
    return stack


@pytest.fixture
async def served(user_stack: Stack) -> AsyncIterator[Served]:
    """Ways into `user_stack`: accounts, users that are logged in, its database, kubectl."""
    user_stack.revive()
    async with served_by(user_stack) as opened:
        yield opened


@pytest.fixture(scope="module")
def roles(cluster: Cluster) -> Cluster:
    """A cluster with our kinds and roles."""
    cluster.run("apply", "--server-side", "-f", str(CRDS))
    cluster.run("wait", "--for=condition=Established", "--timeout=30s", "-f", str(CRDS))
    cluster.run("apply", "--server-side", "-f", str(ROLES))
    return cluster


@pytest.fixture
async def lab(roles: Cluster, namespace: str, migrated: str, store: Store, tmp_path: Path) -> AsyncIterator[Lab]:
    async with user_api_on(migrated, tmp_path, kubeconfig=str(roles.kubeconfig)) as api:
        name = f"user-{secrets.token_hex(4)}"
        made = await account(store, name, namespace=namespace)
        bind(roles, namespace, "unicorn-user", made.kubernetes_user)
        yield Lab(api, store, roles, namespace, await api.logged_in(name))
