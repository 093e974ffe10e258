"""Which TargetNodes a Connector should have: pure, from its last discovery and those that are there."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from unicorn_core.connector import DiscoveredNode
from unicorn_core.errors import shorten
from unicorn_core.naming import API_VERSION, FINALIZER

from unicorn_operator.cache import Object

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_NOT_SLUG = re.compile(r"[^a-z0-9]+")
_LONGEST = 253


@dataclass(frozen=True, slots=True)
class Sync:
    """`apply`: bodies for server-side apply. `gone`: made by discovery, listed no more. `taken`: a name another object has."""

    apply: tuple[Object, ...]
    gone: tuple[Object, ...]
    taken: tuple[str, ...]


def object_name(connector: str, node: str) -> str:
    """The name of a discovered TargetNode: `<connector>.<node>`, or with a hash where that would be ambiguous or is no name."""
    plain_name = f"{connector}.{node}"
    if "." not in connector and len(plain_name) <= _LONGEST and _SUBDOMAIN.fullmatch(node):
        return plain_name
    digest = hashlib.sha256(f"{connector}\n{node}".encode()).hexdigest()[:10]
    slug = _NOT_SLUG.sub("-", f"{connector}-{node}".lower()).strip("-")
    return f"{slug[:200].rstrip('-')}-{digest}"


def plan_sync(connector: Object, nodes: Mapping[str, DiscoveredNode], existing: Iterable[Object]) -> Sync:
    """`existing`: all TargetNodes of this connector, discovered and hand-written. A hand-written one is left as it is."""
    by_node: dict[str, Object] = {}
    for item in existing:
        name = (item.get("spec") or {}).get("nodeName", "")
        if name not in by_node or not _is_ours(item, connector):
            by_node[name] = item  # where both are there, the hand-written one counts
    names = {item["metadata"]["name"] for item in by_node.values()}
    apply: list[Object] = []
    taken: list[Object] = []
    for node in nodes.values():
        there = by_node.get(node.name)
        body = body_of(connector, node)
        if there is None:
            (taken if body["metadata"]["name"] in names else apply).append(body)
        elif _is_ours(there, connector) and "deletionTimestamp" not in there["metadata"] and _differs(there, body):
            apply.append(body)
    gone = [item for name, item in by_node.items() if name not in nodes and _is_ours(item, connector)]
    return Sync(tuple(apply), tuple(gone), tuple(sorted(body["metadata"]["name"] for body in taken)))


def body_of(connector: Object, node: DiscoveredNode) -> Object:
    metadata = connector["metadata"]
    spec: dict[str, Any] = {"connectorRef": {"name": metadata["name"]}, "nodeName": node.name}
    if node.elastic_max is not None:
        spec["elastic"] = {"max": max(1, min(node.elastic_max, 100_000))}
    else:
        spec["capacity"] = max(1, min(node.capacity, 10_000))
    if node.address:
        spec["address"] = shorten(node.address, 512)
    if node.access_tags:
        spec["accessTags"] = sorted(set(node.access_tags))[:64]
    owner = {"apiVersion": API_VERSION, "kind": "Connector", "name": metadata["name"], "uid": metadata["uid"], "controller": True}
    return {
        "apiVersion": API_VERSION,
        "kind": "TargetNode",
        "metadata": {
            "name": object_name(metadata["name"], node.name),
            "namespace": metadata["namespace"],
            "finalizers": [FINALIZER],
            "ownerReferences": [owner],
        },
        "spec": spec,
    }


def _is_ours(item: Object, connector: Object) -> bool:
    uid = connector["metadata"]["uid"]
    return any(owner.get("uid") == uid for owner in item["metadata"].get("ownerReferences") or ())


def _differs(item: Object, body: Object) -> bool:
    """In what discovery decides; a person's unschedulable and propertyOverrides are theirs."""
    spec = item.get("spec") or {}
    fields = ("capacity", "elastic", "address", "accessTags")
    return any(spec.get(field) != body["spec"].get(field) for field in fields)
