"""No-op executors as pods, against the same number of bare pods (`python3 -c pass`, same image) in the same run, in turn.

Counted: from the first request until a watch shows all Succeeded; neither begins before the pods of the other are gone. The
table's title has the figures of a peer.
"""

import asyncio
import time

from _installation import Installation, installation, table, until
from unicorn_kube.resource import PODS

RUNS = 3


async def bare_pods(here: Installation, image: str, count: int, label: str) -> float:
    """Seconds from the first create until all have succeeded."""
    listing = await here.kube.list(PODS, "default")
    names = {f"bare-{label}-{index}" for index in range(count)}
    began = time.perf_counter()
    ended = asyncio.create_task(_succeed(here, set(names), listing.resource_version))
    container = {"name": "main", "image": image, "command": ["python3", "-c", "pass"]}
    for name in sorted(names):
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}}
        spec = {"restartPolicy": "Never", "automountServiceAccountToken": False, "containers": [container]}
        await here.kube.create(PODS, {**body, "spec": spec})
    await asyncio.wait_for(ended, 300)
    seconds = time.perf_counter() - began
    for name in names:
        await here.kube.delete(PODS, "default", name)
    await no_pods(here)
    return seconds


async def no_pods(here: Installation) -> None:
    """What is being taken down costs as much as what is set up."""

    async def gone() -> bool:
        return not (await here.kube.list(PODS, "default")).items

    await until(gone, "all pods are gone")


async def _succeed(here: Installation, left: set[str], version: str) -> None:
    while left:
        async for type, pod in here.kube.watch(PODS, "default", resource_version=version):
            if type != "BOOKMARK" and (pod.get("status") or {}).get("phase") == "Succeeded":
                left.discard(pod["metadata"]["name"])
            if not left:
                return


async def main() -> None:
    async with installation(pods=True) as here:
        image = here.stack.settings["UNICORN_DEFAULT_IMAGE"]
        await here.connector("pods", "kubernetes", {"capacity": 100})
        await here.run(["warm-up"], "pods", 2)
        ten, ten_bare, thirty, thirty_bare = [], [], [], []
        for run in range(RUNS):
            ten_bare.append(await bare_pods(here, image, 10, f"ten-{run}"))
            ten.append(await here.run([f"ten-{run}"], "pods", 10))
            await here.delete([f"ten-{run}"])
            await no_pods(here)
            thirty_bare.append(await bare_pods(here, image, 30, f"thirty-{run}"))
            names = [f"thirty-{run}-{index}" for index in range(30)]
            thirty.append(await here.run(names, "pods", 1))
            await here.delete(names)
            await no_pods(here)
        table(
            "pods (a peer, Argo Workflows 4.1, on such a machine: 20 s against 4.4 s bare; 34 s against 7.5 s bare)",
            [
                ("10 bare pods", ten_bare, "s", ""),
                ("1 experiment of 10 executors", ten, "s", ""),
                ("  above the bare pods", [a - b for a, b in zip(ten, ten_bare, strict=True)], "s", "<= 1.5"),
                ("30 bare pods", thirty_bare, "s", ""),
                ("30 experiments of 1 executor", thirty, "s", ""),
                ("  above the bare pods", [a - b for a, b in zip(thirty, thirty_bare, strict=True)], "s", "<= 3"),
            ],
        )


asyncio.run(main())
