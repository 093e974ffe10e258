"""The inventory as the client sees it: pools of nodes with properties. Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from unicorn_store.mediator import Holding

from unicorn_gateway.user_api.mediator.messages import ARCHITECTURES

CONNECTOR = "connector"
ENVIRONMENTS = "netunicorn-environments"
ACCESS_TAGS = "netunicorn-access-tags"
KINDS = {"Image": "DockerImage", "Shell": "ShellExecution"}
_NUMBERED = re.compile(r"(.+?)-?[0-9]+")


@dataclass(frozen=True, slots=True)
class ConnectorName:
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Device:
    """A TargetNode that the caller's namespace may use: a device, or an elastic pool of them."""

    uid: UUID
    connector: ConnectorName
    name: str  # its nodeName
    slots: int = 1
    elastic: bool = False
    ready: bool = True
    architecture: str = "unknown"
    kinds: frozenset[str] = frozenset()  # of environments, as netunicorn names them
    properties: Mapping[str, Any] = field(default_factory=dict)
    tags: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Inventory:
    """What a namespace may use. `home`: that namespace. What is looked up for each of thousands of nodes is in an index."""

    home: str
    connectors: tuple[ConnectorName, ...]
    devices: tuple[Device, ...]
    _called: Mapping[str, list[ConnectorName]] = field(init=False, repr=False, compare=False)
    _at: Mapping[ConnectorName, Mapping[str, Device]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        called: dict[str, list[ConnectorName]] = {}
        for connector in self.connectors:
            for text in (connector.name, str(connector)):
                called.setdefault(text, []).append(connector)
        at: dict[ConnectorName, dict[str, Device]] = {}
        for device in self.devices:
            at.setdefault(device.connector, {})[device.name] = device
        object.__setattr__(self, "_called", called)
        object.__setattr__(self, "_at", at)

    def shown(self, connector: ConnectorName) -> str:
        """The plain name; with its namespace where another connector that can be used has the same."""
        same = self._called.get(connector.name, ())
        return connector.name if len(same) <= 1 or connector.namespace == self.home else str(connector)

    def connector(self, text: str) -> ConnectorName | None:
        """The one that is meant: by its plain name (the own namespace's first, else the only one), or with its namespace."""
        same = self._called.get(text, [])
        own = [one for one in same if one.namespace == self.home]
        if own or len(same) == 1:
            return (own or same)[0]
        return None

    def device(self, connector: ConnectorName, name: str) -> Device | None:
        """By its name; a node of an elastic pool by the pool's name and a number."""
        here = self._at.get(connector, {})
        if name in here:
            return here[name]
        match = _NUMBERED.fullmatch(name)
        pool = here.get(match[1]) if match else None
        return pool if pool is not None and pool.elastic else None


def may_use(device: Device, tags: frozenset[str]) -> bool:
    """A user without tags may use all nodes; one with tags those without, and those with one of the same."""
    return not tags or not device.tags or bool(tags & device.tags)


def taken_by_others(holdings: Iterable[Holding], user: str, namespace: str) -> dict[UUID, int]:
    """How many slots of each node others have: not this user, and no experiment of this namespace."""
    taken: dict[UUID, int] = {}
    for one in holdings:
        if one.holder != f"user:{user}" and one.namespace != namespace:
            taken[one.node] = taken.get(one.node, 0) + 1
    return taken


def pools(inventory: Inventory, tags: frozenset[str], taken: Mapping[UUID, int]) -> dict[str, Any]:
    """All nodes that the user can have now, in a pool for each connector. `taken`: how many slots others have of a node."""
    offered: dict[ConnectorName, list[Device]] = {}
    for one in inventory.devices:
        if one.ready and may_use(one, tags) and taken.get(one.uid, 0) < one.slots:
            offered.setdefault(one.connector, []).append(one)
    found = []
    for connector in sorted(inventory.connectors, key=lambda one: (one.namespace != inventory.home, str(one))):
        mine = sorted(offered.get(connector, ()), key=lambda one: _natural(one.name))
        devices = [_node(one, inventory, one.name) for one in mine if not one.elastic]
        if devices:
            found.append(_countable(devices))
        for pool in (one for one in mine if one.elastic):
            left = pool.slots - taken.get(pool.uid, 0)
            found.append(_uncountable(_node(pool, inventory, f"{pool.name}-"), left))
    return _countable(found)


def _countable(members: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"node_pool_type": "CountableNodePool", "node_pool_data": list(members), "node_pool_metadata": None}


def _uncountable(template: Mapping[str, Any], limit: int) -> dict[str, Any]:
    """The client appends a number to the name, from 1 up to the limit."""
    return {"node_pool_type": "UncountableNodePool", "node_pool_data": [template], "node_pool_metadata": limit}


def _node(device: Device, inventory: Inventory, name: str) -> dict[str, Any]:
    properties = {
        **device.properties,
        CONNECTOR: inventory.shown(device.connector),
        ENVIRONMENTS: sorted(device.kinds),
        **({ACCESS_TAGS: sorted(device.tags)} if device.tags else {}),
    }
    return node_json(name, properties, device.architecture)


def node_json(name: str, properties: Mapping[str, Any], architecture: str) -> dict[str, Any]:
    known = architecture if architecture in ARCHITECTURES else "unknown"
    return {"name": name, "properties": dict(properties), "additional_properties": {}, "architecture": known}


def _natural(name: str) -> list[tuple[int, str]]:
    """So that node-2 comes before node-10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", name)]


def kinds_of(environments: Iterable[str]) -> frozenset[str]:
    return frozenset(KINDS[one] for one in environments if one in KINDS)
