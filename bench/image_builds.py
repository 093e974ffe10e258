"""Images for 10 deployments: upstream's recipe, replayed with the same buildah, against the operator with its builder `local`.

Both start from the same base in the same registry, install the same packages, run the same commands and push what they made.
Upstream: a build for each deployment, one after another, the pickled graph copied first, a random tag; so no build is like
another, nothing is reused, and a few are measured for all. Ours: an Experiment with 10 deployments, from the request that applies
it until a watch shows EnvironmentsReady. Cold: nothing was built before. Both pull the base once; the layers of the first round's
are those of the later ones'. In turns: the packages come over a network that has better and worse minutes.
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
UPSTREAM_BUILDS = 2
ROUNDS = 3
WARM_RUNS = 2  # in each round


class Upstream:
    """Its recipe, in a storage of its own."""

    def __init__(self, directory: Path, registry: str) -> None:
        self._directory, self._registry = directory, registry
        self._places: list[str | Path] = ["--root", directory / "storage", "--runroot", directory / "run"]

    def build_all(self, base: str, commands: Sequence[Sequence[str]]) -> float:
        """Seconds to pull the base, and for a build and a push with each of these, measured with the first few."""
        began = time.perf_counter()
        tools.run("buildah", *self._places, "pull", "--quiet", "--tls-verify=false", base)
        pulled = time.perf_counter()
        for each in commands[:UPSTREAM_BUILDS]:
            self._build(base, each)
        return pulled - began + (time.perf_counter() - pulled) / UPSTREAM_BUILDS * len(commands)

    def close(self) -> None:
        """Its storage is mounted onto itself."""
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for place in reversed([place for place in mounts if Path(place).is_relative_to(self._directory)]):
            tools.run("umount", place)

    def _build(self, base: str, commands: Sequence[str]) -> None:
        context = Path(tempfile.mkdtemp(dir=self._directory))
        (context / "graph").write_bytes(uuid.uuid4().bytes)  # no two deployments have the same one
        lines = [f"FROM {base}", "USER 0:0", "ENV DEBIAN_FRONTEND=noninteractive", "COPY graph netunicorn.execution_graph"]
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


def _times(theirs: Sequence[float], ours: Sequence[float]) -> list[float]:
    """By rounds."""
    return [a / b for a, b in zip(theirs, ours, strict=True)]


async def main() -> None:
    with tempfile.TemporaryDirectory(prefix="unicorn-bench-") as scratch:
        async with installation(pods=True, settings={"UNICORN_BUILDER": "local"}) as here:
            await here.connector("pods", "kubernetes", {"capacity": 100})
            upstream = Upstream(Path(scratch), f"{here.cluster.registry}/bench/upstream")
            same = [COMMANDS] * DEPLOYMENTS
            different = [(*COMMANDS, f"echo {index} > /srv/lab/variant") for index in range(DEPLOYMENTS)]
            theirs, cold, warm, variants = [], [], [], []
            for _ in range(ROUNDS):
                base, another = [await asyncio.to_thread(make_base, here) for _ in range(2)]
                theirs.append(await asyncio.to_thread(upstream.build_all, base, different))
                cold.append(await compile(here, base, same))
                warm += [await compile(here, base, same) for _ in range(WARM_RUNS)]
                variants.append(await compile(here, another, different))
            upstream.close()
    table(
        f"images for {DEPLOYMENTS} deployments",
        [
            ("upstream's recipe, whatever was built before", theirs, "s", ""),
            ("one environment, cold", cold, "s", ""),
            ("  times faster", _times(theirs, cold), "1", ">= 8"),
            ("one environment, warm: the cached decision", warm, "s", "<= 1"),
            ("  times faster", [min(theirs) / seconds for seconds in warm], "1", ">= 50"),
            ("environments that differ in the last command, cold", variants, "s", ""),
            ("  times faster", _times(theirs, variants), "1", ">= 8"),
        ],
    )


asyncio.run(main())
