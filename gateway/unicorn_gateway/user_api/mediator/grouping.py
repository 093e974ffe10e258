"""Orders as deployments of an Experiment: equal ones are one on many nodes, so that thousands fit into one object. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from unicorn_core.durations import format_duration

from unicorn_gateway.user_api.mediator.nodes import ConnectorName, Device
from unicorn_gateway.user_api.mediator.orders import Order, Place

# As netunicorn does: what cannot be had fails alone, nobody waits for anybody, and any number may fail.
_TERMS: Mapping[str, Any] = {
    "desiredState": "Ready",
    "allocation": {"mode": "BestEffort", "whenBusy": "Fail", "share": "SameUser"},
    "start": {"together": False, "quorum": "0%"},
    "failurePolicy": {"tolerate": "100%"},
    "deadlines": {"run": "8760h"},  # netunicorn knows none; each executor has its keep-alive
}
_SHORTEST = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Grouped:
    """`places`: for each order, in their order, the executor that runs it; None for a refused one."""

    spec: dict[str, Any]
    environments: dict[str, dict[str, Any]]  # resource name -> spec, of those that several deployments share
    places: tuple[Place | None, ...]


def group(
    orders: Sequence[Order],
    devices: Sequence[Device | None],
    digests: Sequence[str],
    environments: Sequence[Mapping[str, Any]],
    home: str,
    resource: str,
) -> Grouped:
    """`devices`: where each order runs, None for a refused one. `environments`: the specs that the orders point to.
    `resource`: the Experiment's name, with which the Environments' names begin."""
    nodes: dict[tuple[Any, ...], list[str]] = {}
    numbers: dict[tuple[Any, ...], int] = {}
    places: list[Place | None] = []
    for order, device, digest in zip(orders, devices, digests, strict=True):
        if device is None:
            places.append(None)
            continue
        key = (digest, order.environment, order.keep_alive_minutes, order.cleanup, device.connector)
        number = numbers.setdefault(key, len(numbers) + 1)
        names = nodes.setdefault(key, [])
        places.append(Place(f"d{number}", len(names)))
        names.append(device.name)
    uses = Counter(key[1] for key in nodes)
    shared = {index: f"{resource}-env-{index + 1}" for index in range(len(environments)) if uses[index] > 1}
    deployments = [
        {
            "name": f"d{numbers[key]}",
            "nodes": {"connectorRef": _reference(connector, home), "names": names},
            **(
                {"environmentRef": {"name": shared[environment]}}
                if environment in shared
                else {"environment": dict(environments[environment])}
            ),
            "pipeline": {"serialized": {"sha256": digest}},
            "keepAlive": format_duration(max(_SHORTEST, timedelta(minutes=minutes))),
            "cleanup": cleanup,
        }
        for key, names in nodes.items()
        for digest, environment, minutes, cleanup, connector in [key]
    ]
    return Grouped(
        spec={**_TERMS, "deployments": deployments},
        environments={name: dict(environments[index]) for index, name in shared.items()},
        places=tuple(places),
    )


def _reference(connector: ConnectorName, home: str) -> dict[str, str]:
    own = connector.namespace == home
    return {"name": connector.name} if own else {"name": connector.name, "namespace": connector.namespace}
