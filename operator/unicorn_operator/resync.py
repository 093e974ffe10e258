"""LIST, at the start and again and again: what a watch missed is made good, and every key gets a pass now and then."""

import asyncio
import random
from datetime import timedelta

import structlog
from unicorn_core.errors import Broken
from unicorn_core.text import plain
from unicorn_kube import KubeClient, Listing

from unicorn_operator.cache import Caches, Object
from unicorn_operator.queue import WorkQueue
from unicorn_operator.reconcilers import credentials
from unicorn_operator.watching import WATCHED, Inbox

log = structlog.get_logger(__name__)


async def fill(kube: KubeClient, caches: Caches, inbox: Inbox, namespaces: tuple[str, ...]) -> list[str]:
    """List every kind into its cache, and queue whoever is concerned by what was missed: `kind namespace/name`, sorted.

    Raises NotFound (the CRDs are not installed), ApiUnavailable, ApiRefused.
    """
    missed: list[str] = []
    for kind, resource in WATCHED.items():
        cache = caches.by_kind[kind]
        scopes: tuple[str | None, ...] = namespaces if namespaces and resource.namespaced else (None,)
        listings = [await kube.list(resource, scope) for scope in scopes]
        before = {item["metadata"]["uid"]: item for item in cache}
        for key in cache.sweep(*_together(listings, kind)):
            item = cache.get(key.namespace, key.name)
            if item is None:  # it is gone, and we only learn of it now
                item = next(one for one in before.values() if one["metadata"]["name"] == key.name and _in(one, key.namespace))
            inbox.missed(kind, item)
            missed.append(f"{kind} {key.namespace}/{key.name}")
    return sorted(missed)


async def resync(
    kube: KubeClient, caches: Caches, inbox: Inbox, queue: WorkQueue, namespaces: tuple[str, ...], interval: timedelta
) -> None:
    """For ever. A server that is away is tried again at the next turn."""
    while True:
        await asyncio.sleep(interval.total_seconds() * random.uniform(0.8, 1.0))  # noqa: S311
        try:
            missed = await fill(kube, caches, inbox, namespaces)
            await credentials.sweep(kube, caches)
        except Broken as error:
            log.warning("resync failed", reason=error.reason, error=plain(str(error)))
            continue
        if missed:
            log.info("a listing showed what no watch did", count=len(missed), first=missed[:5])
        for cache in caches.by_kind.values():
            if cache.kind == "Namespace":
                continue
            for key in cache.all_keys():
                queue.add_after(key, interval * random.uniform(0.0, 0.5))  # noqa: S311 not all at once


def _together(listings: list[Listing], kind: str) -> tuple[list[Object], int]:
    """The oldest of their versions: what is younger than that is not taken for gone."""
    items = [{"kind": kind, **item} for listing in listings for item in listing.items]
    return items, min(int(listing.resource_version or 0) for listing in listings)


def _in(item: Object, namespace: str) -> bool:
    return bool(item["metadata"].get("namespace", "") == namespace)
