"""What an experiment costs whoever keeps and watches it: counted."""

import time
from contextlib import aclosing

from e2e_kit import FINAL
from unicorn_kube.resource import EXPERIMENTS


async def test_a_short_experiment_is_written_a_few_times(kit):
    listing = await kit.kube.list(EXPERIMENTS, kit.namespace)
    began = time.monotonic()
    one = await kit.run("quiet", {"name": "nothing", "script": "result = None"})
    await one.succeeds()
    seconds = time.monotonic() - began
    versions = []
    watch = kit.kube.watch(
        EXPERIMENTS, kit.namespace, field_selector="metadata.name=quiet", resource_version=listing.resource_version
    )
    async with aclosing(watch) as changes:
        async for type, item in changes:
            if type == "BOOKMARK":
                continue
            versions.append((item.get("status") or {}).get("phase"))
            if versions[-1] in FINAL:
                break
    assert len(versions) <= 3 + seconds, f"as applied, with its finalizer, its end, and one a second on its way: {versions}"
