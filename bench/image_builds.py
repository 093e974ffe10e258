"""Images for 10 deployments: upstream's recipe, replayed with the same buildah, against the operator with its builder `local`.

Both start from the same base in the same registry, install the same packages, run the same commands and push what they made.
Upstream: a build for each deployment, one after another, the pickled graph copied first, a random tag; so no build is like
another, nothing is reused, and a few are measured for all; its base is pulled before the clock starts. Ours: an Experiment with
10 deployments, from the request that applies it until a watch shows EnvironmentsReady. Cold: nothing was built before.
"""

import asyncio
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _installation import NOOP, Installation, installation, table
from unicorn_core.naming import API_VERSION
from unicorn_devcluster import images, registry, tools
from unicorn_kube.resource import EXPERIMENTS

DEPLOYMENTS = 10
APT = ("iproute2", "iputils-ping", "net-tools", "sudo", "procps")
PIP = ("netunicorn-executor", "netunicorn-library", "cloudpickle==3.1.2")
COMMANDS = ("pip install --break-system-packages tabulate", "mkdir /srv/lab", "echo ready > /srv/lab/state")
UPSTREAM_BUILDS = 3
WARM_RUNS = 5


class Upstream:
    """Its recipe, in a storage of its own."""

    def __init__(self, directory: Path, registry: str, base: str) -> None:
        self._directory, self._registry, self._base = directory, registry, base
        self._places: list[str | Path] = ["--root", directory / "storage", "--runroot", directory / "run"]

    def build_all(self, commands: Sequence[Sequence[str]]) -> float:
        """Seconds for a build and a push with each of these, measured with the first few. The base is there beforehand."""
        tools.run("buildah", *self._places, "pull", "--quiet", "--tls-verify=false", self._base)
        began = time.perf_counter()
        for each in commands[:UPSTREAM_BUILDS]:
            self._build(each)
        return (time.perf_counter() - began) / UPSTREAM_BUILDS * len(commands)

    def close(self) -> None:
        """Its storage is mounted onto itself."""
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for place in reversed([place for place in mounts if Path(place).is_relative_to(self._directory)]):
            tools.run("umount", place)

    def _build(self, commands: Sequence[str]) -> None:
        context = Path(tempfile.mkdtemp(dir=self._directory))
        (context / "graph").write_bytes(uuid.uuid4().bytes)  # no two deployments have the same one
        lines = [f"FROM {self._base}", "USER 0:0", "ENV DEBIAN_FRONTEND=noninteractive", "COPY graph netunicorn.execution_graph"]
        lines += [f"RUN apt-get update && apt-get install -y {' '.join(APT)}", *(f"RUN {command}" for command in commands)]
        lines += [f"RUN pip install --break-system-packages {' '.join(PIP)}", 'CMD ["python3", "-m", "netunicorn.executor"]']
        (context / "Containerfile").write_text("\n".join(lines))
        image = f"{self._registry}:{uuid.uuid4()}"
        build = ["bud", "--quiet", "--isolation", "chroot", "--layers", "--tls-verify=false", "-t", image]
        tools.run("buildah", *self._places, *build, context)
        tools.run("buildah", *self._places, "push", "--quiet", "--tls-verify=false", image)


def make_base(here: Installation) -> str:
    """demo-base, which has a pip as python:X.Y-slim has, so that nobody has seen it before. Returns its reference."""
    image = f"localhost/bench-base:{uuid.uuid4()}"
    container = tools.run("buildah", "from", images.build(["demo-base"])["demo-base"]).strip()
    tools.run("buildah", "config", "--label", f"bench={image}", container)
    tools.run("buildah", "commit", "--quiet", "--rm", container, image)
    try:
        return registry.push(here.cluster, image, "bench/base", tag=uuid.uuid4().hex)
    finally:
        tools.run("buildah", "rmi", image)


async def compile(here: Installation, base: str, commands: Sequence[Sequence[str]]) -> float:
    """Seconds until the environments of an Experiment with these deployments are ready."""
    name = f"builds-{uuid.uuid4().hex[:8]}"
    deployments = [
        {
            "name": f"d{index}",
            "nodes": {"connectorRef": {"name": "pods"}, "count": 1},
            "pipeline": NOOP,
            "environment": {"build": {"base": base, "apt": list(APT), "pip": list(PIP), "commands": list(each)}},
        }
        for index, each in enumerate(commands)
    ]
    body = {"apiVersion": API_VERSION, "kind": "Experiment", "metadata": {"name": name, "namespace": "default"}}
    listing = await here.kube.list(EXPERIMENTS, "default")
    began = time.perf_counter()
    ready = asyncio.create_task(_ready(here, name, listing.resource_version))
    spec = {"deployments": deployments, "desiredState": "Ready", "deadlines": {"prepare": "1h"}}
    await here.kube.apply(EXPERIMENTS, {**body, "spec": spec}, "bench")
    await asyncio.wait_for(ready, 3600)
    seconds = time.perf_counter() - began
    await here.delete([name])
    return seconds


async def _ready(here: Installation, name: str, version: str) -> None:
    while True:
        async for type, item in here.kube.watch(EXPERIMENTS, "default", resource_version=version):
            if type == "BOOKMARK" or item["metadata"]["name"] != name:
                continue
            status: dict[str, Any] = item.get("status") or {}
            conditions = {entry["type"]: entry for entry in status.get("conditions", ())}
            if conditions.get("EnvironmentsReady", {}).get("status") == "True":
                return
            if "Failed" in conditions:
                raise SystemExit(f"{name}: {status.get('reason')}: {status.get('message')}")


async def main() -> None:
    with tempfile.TemporaryDirectory(prefix="unicorn-bench-") as scratch:
        async with installation(pods=True, settings={"UNICORN_BUILDER": "local"}) as here:
            await here.connector("pods", "kubernetes", {"capacity": 100})
            bases = [await asyncio.to_thread(make_base, here) for _ in range(2)]
            upstream = Upstream(Path(scratch), f"{here.cluster.registry}/bench/upstream", bases[0])
            same = [COMMANDS] * DEPLOYMENTS
            different = [(*COMMANDS, f"echo {index} > /srv/lab/variant") for index in range(DEPLOYMENTS)]
            theirs = await asyncio.to_thread(upstream.build_all, different)
            cold = await compile(here, bases[0], same)
            warm = [await compile(here, bases[0], same) for _ in range(WARM_RUNS)]
            variants = await compile(here, bases[1], different)
            upstream.close()
    table(
        f"images for {DEPLOYMENTS} deployments",
        [
            ("upstream's recipe, whatever was built before", [theirs], "s", ""),
            ("one environment, cold", [cold], "s", ""),
            ("  times faster", [theirs / cold], "1", ">= 8"),
            ("one environment, warm: the cached decision", warm, "s", "<= 1"),
            ("  times faster", [theirs / seconds for seconds in warm], "1", ">= 50"),
            ("environments that differ in the last command, cold", [variants], "s", ""),
            ("  times faster", [theirs / variants], "1", ">= 8"),
        ],
    )


asyncio.run(main())
