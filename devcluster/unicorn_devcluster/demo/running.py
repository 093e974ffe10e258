"""Apply an example and follow it to its end."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from unicorn_core.errors import NotFound, UnicornError
from unicorn_core.resources.experiment import Phase
from unicorn_kube import KubeClient
from unicorn_kube.resource import CONFIG_MAPS, CONNECTORS, ENVIRONMENTS, EXPERIMENTS, PIPELINES, TARGET_NODES
from unicorn_store import Store, records
from unicorn_store.records import ProgressRecord

from .examples import Example

_MANAGER = "demo"
_LOOK_SECONDS = 0.2
_GONE_SECONDS = 120.0
_RESOURCES = {
    "ConfigMap": CONFIG_MAPS,
    "Connector": CONNECTORS,
    "Environment": ENVIRONMENTS,
    "Experiment": EXPERIMENTS,
    "Pipeline": PIPELINES,
    "TargetNode": TARGET_NODES,
}


class RunError(Exception):
    """The example cannot go on; one readable line."""


@dataclass(frozen=True)
class View:
    """An experiment at a moment. `seconds` since it was applied."""

    name: str
    uid: UUID
    seconds: float
    phase: Phase
    status: dict[str, Any]
    executors: Sequence[ProgressRecord]


async def remove(kube: KubeClient, namespace: str, name: str) -> bool:
    """Delete an experiment and wait until it is gone; whether there was one. Raises RunError, UnicornError."""
    deadline = time.monotonic() + _GONE_SECONDS
    try:
        await kube.delete(EXPERIMENTS, namespace, name)
    except NotFound:
        return False
    with contextlib.suppress(NotFound):
        while time.monotonic() < deadline:
            await kube.get(EXPERIMENTS, namespace, name)
            await asyncio.sleep(_LOOK_SECONDS)
        raise RunError(f"the experiment {name} of an earlier run is still being deleted: kubectl get exp {name} -o yaml")
    return True


async def apply(kube: KubeClient, namespace: str, example: Example) -> UUID:
    """Server-side apply of its objects. Returns the Experiment's uid. Raises UnicornError."""
    uid = ""
    for body in example.objects:
        placed = {**body, "metadata": {"namespace": namespace, **body["metadata"]}}
        made = await kube.apply(_RESOURCES[body["kind"]], placed, _MANAGER)
        if body["kind"] == "Experiment":
            uid = made["metadata"]["uid"]
    return UUID(uid)


async def follow(kube: KubeClient, store: Store, namespace: str, example: Example) -> AsyncIterator[View]:
    """Until it has ended; the last view has a final phase. Sets desiredState when the example wants that. Raises UnicornError."""
    started = time.monotonic()
    told = False
    while True:
        item = await kube.get(EXPERIMENTS, namespace, example.experiment)
        view = await _view(store, item, time.monotonic() - started)
        yield view
        if view.phase.final:
            return
        if view.phase is Phase.READY and example.when_ready and not told:
            told = True
            await kube.patch_merge(EXPERIMENTS, namespace, example.experiment, {"spec": {"desiredState": example.when_ready}})
        await asyncio.sleep(_LOOK_SECONDS)


async def _view(store: Store, item: dict[str, Any], seconds: float) -> View:
    status = item.get("status") or {}
    uid = UUID(item["metadata"]["uid"])
    executors: Sequence[ProgressRecord] = ()
    with contextlib.suppress(UnicornError):  # the database is away for a moment: the resource tells enough
        executors = await records.progress(store, uid, status.get("attempt", 1))
    return View(item["metadata"]["name"], uid, seconds, Phase(status.get("phase", Phase.PENDING)), status, executors)
