"""manifests/ applied to a cluster of its own: what it installs watches all namespaces, also those of other tests."""

import json
import os
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import e2e_kit
import pytest
import yaml
from e2e_kit import Kit
from unicorn_core.naming import API_VERSION
from unicorn_devcluster import cluster as clusters
from unicorn_devcluster import leftovers, manifests, tools
from unicorn_devcluster.cluster import Cluster
from unicorn_devcluster.stack import Stack

SITES = {"home": "home-sweet-home", "away": "far-away"}  # site -> its Connector


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "manifests" in item.path.parts:
            item.add_marker("cluster")
            item.add_marker("pods")
            item.add_marker(pytest.mark.timeout(600))  # the first fixture may build the images


@dataclass(frozen=True)
class Installation:
    cluster: Cluster

    def kubectl(self, *arguments: str, input: str | None = None) -> str:
        """Raises ToolError with what kubectl said."""
        return self.cluster.run("--namespace", manifests.NAMESPACE, *arguments, input=input)

    def get(self, *arguments: str) -> Any:
        return json.loads(self.kubectl("get", *arguments, "--output", "json"))

    def pods(self, component: str) -> list[dict[str, Any]]:
        """Those that run, with everything ready."""
        found = self.get("pods", f"--selector=app.kubernetes.io/component={component}")["items"]
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"] and _is_ready(pod)]

    def execute(self, pod: str, script: str) -> str:
        """Standard output and error of a shell in the pod's first container; its failure is not ours."""
        return self.kubectl("exec", pod, "--", "sh", "-c", f"({script}) 2>&1 || true").strip()

    def leader(self) -> str:
        """The name of the pod whose operator leads."""
        holder: str = self.get("lease", "unicorn-operator")["spec"].get("holderIdentity") or ""
        return holder.split("_")[0]

    def logs(self, pod: str) -> str:
        return self.kubectl("logs", pod, "--all-containers")

    @property
    def dsn(self) -> str:
        """Of the owner of the database, by the pod's address, which this machine reaches."""
        (pod,) = self.pods("postgres")
        return f"postgresql://unicorn:embedded@{pod['status']['podIP']}:5432/unicorn"


def _is_ready(pod: dict[str, Any]) -> bool:
    return any(entry["type"] == "Ready" and entry["status"] == "True" for entry in pod["status"].get("conditions", ()))


@pytest.fixture(scope="session")
def installation() -> Iterator[Installation]:
    """Two of each server, PostgreSQL, and two Connectors of type kubernetes in namespace default, shared with all."""
    stays = os.environ.get("UNICORN_TEST_CLUSTER")
    name = f"{stays}-manifests" if stays else f"test-{os.getpid()}-manifests"
    leftovers.remove()
    try:
        cluster = clusters.up(name, pods=True)
        manifests.apply(cluster)
        cluster.run("apply", "--server-side", "--filename", "-", input=yaml.safe_dump_all(map(_connector, SITES)))
        cluster.run("wait", "--for=condition=InventorySynced", "--timeout=60s", "connectors", "--all", "--namespace=default")
        yield Installation(cluster)
    finally:
        if not stays:
            clusters.down(name)


@pytest.fixture
def namespace(installation: Installation, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the test's own, in which only confined pods may run."""
    name = "test-" + request.node.name.split("[")[0].removeprefix("test_").replace("_", "-")[:40].strip("-")
    installation.cluster.run("delete", "namespace", name, "--ignore-not-found", "--timeout=60s")
    installation.cluster.run("create", "namespace", name)
    installation.cluster.run("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
    yield name
    installation.cluster.run("delete", "namespace", name, "--wait=false")


@pytest.fixture
async def kit(installation: Installation, namespace: str) -> AsyncIterator[Kit]:
    stack = Stack(installation.cluster, installation.dsn, "manifests", [namespace])
    async with e2e_kit.opened(stack) as opened:
        yield opened


@pytest.fixture
def refused(installation: Installation) -> Callable[..., str]:
    """What kubectl says when it is refused."""

    def run(*arguments: str, input: str | None = None) -> str:
        with pytest.raises(tools.ToolError) as caught:
            installation.kubectl(*arguments, input=input)
        return str(caught.value)

    return run


def _connector(site: str) -> dict[str, Any]:
    config = {"capacity": 20, "properties": {"site": site}}
    spec = {"type": "kubernetes", "config": config, "sharing": {"namespaces": {"from": "All"}}}
    metadata = {"name": SITES[site], "namespace": "default"}
    return {"apiVersion": API_VERSION, "kind": "Connector", "metadata": metadata, "spec": spec}
