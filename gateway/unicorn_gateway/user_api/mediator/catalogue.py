"""Which nodes a namespace may use, from the Kubernetes API: looked up at most once a second for all who ask."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from unicorn_core.errors import NotFound, Refused
from unicorn_core.planning.sharing import may_use
from unicorn_core.resources import ConnectorSpec, load
from unicorn_kube import KubeClient
from unicorn_kube.resource import CONNECTORS, NAMESPACES, TARGET_NODES, Resource

from unicorn_gateway.user_api.mediator.nodes import ConnectorName, Device, Inventory, kinds_of

_SECONDS = 1.0
Object = Mapping[str, Any]


@dataclass(eq=False)
class Catalogue:
    """`namespaces`: whose Connectors an operator looks after; empty: all."""

    kube: KubeClient
    namespaces: tuple[str, ...] = ()
    _connectors: Sequence[tuple[ConnectorName, ConnectorSpec, bool]] = ()
    _devices: Sequence[Device] = ()
    _uids: Mapping[UUID, ConnectorName] = field(default_factory=dict)
    _read_at: float = float("-inf")
    _reading: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def inventory(self, namespace: str) -> Inventory:
        """Raises ApiUnavailable, ApiRefused."""
        await self._refresh()
        labels = await self._labels(namespace)
        usable = {name: healthy for name, spec, healthy in self._connectors if may_use(spec, name.namespace, namespace, labels)}
        devices = [one for one in self._devices if usable.get(one.connector)]
        return Inventory(namespace, tuple(usable), tuple(devices))

    async def connector_names(self) -> Mapping[UUID, ConnectorName]:
        """By metadata.uid. Raises ApiUnavailable, ApiRefused."""
        await self._refresh()
        return self._uids

    async def _refresh(self) -> None:
        async with self._reading:
            now = time.monotonic()
            if now - self._read_at < _SECONDS:
                return
            connectors, nodes = await self._list(CONNECTORS), await self._list(TARGET_NODES)
            self._connectors = [one for item in connectors if (one := _connector(item)) is not None]
            self._devices = [_device(item) for item in nodes if not item["metadata"].get("deletionTimestamp")]
            self._uids = {UUID(item["metadata"]["uid"]): _name(item["metadata"]) for item in connectors}
            self._read_at = now

    async def _list(self, resource: Resource) -> list[Object]:
        listings = [await self.kube.list(resource, namespace) for namespace in self.namespaces or (None,)]
        return [item for listing in listings for item in listing.items]

    async def _labels(self, namespace: str) -> Mapping[str, str]:
        if not any(spec.sharing.namespaces.selector for _, spec, _ in self._connectors):
            return {}
        try:
            item = await self.kube.get(NAMESPACES, None, namespace)
        except NotFound:
            return {}
        labels: Mapping[str, str] = item["metadata"].get("labels") or {}
        return labels


def _connector(item: Object) -> tuple[ConnectorName, ConnectorSpec, bool] | None:
    """None: it is going, or its spec is wrong, which its own status says."""
    if item["metadata"].get("deletionTimestamp"):
        return None
    try:
        spec = load(ConnectorSpec, item.get("spec") or {})
    except Refused:
        return None
    return _name(item["metadata"]), spec, _condition(item, "Healthy") != "False"


def _device(item: Object) -> Device:
    metadata, spec, status = item["metadata"], item["spec"], item.get("status") or {}
    elastic = spec.get("elastic")
    return Device(
        uid=UUID(metadata["uid"]),
        connector=ConnectorName(metadata["namespace"], spec["connectorRef"]["name"]),
        name=spec["nodeName"],
        slots=elastic["max"] if elastic else spec.get("capacity") or 1,
        elastic=elastic is not None,
        ready=_condition(item, "Ready") == "True" and not spec.get("unschedulable"),
        architecture=status.get("architecture") or "unknown",
        kinds=kinds_of(status.get("environments") or ()),
        properties={**(status.get("properties") or {}), **(spec.get("propertyOverrides") or {})},
        tags=frozenset(spec.get("accessTags") or ()),
    )


def _name(metadata: Mapping[str, Any]) -> ConnectorName:
    return ConnectorName(metadata["namespace"], metadata["name"])


def _condition(item: Object, type: str) -> str:
    conditions = (item.get("status") or {}).get("conditions") or ()
    return next((one.get("status", "") for one in conditions if one.get("type") == type), "")
