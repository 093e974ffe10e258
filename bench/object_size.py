"""The Experiment object of 10 000 executors in selector form: its JSON without managedFields, prepared, and with failures."""

import asyncio
import json

from _installation import Installation, installation, table, until
from unicorn_kube.resource import EXPERIMENTS

COUNT = 10_000


async def main() -> None:
    async with installation(pods=False) as here:
        await here.connector("fake", "fake", {"nodes": 0, "elastic": COUNT // 2, "agent": "Silent"})
        await here.apply("half", "fake", COUNT, desiredState="Ready", allocation={"mode": "BestEffort"}, start={"quorum": 1})
        sizes = [await size(here, "half", "Ready")]
        await here.apply("half", "fake", COUNT, desiredState="Cancelled", allocation={"mode": "BestEffort"}, start={"quorum": 1})
        sizes.append(await size(here, "half", "Cancelled"))
        table(f"{COUNT} executors, half of them failed", [("size of the object", sizes, "KiB", "<= 64")])


async def size(here: Installation, name: str, phase: str) -> float:
    """KiB, once it is in this phase."""

    async def reached() -> bool:
        item = await here.kube.get(EXPERIMENTS, "default", name)
        return bool((item.get("status") or {}).get("phase") == phase)

    await until(reached, f"{name} is {phase}")
    item = await here.kube.get(EXPERIMENTS, "default", name)
    item["metadata"].pop("managedFields", None)
    return len(json.dumps(item).encode()) / 1024


asyncio.run(main())
