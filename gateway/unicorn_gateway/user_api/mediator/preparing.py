"""`prepare`: an experiment of netunicorn's client becomes an Experiment in the user's namespace."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import structlog
from aiohttp import web
from unicorn_core.admission import check_experiment
from unicorn_core.errors import ApiUnavailable, Refused
from unicorn_core.naming import ANNOTATION_NAME, API_VERSION
from unicorn_core.resources import ExperimentSpec, load
from unicorn_store import graphs, mediator
from unicorn_store.mediator import NewMediated

from unicorn_gateway.problems import ProblemError
from unicorn_gateway.user_api.callers import Caller
from unicorn_gateway.user_api.mediator import contexts, orders, texts
from unicorn_gateway.user_api.mediator.environments import environment_spec
from unicorn_gateway.user_api.mediator.experiments import PRIVATE, Experiments
from unicorn_gateway.user_api.mediator.grouping import Grouped, group
from unicorn_gateway.user_api.mediator.messages import Context
from unicorn_gateway.user_api.mediator.names import check_name, new_suffix, resource_name
from unicorn_gateway.user_api.mediator.nodes import CONNECTOR, ENVIRONMENTS, Device, Inventory, may_use
from unicorn_gateway.user_api.mediator.orders import Order, Ordered, Place
from unicorn_gateway.user_api.routing import Call

LARGEST = 1024 * 1024  # bytes of an object; etcd takes half as much again, for managedFields and status
_FEWER = "let more of them share a graph and an environment, shorten their commands, or prepare several experiments"
_SHORTER = "shorten its commands: put them into a script that they fetch, or into an image"
_THREAD_BYTES = 1024 * 1024  # a larger body is read beside the loop
_THREAD_ORDERS = 100  # more are worked on beside the loop
_log = structlog.get_logger(__name__)


class NoConnector(Exception):
    """An order names no connector that there is: the experiment ends with this as its error."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """Where each order runs, or why it cannot."""

    devices: tuple[Device | None, ...]
    refusals: tuple[str, ...]


async def prepare(call: Call, name: str) -> Any:
    """Answers the name, also of one that is taken."""
    caller, api = call.caller, call.api
    check_name(name)
    await api.authorize(caller, "create", "experiments", caller.namespace)
    try:
        authentication = contexts.of_headers(call.request.headers)
        ordered = await _read(await call.body(api.settings.mediator_body_limit))
    except ProblemError as problem:
        if problem.status != 400:
            raise
        said = f"Couldn't parse experiment from the provided data: {problem.detail}"
        return web.json_response({"detail": said}, status=400)
    orders.check(ordered, sudo=caller.sudo)
    contexts.require_small({"deployment": ordered.context, "authentication": authentication})
    experiments = Experiments(api.store, api.kube, caller.namespace)
    if await experiments.find(name) is not None:
        return name
    try:
        digests = await graphs.put_graphs(api.store, caller.namespace, [order.graph for order in ordered.orders])
    except Refused as refused:
        raise texts.declined(str(refused)) from refused
    inventory = await api.catalogue.inventory(caller.namespace)
    inputs = (name, caller, ordered, digests, inventory, api.settings.mediator_base_image)
    large = len(ordered.orders) > _THREAD_ORDERS
    new = await asyncio.to_thread(_new, *inputs) if large else _new(*inputs)
    if new.manifest is not None and authentication:
        new = replace(new, manifest={**new.manifest, PRIVATE: True})
    if await mediator.claim(api.store, new):
        await _make(experiments, name, authentication)
    return name


async def _make(experiments: Experiments, name: str, authentication: Context | None) -> None:
    """What Kubernetes does not take now is made by whoever looks next; but an authentication context is nowhere but here, so
    that one with such a context is undone. Raises ProblemError 400, ApiUnavailable."""
    row = await mediator.by_name(experiments.store, experiments.namespace, name)
    if row is None or row.manifest is None:
        return
    try:
        await experiments.make(row, authentication)
    except ApiUnavailable as error:
        _log.warning("an experiment cannot be made yet", name=name, namespace=experiments.namespace, error=str(error))
        if authentication:
            await experiments.undo(row)
            raise


async def _read(body: bytes) -> Ordered:
    return orders.read(body) if len(body) < _THREAD_BYTES else await asyncio.to_thread(orders.read, body)


def _new(name: str, caller: Caller, ordered: Ordered, digests: Sequence[str], inventory: Inventory, base: str) -> NewMediated:
    """What is recorded of it: with an Experiment to be made, unless it has an unknown connector or all its orders are refused.
    Raises ProblemError 400."""
    resource = resource_name(name, new_suffix())
    manifest, error = None, None
    outcome: list[Place | str]
    try:
        resolved = resolve(ordered, inventory, caller.tags)
    except NoConnector as unknown:
        error = str(unknown)
        outcome = [error for _ in ordered.orders]
    else:
        grouped = _grouped(ordered, resolved, digests, inventory.home, resource, base)
        outcome = [place or refusal for place, refusal in zip(grouped.places, resolved.refusals, strict=True)]
        if not ordered.orders or any(grouped.places):
            manifest = _manifest(name, resource, caller, grouped)
            check_sizes(manifest, len(grouped.spec["deployments"]))
    return NewMediated(
        id=uuid4(),
        namespace=caller.namespace,
        name=name,
        user=caller.kubernetes_user,
        resource=resource,
        orders=orders.keep(ordered, digests, outcome),
        graphs=digests,
        manifest=manifest,
        error=error,
    )


def resolve(ordered: Ordered, inventory: Inventory, tags: frozenset[str]) -> Resolved:
    """Raises NoConnector."""
    devices: list[Device | None] = []
    refusals = []
    for order in ordered.orders:
        kind = ordered.environments[order.environment][0]
        device, refusal = _place(order, kind, inventory, tags)
        devices.append(device)
        refusals.append(refusal)
    return Resolved(tuple(devices), tuple(refusals))


def _place(order: Order, kind: str, inventory: Inventory, tags: frozenset[str]) -> tuple[Device | None, str]:
    name, properties = order.node.name, order.node.properties
    written = properties.get(CONNECTOR)
    if not isinstance(written, str) or not written:
        raise NoConnector(texts.without_connector(name))
    connector = inventory.connector(written)
    if connector is None:
        raise NoConnector(texts.unknown_connector(written))
    device = inventory.device(connector, name)
    if device is None or not may_use(device, tags):
        return None, texts.unknown_node(name, written)
    claimed = properties.get(ENVIRONMENTS)
    if kind not in device.kinds or (isinstance(claimed, list) and kind not in claimed):
        return None, texts.unsupported(name, kind)
    return device, ""


def _grouped(ordered: Ordered, resolved: Resolved, digests: Sequence[str], home: str, resource: str, base: str) -> Grouped:
    architectures: list[set[str]] = [set() for _ in ordered.environments]
    for order, device in zip(ordered.orders, resolved.devices, strict=True):
        if device is not None:
            architectures[order.environment].add(device.architecture)
    specs = [
        environment_spec(kind, environment, found, base)
        for (kind, environment), found in zip(ordered.environments, architectures, strict=True)
    ]
    grouped = group(ordered.orders, resolved.devices, digests, specs, home, resource)
    try:
        problems = check_experiment(load(ExperimentSpec, grouped.spec))
    except Refused as refused:
        problems = refused.problems
    if problems:
        raise texts.declined("; ".join(map(str, problems[:5])))
    return grouped


def check_sizes(manifest: Mapping[str, Any], deployments: int) -> None:
    """`deployments`: how many different ones. Raises ProblemError 400 for what Kubernetes would not keep."""
    if (size := _size(manifest["experiment"])) > LARGEST:
        raise texts.too_large(f"The experiment, with {deployments} different deployments,", size, LARGEST, _FEWER)
    for spec in manifest["environments"].values():
        if (size := _size(spec)) > LARGEST:
            raise texts.too_large("An environment", size, LARGEST, _SHORTER)


def _size(value: Any) -> int:
    return len(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode())


def _manifest(name: str, resource: str, caller: Caller, grouped: Grouped) -> Mapping[str, Any]:
    annotations = {**caller.annotations, ANNOTATION_NAME: name}
    metadata = {"name": resource, "namespace": caller.namespace, "annotations": annotations}
    experiment = {"apiVersion": API_VERSION, "kind": "Experiment", "metadata": metadata, "spec": grouped.spec}
    return {"experiment": experiment, "environments": grouped.environments}
