"""What no live experiment owns any more, found by comparing the records with a live LIST; and what was kept for long enough."""

import asyncio
import random
from collections.abc import Awaitable, Iterator
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import NoReturn

import structlog
from unicorn_core.errors import Broken
from unicorn_kube.resource import EXPERIMENTS
from unicorn_store import leases, retention

from unicorn_operator.cache import Caches, key_of
from unicorn_operator.world import World

INTERVAL = timedelta(minutes=5)
AGAIN = timedelta(seconds=10)  # after a step that could not be done
RETENTION_INTERVAL = timedelta(hours=1)
YOUNG = timedelta(seconds=30)  # records this fresh may be ahead of the list

log = structlog.get_logger(__name__)


async def keep_clean(world: World) -> NoReturn:
    """Until cancelled. A database or API server that is away is waited for; a step that cannot be done holds up no other."""
    retention_due: datetime | None = None
    while True:
        now = world.now()
        well = [
            await _tried("end attempts that are over", sweep_attempts(world)),
            await _tried("find experiments whose resource is gone", sweep(world, now)),
            await _tried("free claims of nobody", sweep_claims(world)),
        ]
        if retention_due is None or now >= retention_due:
            well.append(await _tried("delete what was kept for long enough", sweep_records(world, now)))
            retention_due = now + RETENTION_INTERVAL if well[-1] else None
        jitter = 0.9 + 0.2 * random.random()  # noqa: S311 not a secret
        await asyncio.sleep((INTERVAL.total_seconds() if all(well) else AGAIN.total_seconds()) * jitter)


async def _tried(what: str, step: Awaitable[object]) -> bool:
    """Whether it went well."""
    try:
        await step
    except Broken as error:
        log.warning("the janitor waits", what=what, reason=error.reason, error=str(error))
        return False
    return True


async def sweep_records(world: World, now: datetime) -> None:
    settings = world.settings
    periods = retention.Periods(records=settings.retention_records, logs=settings.retention_logs)
    swept = await retention.sweep(world.store, periods, now)
    graphs = await retention.sweep_graphs(world.store, named_graphs(world.caches), now, only=settings.watch_namespaces or None)
    log.info("old records are deleted", **asdict(swept), graphs=graphs)


def named_graphs(caches: Caches) -> Iterator[tuple[str, str]]:
    """The serialized graphs that Pipelines and Experiments name, as (namespace, digest)."""
    for item in (*caches.pipelines, *caches.experiments):
        spec = item.get("spec") or {}
        for pipeline in (spec, *((one.get("pipeline") or {}) for one in spec.get("deployments") or ())):
            digest = (pipeline.get("serialized") or {}).get("sha256")
            if isinstance(digest, str):
                yield item["metadata"]["namespace"], digest


async def sweep_attempts(world: World) -> None:
    """Leases of attempts that are over, as a restored database may have them, go the orphan way."""
    if over := await leases.abandon_old_attempts(world.store):
        log.warning("leases of attempts that are over", executors=[str(id_) for id_ in over])
        world.ask_usage()


async def sweep_claims(world: World) -> None:
    """Slots that are claimed for nobody. There should be none: giving back takes care of them."""
    if freed := await leases.sweep_claims(world.store):
        log.warning("slots were claimed for nobody", nodes=[str(uid) for uid in freed])
        _wake_all(world)


async def sweep(world: World, now: datetime) -> int:
    """Close the records of experiments whose resource is gone; their leases go the orphan way. Answers how many there were."""
    async with world.store.connection() as connection:
        records = [row async for row in world.store.queries.read_leftovers(connection)]
    old = [row for row in records if row["updated_at"] < now - YOUNG]
    if not old:
        return 0
    listing = await world.kube.list(EXPERIMENTS)
    live = {item["metadata"]["uid"] for item in listing.items}
    gone = [row for row in old if str(row["uid"]) not in live]
    for row in gone:
        log.info("an experiment's resource is gone", namespace=row["namespace"], name=row["name"], uid=str(row["uid"]))
        await leases.abandon_experiment(world.store, row["uid"])
    if gone:
        world.ask_usage()
        world.wake_operations()  # what is under way for them is not wanted any more
        _wake_all(world)
    return len(gone)


def _wake_all(world: World) -> None:
    """Whoever waits for nodes."""
    for item in world.caches.experiments:
        world.queue.add(key_of(item, "Experiment"))
