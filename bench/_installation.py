"""A cluster, a database, an operator and a gateway of the bench's own, and how to run experiments on them."""

import asyncio
import os
import statistics
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from unicorn_core.naming import API_VERSION
from unicorn_devcluster import cluster as clusters
from unicorn_devcluster import images, leftovers, paths
from unicorn_devcluster.cluster import Cluster
from unicorn_devcluster.demo import installation as demo
from unicorn_devcluster.stack import Stack
from unicorn_kube import KubeClient, KubeConfig
from unicorn_kube.resource import CONNECTORS, EXPERIMENTS, TARGET_NODES

FINAL = ("Succeeded", "Failed", "Cancelled")
NOOP = {"stages": [{"name": "one", "tasks": [{"name": "nothing", "script": "result = None"}]}]}
PATIENCE = 300.0


@dataclass
class Installation:
    cluster: Cluster
    stack: Stack
    kube: KubeClient

    async def connector(self, name: str, type: str, config: dict[str, Any], nodes: int = 1) -> None:
        """Apply it and wait until its nodes are ready."""
        body = {"apiVersion": API_VERSION, "kind": "Connector", "metadata": {"name": name, "namespace": "default"}}
        await self.kube.apply(CONNECTORS, {**body, "spec": {"type": type, "config": config}}, "bench")

        async def ready() -> bool:
            listing = await self.kube.list(TARGET_NODES, "default")
            mine = [node for node in listing.items if node["spec"]["connectorRef"]["name"] == name]
            return sum(1 for node in mine if _is_ready(node)) >= nodes

        await until(ready, f"the nodes of {name} are ready")

    async def apply(self, name: str, connector: str, count: int, **spec: Any) -> None:
        nodes = {"connectorRef": {"name": connector}, "count": count}
        deployment = {"name": "d", "nodes": nodes, "pipeline": NOOP}
        body = {"apiVersion": API_VERSION, "kind": "Experiment", "metadata": {"name": name, "namespace": "default"}}
        await self.kube.apply(EXPERIMENTS, {**body, "spec": {"deployments": [deployment], **spec}}, "bench")

    async def run(self, names: Sequence[str], connector: str, count: int, at_once: int = 16) -> float:
        """Apply experiments of `count` no-op executors; seconds from the first apply until all have succeeded."""
        listing = await self.kube.list(EXPERIMENTS, "default")
        gate = asyncio.Semaphore(at_once)

        async def one(name: str) -> None:
            async with gate:
                await self.apply(name, connector, count)

        began = time.perf_counter()
        ended = asyncio.create_task(self._all_succeed(set(names), listing.resource_version))
        await asyncio.gather(*(one(name) for name in names))
        await asyncio.wait_for(ended, PATIENCE)
        return time.perf_counter() - began

    async def _all_succeed(self, names: set[str], version: str) -> None:
        left = set(names)
        while left:
            async for type, item in self.kube.watch(EXPERIMENTS, "default", resource_version=version):
                if type == "BOOKMARK" or item["metadata"]["name"] not in left:
                    continue
                phase = (item.get("status") or {}).get("phase")
                if phase in FINAL and phase != "Succeeded":
                    raise SystemExit(f"{item['metadata']['name']} is {phase}: {item['status'].get('message')}")
                if phase == "Succeeded":
                    left.discard(item["metadata"]["name"])
                if not left:
                    return

    async def delete(self, names: Iterable[str]) -> None:
        for name in names:
            await self.kube.delete(EXPERIMENTS, "default", name)

        async def gone() -> bool:
            listing = await self.kube.list(EXPERIMENTS, "default")
            return not {item["metadata"]["name"] for item in listing.items} & set(names)

        await until(gone, "the experiments are gone")

    def metrics(self) -> dict[str, float]:
        """The operator's, as name{labels} -> value."""
        url = f"http://127.0.0.1:{self.stack.operators[0].health_port}/metrics"
        with urllib.request.urlopen(url, timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line and line[0] != "#"}


@asynccontextmanager
async def installation(*, pods: bool, settings: dict[str, str] | None = None) -> AsyncIterator[Installation]:
    """Up for the bench, down after it."""
    name = f"bench-{os.getpid()}"
    os.environ[clusters.CHOICE] = "embedded"  # operator and gateway run beside it
    paths.open_umask()
    leftovers.remove()
    cluster = clusters.up(name, pods=pods)
    try:
        if pods:
            pushed = images.push(cluster, demo.IMAGES)
            settings = {**demo.settings(cluster, pushed), **(settings or {})}
        dsn = cluster.postgres().create_database("bench")
        stack = Stack(cluster, dsn, "bench", settings=settings or {}).start()
        async with KubeClient(KubeConfig.load(cluster.kubeconfig)) as kube:
            yield Installation(cluster, stack, kube)
    finally:
        clusters.down(name)


async def until(check: Callable[[], Awaitable[bool]], what: str, seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not await check():
        if time.monotonic() > deadline:
            raise SystemExit(f"not within {seconds} s: {what}")
        await asyncio.sleep(0.05)


def table(title: str, rows: Iterable[tuple[str, Sequence[float], str, str]]) -> None:
    """Rows of what, values, unit, what is to be reached; prints median, minimum and maximum."""
    print(f"\n{title}\n{'what':58} {'median':>9} {'min':>9} {'max':>9}  to reach")
    for what, values, unit, target in rows:
        shown = (f"{value:.2f}" for value in (statistics.median(values), min(values), max(values)))
        print(f"{what + ' [' + unit + ']':58} " + " ".join(f"{value:>9}" for value in shown) + f"  {target}")


def _is_ready(item: dict[str, Any]) -> bool:
    conditions = (item.get("status") or {}).get("conditions") or ()
    return any(entry["type"] == "Ready" and entry["status"] == "True" for entry in conditions)
