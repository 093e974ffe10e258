"""Connectors: made, looked at beside the passes, their nodes kept as TargetNodes, let go when nobody uses them."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from unicorn_core.errors import Broken, Conflict, Refused, UnicornError, Waiting
from unicorn_core.reasons import ConnectorCondition, ConnectorReason
from unicorn_core.resources import ConnectorSpec, load
from unicorn_core.text import plain
from unicorn_kube.resource import CONNECTORS, TARGET_NODES
from unicorn_store.nodes import experiments_on_connector

from unicorn_operator import events, finalizers
from unicorn_operator.cache import Object, key_of, path
from unicorn_operator.connector_pool import Identity, NotMade
from unicorn_operator.dependents import learn
from unicorn_operator.inventory import Inventories, Inventory
from unicorn_operator.key import Key
from unicorn_operator.reconcilers import credentials
from unicorn_operator.reconcilers.node_objects import plan_sync
from unicorn_operator.reconcilers.node_status import readiness
from unicorn_operator.reconcilers.target_nodes import view_of
from unicorn_operator.status import condition, condition_of, moment, write_status
from unicorn_operator.usage import NodeUsage
from unicorn_operator.world import World

CONTACT_EVERY = timedelta(minutes=1)  # a later lastContactTime alone is written this often at most
LEASED_AGAIN = timedelta(seconds=2)
GONE_FOR = 3  # discovery intervals after which the TargetNode of a node that is gone is deleted
_MANAGER = "netunicorn-operator"
_AT_ONCE = 16  # TargetNodes written at the same time


class Connectors:
    """`wake` puts the experiments of these uids into the queue."""

    def __init__(self, inventories: Inventories, usage: NodeUsage, wake: Callable[[list[UUID]], None]) -> None:
        self._inventories, self._usage, self._wake = inventories, usage, wake
        self._uids: dict[Key, UUID] = {}

    async def reconcile(self, key: Key, world: World, now: datetime) -> timedelta | None:
        item = world.caches.connectors.get(key.namespace, key.name)
        known = self._uids.get(key)
        if known is not None and (item is None or str(known) != item["metadata"]["uid"]):
            self._forget(key, known, world)
        if item is None:
            return None
        self._uids[key] = UUID(item["metadata"]["uid"])
        if "deletionTimestamp" in item["metadata"]:
            return await self._delete(item, world)
        if not finalizers.has(item):
            item = await finalizers.add(world.kube, CONNECTORS, item)
            world.caches.connectors.put(item)
        return await self._serve(item, world, now)

    async def _serve(self, item: Object, world: World, now: datetime) -> timedelta | None:
        identity = _identity(item)
        try:
            spec = load(ConnectorSpec, item.get("spec") or {})
            secret, going = await credentials.read(world.kube, identity.namespace, spec)
            if spec.gateway is None and not world.settings.gateway_endpoint:
                message = "write spec.gateway.endpoint, or set UNICORN_GATEWAY_ENDPOINT for all connectors"
                raise Waiting(ConnectorReason.NO_GATEWAY, message, timedelta(minutes=5))
            connector = world.connectors.refresh(identity, spec, secret)
        except (Refused, Waiting, NotMade) as error:
            return await self._cannot_be_made(item, identity, error, world)
        self._inventories.keep(identity.uid, connector, spec.discovery_interval)
        inventory = self._inventories.of(identity.uid)
        synced = await self._sync(item, inventory, spec, world, now)
        healthy = _health(inventory, going)
        await self._write(item, [healthy, synced], inventory, world, now)
        return spec.discovery_interval

    async def _cannot_be_made(self, item: Object, identity: Identity, error: UnicornError, world: World) -> timedelta | None:
        """Say why; its nodes cannot be used until it is mended. Others are not touched by that."""
        reason = ConnectorReason.INVALID if error.reason == "Invalid" else error.reason
        world.connectors.refuse(identity, str((item.get("spec") or {}).get("type", "")), error)
        self._inventories.drop(identity.uid)
        unhealthy = condition(ConnectorCondition.HEALTHY, False, reason, plain(str(error)))
        synced = condition(ConnectorCondition.INVENTORY_SYNCED, False, ConnectorReason.DISCOVERY_FAILED, "see Healthy")
        await self._write(item, [unhealthy, synced], None, world, world.now())
        if isinstance(error, Refused):
            return None  # until somebody changes it
        return error.retry_after if isinstance(error, Waiting) else timedelta(seconds=30)

    async def _sync(
        self, item: Object, inventory: Inventory | None, spec: ConnectorSpec, world: World, now: datetime
    ) -> dict[str, Any]:
        """Make the TargetNodes those of the last discovery."""
        if inventory is None or (inventory.nodes is None and not inventory.problem):
            return condition(ConnectorCondition.INVENTORY_SYNCED, None, ConnectorReason.CHECKING)
        if inventory.nodes is None or inventory.problem:
            return condition(ConnectorCondition.INVENTORY_SYNCED, False, ConnectorReason.DISCOVERY_FAILED, inventory.problem)
        plan = plan_sync(item, inventory.nodes, _nodes_of(item, world))
        problems = [f"the name {name} is taken by another TargetNode" for name in plan.taken]
        limit = asyncio.Semaphore(_AT_ONCE)

        async def applied(body: Object) -> None:
            async with limit:
                learn(world.caches, world.queue, "TargetNode", await world.kube.apply(TARGET_NODES, body, _MANAGER))

        for result in await asyncio.gather(*(applied(body) for body in plan.apply), return_exceptions=True):
            if isinstance(result, UnicornError):
                problems.append(plain(str(result)))
            elif isinstance(result, BaseException):
                raise result
        for node in plan.gone:
            await self._delete_gone(node, spec, world, now)
        for node in _nodes_of(item, world):
            world.queue.add(key_of(node, "TargetNode"))
        if problems:
            message = "; ".join(sorted(set(problems))[:5])
            return condition(ConnectorCondition.INVENTORY_SYNCED, False, ConnectorReason.SYNC_FAILED, message)
        return condition(ConnectorCondition.INVENTORY_SYNCED, True, ConnectorReason.SYNCED)

    async def _delete_gone(self, node: Object, spec: ConnectorSpec, world: World, now: datetime) -> None:
        """A node that discovery has not listed for a while and that nothing of ours is on."""
        metadata = node["metadata"]
        ready = condition_of(node, "Ready")
        if "deletionTimestamp" in metadata or ready.get("reason") != "NotSeen" or not self._usage.is_known:
            return
        use = self._usage.of(UUID(metadata["uid"]))
        since = datetime.fromisoformat(ready.get("lastTransitionTime", moment(now)))
        if use.used or use.orphans or now - since < GONE_FOR * spec.discovery_interval:
            return
        try:
            await world.kube.delete(
                TARGET_NODES,
                metadata["namespace"],
                metadata["name"],
                uid=metadata["uid"],
                resource_version=metadata["resourceVersion"],
            )
        except (Conflict, Broken):
            world.queue.add_after(key_of(node, "TargetNode"), spec.discovery_interval)

    async def _write(
        self, item: Object, conditions: list[dict[str, Any]], inventory: Inventory | None, world: World, now: datetime
    ) -> None:
        old = item.get("status") or {}
        status = {"conditions": conditions, "nodes": self._counts(item, world)}
        contact = inventory.contact_at if inventory else None
        if contact is not None:
            status["lastContactTime"] = moment(contact)
        elif "lastContactTime" in old:
            status["lastContactTime"] = old["lastContactTime"]
        known = old.get("lastContactTime")
        if contact is not None and known and contact - datetime.fromisoformat(known) < CONTACT_EVERY and _same(item, status):
            return
        before = condition_of(item, ConnectorCondition.HEALTHY)
        if await write_status(world, "Connector", item, status):
            await _tell(item, before, conditions[0], world)

    def _counts(self, item: Object, world: World) -> dict[str, int]:
        total = ready = leased = 0
        for node in _nodes_of(item, world):
            total += 1
            try:
                view = view_of(node, world, self._inventories, self._usage)
            except Refused:
                continue
            ready += readiness(view)[0] is True
            leased += view.usage.used > 0
        return {"total": total, "ready": ready, "leased": leased}

    async def _delete(self, item: Object, world: World) -> timedelta | None:
        """Its experiments stop their executors, or record orphans when their cleanup deadline is over; then it may go."""
        identity = _identity(item)
        holders = await experiments_on_connector(world.store, identity.uid)
        if holders:
            self._wake(holders)
            # Stopping needs it: after a restart of ours it is made again, although it is being deleted.
            try:
                spec = load(ConnectorSpec, item.get("spec") or {})
                secret, _ = await credentials.read(world.kube, identity.namespace, spec)
                world.connectors.refresh(identity, spec, secret)
            except UnicornError as error:
                world.connectors.refuse(identity, str((item.get("spec") or {}).get("type", "")), error)
            deleting = condition(
                ConnectorCondition.HEALTHY, False, ConnectorReason.DELETING, f"{len(holders)} experiments still use its nodes"
            )
            await self._write(item, [deleting], None, world, world.now())
            return LEASED_AGAIN
        secret_name = ((item.get("spec") or {}).get("credentialsSecretRef") or {}).get("name")
        if secret_name:
            await credentials.release(world.kube, world.caches, identity.namespace, secret_name, by_uid=str(identity.uid))
        await finalizers.remove(world.kube, CONNECTORS, item)
        self._forget(key_of(item, "Connector"), identity.uid, world)
        return None

    def _forget(self, key: Key, uid: UUID, world: World) -> None:
        self._uids.pop(key, None)
        self._inventories.drop(uid)
        world.connectors.drop(uid)


def _identity(item: Object) -> Identity:
    metadata = item["metadata"]
    return Identity(UUID(metadata["uid"]), metadata["namespace"], metadata["name"], int(metadata.get("generation") or 0))


def _nodes_of(item: Object, world: World) -> list[Object]:
    return world.caches.target_nodes.find("connector", path(item["metadata"]["namespace"], item["metadata"]["name"]))


def _health(inventory: Inventory | None, secret_going: bool) -> dict[str, Any]:
    if inventory is None:
        return condition(ConnectorCondition.HEALTHY, None, ConnectorReason.CHECKING, "it has not answered yet")
    if secret_going and inventory.health.healthy:
        message = "the Secret with its credentials is being deleted; name another one, or delete the Connector too"
        return condition(ConnectorCondition.HEALTHY, False, ConnectorReason.SECRET_BEING_DELETED, message)
    health = inventory.health
    return condition(ConnectorCondition.HEALTHY, health.healthy, health.reason, health.message)


def _same(item: Object, status: dict[str, Any]) -> bool:
    """But for the time of the last contact."""
    old = item.get("status") or {}
    if old.get("observedGeneration") != item["metadata"].get("generation") or old.get("nodes") != status["nodes"]:
        return False
    before = [
        {key: value for key, value in entry.items() if key != "lastTransitionTime"} for entry in old.get("conditions") or ()
    ]
    return bool(before == status["conditions"])


async def _tell(item: Object, before: Any, healthy: dict[str, Any], world: World) -> None:
    """An event for each change between healthy and not."""
    if before.get("status") == healthy["status"] or (not before and healthy["status"] != "False"):
        return
    if healthy["status"] == "False":
        await events.emit(world, "Connector", item, "Warning", healthy["reason"], healthy.get("message", ""))
