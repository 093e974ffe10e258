"""What a client orders with `prepare`: read from its JSON, checked, and kept as JSON for the answers. Pure."""

import base64
import binascii
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unicorn_gateway import bodies
from unicorn_gateway.problems import ProblemError
from unicorn_gateway.user_api.mediator import texts
from unicorn_gateway.user_api.mediator.messages import Context, Deployment, Environment, EnvironmentKind, Experiment, Node

OURS = ("NETUNICORN_EXECUTOR_ID", "NETUNICORN_EXPERIMENT_ID")  # set by the server, whatever the user wrote


@dataclass(frozen=True, slots=True)
class Place:
    """Which executor of the Experiment runs an order."""

    deployment: str
    index: int


@dataclass(frozen=True, slots=True)
class Order:
    node: Node
    executor_id: str
    graph: bytes
    environment: int  # which of the orders' environments
    keep_alive_minutes: float
    cleanup: bool


@dataclass(frozen=True, slots=True)
class Ordered:
    """`environments`: the different ones, each once."""

    orders: tuple[Order, ...]
    environments: tuple[tuple[EnvironmentKind, Environment], ...]
    context: Context | None


@dataclass(frozen=True, slots=True)
class KeptOrder:
    """An order as it was kept. `place` null: it was refused, for `refusal`."""

    node: Mapping[str, Any]
    environment: int
    graph: str  # digest
    keep_alive_minutes: float
    cleanup: bool
    place: Place | None
    refusal: str


@dataclass(frozen=True, slots=True)
class Kept:
    orders: tuple[KeptOrder, ...]
    environments: tuple[tuple[str, Mapping[str, Any]], ...]
    context: Mapping[str, Any] | None


def read(body: bytes) -> Ordered:
    """Raises ProblemError 400."""
    experiment = bodies.parse(body, Experiment)
    kinds: dict[tuple[str, str], int] = {}
    environments: list[tuple[EnvironmentKind, Environment]] = []
    orders = []
    for position, deployment in enumerate(experiment.deployment_map):
        kind, environment = deployment.environment_definition_type, _without_ours(deployment.environment_definition)
        key = (kind, environment.model_dump_json())
        if key not in kinds:
            kinds[key] = len(environments)
            environments.append((kind, environment))
        orders.append(_order(deployment, position, kinds[key]))
    bodies.require_json([order.node.model_dump() for order in orders])
    bodies.require_json(experiment.deployment_context)
    return Ordered(tuple(orders), tuple(environments), experiment.deployment_context)


def _without_ours(environment: Environment) -> Environment:
    """An experiment that was read back bears each executor's id in its variables: equal environments must stay equal."""
    runtime = environment.runtime_context
    if not any(name in runtime.environment_variables for name in OURS):
        return environment
    variables = {name: value for name, value in runtime.environment_variables.items() if name not in OURS}
    return environment.model_copy(update={"runtime_context": runtime.model_copy(update={"environment_variables": variables})})


def _order(deployment: Deployment, position: int, environment: int) -> Order:
    try:
        graph = base64.b64decode(deployment.execution_graph, validate=True)
    except (binascii.Error, ValueError) as error:
        where = f"deployment_map.{position}.execution_graph"
        raise ProblemError(400, "Malformed", f"{where}: not base64") from error
    return Order(
        node=deployment.node,
        executor_id=deployment.executor_id,
        graph=graph,
        environment=environment,
        keep_alive_minutes=deployment.keep_alive_timeout_minutes,
        cleanup=deployment.cleanup,
    )


def check(ordered: Ordered, *, sudo: bool) -> None:
    """What netunicorn refuses before anything else. Raises ProblemError 400 with its texts."""
    seen = set()
    for order in ordered.orders:
        if order.executor_id and order.executor_id in seen:
            raise texts.executor_given_twice(order.executor_id)
        seen.add(order.executor_id)
    for kind, environment in ordered.environments:
        runtime = environment.runtime_context
        if runtime.additional_arguments and not sudo:
            raise texts.declined(texts.NO_ADDITIONAL_ARGUMENTS)
        if any(not _is_port(port) for pair in runtime.ports_mapping.items() for port in pair):
            raise texts.declined(texts.PORTS)
        if any(_has_spaces(text) for pair in runtime.environment_variables.items() for text in pair):
            raise texts.declined(texts.SPACES)
        if runtime.network is not None and _has_spaces(runtime.network):
            raise texts.declined(texts.NETWORK)
        if kind == "DockerImage" and environment.image is None and environment.build_context is None:
            raise ProblemError(400, "Malformed", "a DockerImage without an image needs a build_context")


def _is_port(value: Any) -> bool:
    """A number, or a text of one, as JSON's keys are. Neither Infinity nor 80.5 is a port."""
    try:
        port = int(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return 1 <= port <= 65535 and (isinstance(value, str) or port == value)


def _has_spaces(text: str) -> bool:
    return any(one.isspace() or not one.isprintable() for one in text)


def keep(ordered: Ordered, digests: Sequence[str], outcome: Sequence[Place | str]) -> dict[str, Any]:
    """The orders as JSON: with each either the executor that runs it, or why it was refused."""
    return {
        "context": ordered.context,
        "environments": [[kind, _definition(kind, environment)] for kind, environment in ordered.environments],
        "deployments": [
            {
                "node": order.node.model_dump(),
                "environment": order.environment,
                "graph": digest,
                "keepAlive": order.keep_alive_minutes,
                "cleanup": order.cleanup,
                **({"refusal": place} if isinstance(place, str) else {"place": [place.deployment, place.index]}),
            }
            for order, digest, place in zip(ordered.orders, digests, outcome, strict=True)
        ],
    }


def kept(document: Mapping[str, Any]) -> Kept:
    """The opposite of `keep`."""
    return Kept(
        orders=tuple(_kept_orders(document["deployments"])),
        environments=tuple((kind, definition) for kind, definition in document["environments"]),
        context=document["context"],
    )


def _kept_orders(documents: Sequence[Mapping[str, Any]]) -> Iterator[KeptOrder]:
    for one in documents:
        place = one.get("place")
        yield KeptOrder(
            node=one["node"],
            environment=one["environment"],
            graph=one["graph"],
            keep_alive_minutes=one["keepAlive"],
            cleanup=one["cleanup"],
            place=Place(*place) if place else None,
            refusal=one.get("refusal", ""),
        )


def _definition(kind: EnvironmentKind, environment: Environment) -> dict[str, Any]:
    runtime: dict[str, Any] = json.loads(environment.runtime_context.model_dump_json())
    definition: dict[str, Any] = {"commands": environment.commands, "runtime_context": runtime}
    if kind == "DockerImage":
        build = environment.build_context
        definition["image"] = environment.image
        definition["build_context"] = {
            "python_version": build.python_version if build else "",
            "cloudpickle_version": build.cloudpickle_version if build else None,
        }
    return definition
