"""An experiment that netunicorn's client did not make, as if it had: a deployment for each executor. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from unicorn_core.durations import parse_duration
from unicorn_store.mediator import Executor, Snapshot

from unicorn_gateway.user_api.mediator.environments import shown_environment
from unicorn_gateway.user_api.mediator.nodes import CONNECTOR, ConnectorName, Inventory, node_json
from unicorn_gateway.user_api.mediator.orders import Kept, KeptOrder, Place

Object = Mapping[str, Any]


def kept_of(
    item: Object,
    executors: Sequence[Executor],
    snapshots: Sequence[Snapshot],
    inventory: Inventory,
    connectors: Mapping[UUID, ConnectorName],
) -> Kept:
    """Before nodes are given out: those that it names. `connectors`: by metadata.uid."""
    deployments = {one["name"]: one for one in (item.get("spec") or {}).get("deployments") or ()}
    snapped = {one.deployment: one for one in snapshots}
    specs = {
        name: (snapped[name].body.get("environment") if name in snapped else None) or one.get("environment")
        for name, one in deployments.items()
    }
    positions = {name: position for position, name in enumerate(deployments)}
    environments = [shown_environment(specs[name]) for name in deployments] or [shown_environment(None)]
    orders = []
    for place, node in _nodes(deployments, executors, inventory, connectors):
        deployment = deployments.get(place.deployment, {})
        snapshot = snapped.get(place.deployment)
        orders.append(
            KeptOrder(
                node=node,
                environment=positions.get(place.deployment, 0),
                graph=(snapshot.graph_sha256 if snapshot else None) or _digest(deployment),
                keep_alive_minutes=round(parse_duration(deployment.get("keepAlive", "10m")).total_seconds() / 60, 3),
                cleanup=deployment.get("cleanup", True),
                place=place,
                refusal="",
            )
        )
    return Kept(tuple(orders), tuple(environments), None)


def _digest(deployment: Object) -> str:
    serialized = (deployment.get("pipeline") or {}).get("serialized") or {}
    return str(serialized.get("sha256", ""))


def _nodes(
    deployments: Mapping[str, Object],
    executors: Sequence[Executor],
    inventory: Inventory,
    connectors: Mapping[UUID, ConnectorName],
) -> Iterator[tuple[Place, dict[str, Any]]]:
    for executor in executors:
        connector = connectors.get(executor.connector_uid) if executor.connector_uid else None
        properties = dict(executor.node_properties)
        architecture = str(properties.get("architecture", "unknown"))
        if connector is not None:
            properties[CONNECTOR] = inventory.shown(connector)
            device = inventory.device(connector, executor.node)
            architecture = device.architecture if device else architecture
        name = executor.node or _named(deployments.get(executor.deployment, {}), executor.index)
        yield Place(executor.deployment, executor.index), node_json(name, properties, architecture)
    if not executors:
        for name, deployment in deployments.items():
            for index, node in enumerate((deployment.get("nodes") or {}).get("names") or ()):
                yield Place(name, index), node_json(node, {}, "unknown")


def _named(deployment: Object, index: int) -> str:
    """Of an executor that got no node: the one that was asked for."""
    names = (deployment.get("nodes") or {}).get("names") or ()
    return str(names[index]) if index < len(names) else ""
