"""Real parts for every room's tests: a PostgreSQL and a Kubernetes, one of each for a session, cleaned up after it."""

import os
import shutil
import signal
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import e2e_kit
import pytest
import yaml
from e2e_kit import Kit
from unicorn_devcluster import cluster as clusters
from unicorn_devcluster import embedded, images, leftovers, paths, tools
from unicorn_devcluster.cluster import Cluster
from unicorn_devcluster.demo import installation
from unicorn_devcluster.postgres import Postgres
from unicorn_devcluster.stack import Stack
from unicorn_store import migrate

DATABASE_FIXTURES = {"postgres", "database"}
CLUSTER_FIXTURES = {"cluster", "namespace", "stack", "make_stack", "kit"}
MakeStack = Callable[..., Stack]


def pytest_configure() -> None:
    """Tests stop, kill and fill what they use: it is theirs, whatever the shell they are started in speaks of."""
    for name in [name for name in os.environ if name.startswith("UNICORN_") and name != "UNICORN_TEST_CLUSTER"]:
        del os.environ[name]
    os.environ[clusters.CHOICE] = "embedded"
    paths.open_umask()
    # Who is asked to end ends as by ^C, also as a shell's background job: what is running is taken along.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test is marked by what it asks for.

    First come those that look at what a cluster in the machine's own network leaves: the session's takes that place.
    """
    items.sort(key=lambda item: item.path.name != "test_down.py")
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        for marker, named in (("database", DATABASE_FIXTURES), ("cluster", CLUSTER_FIXTURES)):
            if fixtures & named:
                item.add_marker(marker)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build and install what takes minutes the first time, before any test's clock runs."""
    markers = {marker.name for item in session.items for marker in item.iter_markers()}
    if session.config.option.collectonly or not markers & {"cluster", "pods"}:
        return
    capture = session.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled() if capture else nullcontext():
        pods = tools.can_run_pods()
        embedded.install(pods=pods, log=print)
        if pods and "pods" in markers:
            images.build(log=print)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Where no pods can run, or programs cannot be installed, their tests are skipped; but not in CI: there that is a failure."""
    if os.environ.get("CI"):
        return
    if item.get_closest_marker("pods") and not tools.can_run_pods():
        pytest.skip("pods need root on Debian")
    if item.get_closest_marker("tools") and not (tools.can_install() or shutil.which("docker-registry")):
        pytest.skip("docker-registry is not installed, and only root on Debian is served by itself")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI all that is needed is there: a test that is skipped has failed."""
    reporter = session.config.pluginmanager.getplugin("terminalreporter")
    if os.environ.get("CI") and reporter and reporter.stats.get("skipped") and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A running server with settings for tests. A test that kills or stops it starts it again before it ends."""
    leftovers.remove()
    server = Postgres.start(paths.shared() / "postgres" / f"test-{os.getpid()}", fast=True)
    try:
        yield server
    finally:
        server.remove()


@pytest.fixture
def database(postgres: Postgres) -> Iterator[str]:
    """The DSN of an empty database of the test's own."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    yield postgres.create_database(name)
    postgres.drop_database(name)


@pytest.fixture(scope="session")
def schema(postgres: Postgres) -> str:
    """The name of a database with the newest schema and nothing in it: copying it takes a tenth of the time of migrating."""
    migrate(postgres.create_database("schema"))
    return "schema"


@pytest.fixture
def migrated(postgres: Postgres, schema: str) -> Iterator[str]:
    """The DSN of a database of the test's own with the newest schema."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    yield postgres.create_database(name, template=schema)
    postgres.drop_database(name)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A running Kubernetes, with pods where this machine can; UNICORN_TEST_CLUSTER names one to use, and to leave running."""
    if name := os.environ.get("UNICORN_TEST_CLUSTER"):
        yield clusters.up(name)
        return
    leftovers.remove()
    name = f"test-{os.getpid()}"
    try:
        yield clusters.up(name)
    finally:
        clusters.down(name)


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """The name of a namespace of the test's own; its deletion is begun afterwards, and not waited for."""
    name = f"test-{uuid.uuid4().hex[:10]}"
    cluster.run("create", "namespace", name)
    cluster.run("wait", "--for=create", "serviceaccount/default", "-n", name, "--timeout=30s")  # no pod is taken before
    yield name
    cluster.run("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="session")
def stacks(cluster: Cluster, postgres: Postgres) -> Iterator[MakeStack]:
    with _stacks(cluster, postgres) as make:
        yield make


@pytest.fixture(scope="session")
def stack(stacks: MakeStack) -> Stack:
    """Operator and gateway for the session, webhooks off. It watches two namespaces of its own (`stack.namespaces`);
    in the first stand the demo's Connectors: `local` (24 nodes), and `kubernetes` where there are pods, else `away`.

    A test that stops a part of it starts it again. Tests that need other settings, or break more: `make_stack`.
    """
    name = f"e2e-{os.getpid()}"
    return stacks(name, f"{name}-b")


@pytest.fixture
def make_stack(cluster: Cluster, postgres: Postgres) -> Iterator[MakeStack]:
    """`make_stack("some-namespace", …, operators=2, gateways=2, webhook=True, settings={"UNICORN_…": …})`: a stack of the
    test's own with the same Connectors in its first namespace; the namespaces are made, and everything removed after the test.
    """
    with _stacks(cluster, postgres) as make:
        yield make


@pytest.fixture
async def kit(stack: Stack) -> AsyncIterator[Kit]:
    """Ways into the session's stack; the experiments that the test applied through it are deleted after it.

    Other tests restart the cluster's API server, and an operator that cannot renew its Lease ends: it is started again.
    """
    stack.revive()
    async with e2e_kit.opened(stack) as opened:
        yield opened


@contextmanager
def _stacks(cluster: Cluster, postgres: Postgres) -> Iterator[MakeStack]:
    with ExitStack() as undo:

        def make(*namespaces: str, operators: int = 1, gateways: int = 1, **options: Any) -> Stack:
            database = f"stack_{uuid.uuid4().hex[:12]}"
            dsn = postgres.create_database(database)
            undo.callback(postgres.drop_database, database)
            system = f"{namespaces[0]}-system"  # the Lease must outlive what the operator is to delete
            references = images.push(cluster, installation.IMAGES) if cluster.pods else {}
            options["settings"] = {**installation.settings(cluster, references), **options.get("settings", {})}
            made = Stack(cluster, dsn, namespaces[0], namespaces, lease_namespace=system, **options)
            for namespace in (system, *namespaces):
                cluster.run("create", "namespace", namespace)
            undo.callback(_delete_namespaces, cluster, (system,))
            undo.callback(made.remove)
            undo.callback(_delete_namespaces, cluster, namespaces)  # first, while an operator is there
            made.start(operators, gateways)
            objects = yaml.safe_dump_all(installation.infrastructure(references.get("demo-base")))
            cluster.run("apply", "--server-side", "-n", namespaces[0], "-f", "-", input=objects)
            cluster.run("wait", "--for=condition=InventorySynced", "--timeout=60s", "connectors", "--all", "-n", namespaces[0])
            return made

        yield make


def _delete_namespaces(cluster: Cluster, namespaces: tuple[str, ...]) -> None:
    """Only where the cluster stays."""
    if os.environ.get("UNICORN_TEST_CLUSTER"):
        cluster.run("delete", "namespace", *namespaces, "--ignore-not-found", "--timeout=60s")
