"""Operators as real processes, and as a leader within the test, against a real API server and a real PostgreSQL."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
from unicorn_core.errors import NotFound
from unicorn_core.naming import API_VERSION
from unicorn_devcluster.cluster import Cluster
from unicorn_kube import KubeClient, KubeConfig, Resource
from unicorn_kube.resource import CONNECTORS, SECRETS, TARGET_NODES
from unicorn_operator import logs
from unicorn_operator.health import Health
from unicorn_operator.leading import Leader
from unicorn_operator.metrics import Metrics
from unicorn_operator.reconcilers import credentials, target_nodes
from unicorn_operator.settings import Settings
from unicorn_store import Store, connect

CRDS = Path(__file__).parents[2] / "crds"
PATIENCE = 90.0  # seconds; generous: a busy machine is no failure


@pytest.fixture(scope="session")
def api(cluster: Cluster) -> Cluster:
    """A cluster with our custom resources."""
    cluster.run("apply", "--server-side", "-f", str(CRDS))
    cluster.run("wait", "--for=condition=Established", "--timeout=30s", "-f", str(CRDS))
    return cluster


@pytest.fixture
async def kube(api: Cluster) -> AsyncIterator[KubeClient]:
    async with KubeClient(KubeConfig.load(api.kubeconfig)) as client:
        yield client


@pytest.fixture
async def store(migrated: str) -> AsyncIterator[Store]:
    opened = await connect(migrated, application_name="test")
    yield opened
    await opened.close()


async def eventually(check: Callable[[], Awaitable[Any]], what: str, seconds: float = PATIENCE) -> Any:
    """The first true answer of `check`; AssertionErrors of it count as not yet."""
    deadline, last = time.monotonic() + seconds, "it never held"
    while time.monotonic() < deadline:
        try:
            if answer := await check():
                return answer
        except AssertionError as error:
            last = str(error)
        await asyncio.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {what} ({last})")


def condition(item: Mapping[str, Any], type: str) -> tuple[str, str]:
    """Status and reason; empty when there is none."""
    for entry in (item.get("status") or {}).get("conditions") or ():
        if entry["type"] == type:
            return entry["status"], entry["reason"]
    return "", ""


@dataclass
class Lab:
    """A namespace with what a test puts into it."""

    kube: KubeClient
    namespace: str

    async def connector(self, name: str = "campus", **spec: Any) -> dict[str, Any]:
        body = {"type": "fake", "config": {}, "discoveryInterval": "1s", **spec}
        return await self.apply("Connector", CONNECTORS, name, body)

    async def apply(self, kind: str, resource: Resource, name: str, spec: Mapping[str, Any], **metadata: Any) -> dict[str, Any]:
        named = {"name": name, "namespace": self.namespace, **metadata}
        body = {"apiVersion": API_VERSION, "kind": kind, "metadata": named, "spec": dict(spec)}
        return await self.kube.apply(resource, body, "test")

    async def get(self, resource: Resource, name: str) -> dict[str, Any]:
        return await self.kube.get(resource, self.namespace, name)

    async def names(self, resource: Resource) -> list[str]:
        return sorted(item["metadata"]["name"] for item in (await self.kube.list(resource, self.namespace)).items)

    async def reaches(
        self, resource: Resource, name: str, type: str, *expected: str, seconds: float = PATIENCE
    ) -> dict[str, Any]:
        """The object once its condition has this status (and reason)."""

        async def check() -> Any:
            try:
                item = await self.get(resource, name)
            except NotFound as error:
                raise AssertionError(str(error)) from error
            found = condition(item, type)
            assert found[: len(expected)] == expected, f"{type} is {found}"
            return item

        found: dict[str, Any] = await eventually(check, f"{name} reaches {type}={expected}", seconds)
        return found


@pytest.fixture
async def lab(kube: KubeClient, namespace: str) -> AsyncIterator[Lab]:
    yield Lab(kube, namespace)
    # No operator is left that would take our finalizers off, and the namespace is to go.
    for resource in (CONNECTORS, TARGET_NODES, SECRETS):
        for item in (await kube.list(resource, namespace)).items:
            with contextlib.suppress(NotFound):
                await kube.patch_merge(resource, namespace, item["metadata"]["name"], {"metadata": {"finalizers": None}})


Lead = Callable[..., "contextlib.AbstractAsyncContextManager[Leader]"]


@pytest.fixture
def lead(api: Cluster, kube: KubeClient, namespace: str, store: Store, monkeypatch: pytest.MonkeyPatch) -> Lead:
    """`async with lead(**settings)`: a leader in this process, for one namespace, so that the fake's worlds can be reached."""

    monkeypatch.setattr(target_nodes, "WRITE_EVERY", timedelta(milliseconds=500))
    monkeypatch.setattr(credentials, "LOOK_AGAIN", timedelta(milliseconds=500))

    @contextlib.asynccontextmanager
    async def leading(**more: Any) -> AsyncIterator[Leader]:
        values = {
            "gateway_endpoint": "http://127.0.0.1:9",
            "watch_namespaces": (namespace,),
            "namespace": namespace,
            "workers": 4,
        }
        settings = Settings(database_url=store.dsn, webhook=False, **{**values, **more})
        leader = Leader(settings, kube.config, kube, store, Health(), Metrics(), asyncio.Event())
        task = asyncio.create_task(leader.lead(lambda: None))
        try:
            await eventually(lambda: _leads(leader, task), "the leader leads")
            yield leader
            assert not task.done(), f"the leader has ended: {task}"
        finally:
            leader.stop.set()
            async with asyncio.timeout(PATIENCE):
                await task

    return leading


async def _leads(leader: Leader, task: "asyncio.Task[None]") -> bool:
    if task.done():
        await task
    return leader.health.stage == "Leading"


@dataclass
class Process:
    """An operator of its own."""

    popen: "subprocess.Popen[bytes]"
    log: Path

    def said(self, text: str) -> bool:
        return text in self.log.read_text()

    async def says(self, text: str, seconds: float = PATIENCE) -> None:
        async def check() -> bool:
            assert self.popen.poll() is None or self.said(text), f"it has ended: {self.log.read_text()[-2000:]}"
            return self.said(text)

        await eventually(check, f"the operator says {text!r}: {self.log.read_text()[-1000:]}", seconds)

    async def ends(self, seconds: float = PATIENCE) -> int:
        """Its exit code."""

        async def check() -> bool:
            return self.popen.poll() is not None

        await eventually(check, "the operator ends", seconds)
        sys.stderr.write(self.log.read_text()[-4000:])  # shown by pytest when the test fails
        return self.popen.wait()

    def signal(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def probe(self, path: str) -> tuple[int, str]:
        port = self.log.read_text().partition('"health_port": ')[2].partition(",")[0].strip("} ")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()


@dataclass
class Processes:
    directory: Path
    environment: dict[str, str]
    started: list[Process] = field(default_factory=list)

    def start(self, *arguments: str, **environment: str) -> Process:
        log = self.directory / f"operator-{len(self.started)}.log"
        with log.open("wb") as file:
            popen = subprocess.Popen(
                [sys.executable, "-m", "unicorn_operator", *(arguments or ("run",))],
                env={**self.environment, **environment},
                stdout=file,
                stderr=file,
            )
        process = Process(popen, log)
        self.started.append(process)
        return process


@pytest.fixture
def operators(api: Cluster, namespace: str, database: str, tmp_path: Path) -> Iterator[Processes]:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "KUBECONFIG": str(api.kubeconfig),
        "UNICORN_DATABASE_URL": database,
        "UNICORN_NAMESPACE": namespace,
        "UNICORN_WATCH_NAMESPACES": namespace,
        "UNICORN_GATEWAY_ENDPOINT": "http://127.0.0.1:9",
        "UNICORN_HEALTH_PORT": "0",
        "UNICORN_WEBHOOK": "false",
        "UNICORN_WORKERS": "4",
    }
    processes = Processes(tmp_path, environment)
    yield processes
    for process in processes.started:
        if process.popen.poll() is None:
            process.popen.kill()
        process.popen.wait()


@pytest.fixture(scope="session", autouse=True)
def _logs() -> None:
    """As the operator's own, without the values of variables in tracebacks.

    Loggers are not cached: one that was used before could not be captured by a test after it.
    """
    logs.set_up("plain", "info")
    structlog.configure(cache_logger_on_first_use=False)
