"""TargetNodes: their status, their finalizer, and the release of orphans on a person's word."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from unicorn_core.errors import ApiRefused, NotFound, Refused
from unicorn_core.naming import ANNOTATION_RELEASE_ORPHANS
from unicorn_core.reasons import TargetNodeCondition, TargetNodeReason
from unicorn_core.resources import TargetNodeSpec, load
from unicorn_kube.resource import TARGET_NODES
from unicorn_store.nodes import connectors_of_orphans, experiments_on_node, release_orphans

from unicorn_operator import events, finalizers
from unicorn_operator.cache import Object, key_of
from unicorn_operator.inventory import Inventories
from unicorn_operator.key import Key
from unicorn_operator.reconcilers.node_status import View, status_of
from unicorn_operator.status import condition, condition_of, is_test_failure, write_status
from unicorn_operator.usage import NodeUsage
from unicorn_operator.world import World

WRITE_EVERY = timedelta(seconds=10)
CONTACT_EVERY = timedelta(minutes=5)  # a later lastContactTime alone is written this often at most
LEASED_AGAIN = timedelta(seconds=2)

log = structlog.get_logger(__name__)


class TargetNodes:
    """`wake` puts the experiments of these uids into the queue."""

    def __init__(self, inventories: Inventories, usage: NodeUsage, wake: Callable[[list[UUID]], None]) -> None:
        self._inventories, self._usage, self._wake = inventories, usage, wake
        self._written: dict[str, datetime] = {}  # uid -> when we wrote its status last

    async def reconcile(self, key: Key, world: World, now: datetime) -> timedelta | None:
        item = world.caches.target_nodes.get(key.namespace, key.name)
        if item is None:
            return None
        deleting = "deletionTimestamp" in item["metadata"]
        if not deleting and not finalizers.has(item):
            item = await finalizers.add(world.kube, TARGET_NODES, item)
            world.caches.target_nodes.put(item)
        if ANNOTATION_RELEASE_ORPHANS in (item["metadata"].get("annotations") or {}):
            item = await self._release(item, world)
        if deleting:
            return await self._delete(item, world, now)
        if not self._usage.is_known:
            return WRITE_EVERY  # the database has not answered since our start: what stands there stays
        return await self._write(item, world, now)

    async def _write(self, item: Object, world: World, now: datetime) -> timedelta | None:
        """Its status, if there is news and the last write is long enough ago; else when to come again."""
        uid = item["metadata"]["uid"]
        status = self._status(item, world)
        if status is None or not _is_news(item, status, now):
            return None
        if (wait := self._written.get(uid, now - WRITE_EVERY) + WRITE_EVERY - now) > timedelta():
            return wait
        if await write_status(world, "TargetNode", item, status):
            self._written[uid] = now
        return None

    def _status(self, item: Object, world: World) -> dict[str, Any] | None:
        """None: too early to say anything new."""
        old = item.get("status") or {}
        try:
            view = view_of(item, world, self._inventories, self._usage)
        except Refused as error:
            return {"conditions": [condition(TargetNodeCondition.READY, False, TargetNodeReason.INVALID, str(error))]}
        status = status_of(view, old)
        if status["conditions"][0]["reason"] == TargetNodeReason.CHECKING and old.get("conditions"):
            return None  # just after our start the words of our predecessor stand
        return status

    async def _release(self, item: Object, world: World) -> Object:
        """The annotation's word is done, then it is taken off."""
        text = item["metadata"]["annotations"][ANNOTATION_RELEASE_ORPHANS]
        chosen = _executors(text)
        if chosen is None or chosen:
            released = await release_orphans(world.store, UUID(item["metadata"]["uid"]), chosen)
            message = f"{len(released)} orphaned executors were released by hand"
            log.info("orphans released by hand", node=item["metadata"]["name"], executors=[str(one) for one in released])
            await events.emit(world, "TargetNode", item, "Normal", "OrphansReleased", message)
            await self._usage.read()
        else:
            message = f"annotation {ANNOTATION_RELEASE_ORPHANS}: write true, or executor ids separated by commas"
            await events.emit(world, "TargetNode", item, "Warning", "Invalid", message)
        place = "/metadata/annotations/" + ANNOTATION_RELEASE_ORPHANS.replace("~", "~0").replace("/", "~1")
        changes = [{"op": "test", "path": place, "value": text}, {"op": "remove", "path": place}]
        try:
            item = await world.kube.patch_json(TARGET_NODES, item["metadata"]["namespace"], item["metadata"]["name"], changes)
        except NotFound:
            return item
        except ApiRefused as error:
            if not is_test_failure(error):
                raise
            world.queue.add(key_of(item, "TargetNode"))
            return item
        world.caches.target_nodes.put(item)
        return item

    async def _delete(self, item: Object, world: World, now: datetime) -> timedelta | None:
        """Let it go when nobody leases it any more; its experiments see to that.

        Not while an orphan on it may still be stopped: discovery would make it anew, and its slots would be free.
        """
        if not finalizers.has(item):
            return None
        node = UUID(item["metadata"]["uid"])
        holders = await experiments_on_node(world.store, node)
        if holders or any(_may_stop(uid, world) for uid in await connectors_of_orphans(world.store, node)):
            self._wake(holders)
            await self._write(item, world, now)
            return LEASED_AGAIN
        await finalizers.remove(world.kube, TARGET_NODES, item)
        self._written.pop(item["metadata"]["uid"], None)
        return None


def _may_stop(connector: UUID, world: World) -> bool:
    """Whether orphans of this connector are still being stopped; without it only a person's word releases them."""
    item = world.caches.connectors.by_uid(str(connector))
    return item is not None and "deletionTimestamp" not in item["metadata"]


def view_of(item: Object, world: World, inventories: Inventories, usage: NodeUsage) -> View:
    """All that its status follows from. Raises Refused for a spec that is wrong."""
    metadata = item["metadata"]
    spec = load(TargetNodeSpec, item.get("spec") or {})
    connector = world.caches.connectors.get(metadata["namespace"], spec.connector_ref.name)
    presence = "Absent" if connector is None else "Deleting" if "deletionTimestamp" in connector["metadata"] else "Present"
    return View(
        spec=spec,
        discovered_by=any(owner.get("kind") == "Connector" for owner in metadata.get("ownerReferences") or ()),
        deleting="deletionTimestamp" in metadata,
        connector=presence,
        inventory=inventories.of(UUID(connector["metadata"]["uid"])) if connector else None,
        usage=usage.of(UUID(metadata["uid"])),
    )


def _is_news(item: Object, status: dict[str, Any], now: datetime) -> bool:
    """Whether more has changed than the time of the last contact, or that is old."""
    old = item.get("status") or {}
    if old.get("observedGeneration") != item["metadata"].get("generation"):
        return True
    before = {**condition_of(item, TargetNodeCondition.READY)}
    before.pop("lastTransitionTime", None)
    if before != status["conditions"][0]:
        return True
    if any(old.get(field) != status.get(field) for field in ("architecture", "environments", "properties", "leases")):
        return True
    contact, known = status.get("lastContactTime"), old.get("lastContactTime")
    if contact == known:
        return False
    return known is None or now - datetime.fromisoformat(known) >= CONTACT_EVERY


def _executors(text: str) -> list[UUID] | None:
    """None: all. Empty: not understood."""
    if text.strip().lower() == "true":
        return None
    try:
        return [UUID(part.strip()) for part in text.split(",") if part.strip()]
    except ValueError:
        return []
