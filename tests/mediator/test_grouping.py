"""Orders as deployments: equal ones together, and the whole thing small enough for one object."""

import base64
import json
from uuid import NAMESPACE_OID, uuid5

from orders_kit import SHELL, body, deployment, graph, on
from unicorn_core.admission import check_experiment
from unicorn_core.resources import ExperimentSpec, load
from unicorn_gateway.user_api.mediator import orders
from unicorn_gateway.user_api.mediator.grouping import Grouped, group
from unicorn_gateway.user_api.mediator.nodes import ConnectorName, Device
from unicorn_gateway.user_api.mediator.orders import Place

LAB, SHARED = ConnectorName("home", "lab"), ConnectorName("infra", "campus")
SPEC = {"agent": "Native", "runtime": {}, "shell": {"commands": []}}
ETCD = 1536 * 1024


def device(name: str, connector: ConnectorName = LAB) -> Device:
    return Device(uuid5(NAMESPACE_OID, name), connector, name)


def grouped(sent: list[dict], devices: list[Device | None]) -> Grouped:
    ordered = orders.read(body(*sent))
    digests = [order.graph.hex().zfill(64)[-64:] for order in ordered.orders]
    found = group(ordered.orders, devices, digests, [SPEC for _ in ordered.environments], "home", "speed-12345678")
    assert check_experiment(load(ExperimentSpec, found.spec)) == []
    return found


def test_equal_orders_are_one_deployment() -> None:
    sent = [deployment(node=on(f"n{index}")) for index in range(3)]
    found = grouped(sent, [device("n0"), device("n1"), device("n2")])
    (one,) = found.spec["deployments"]
    assert one["nodes"] == {"connectorRef": {"name": "lab"}, "names": ["n0", "n1", "n2"]}
    assert (one["name"], one["keepAlive"], one["cleanup"], one["environment"]) == ("d1", "10m", True, SPEC)
    assert found.places == (Place("d1", 0), Place("d1", 1), Place("d1", 2))
    assert found.environments == {}


def test_what_differs_is_a_deployment_of_its_own() -> None:
    two = graph(b"another")
    sent = [
        deployment(),
        deployment(execution_graph=two),
        deployment(keep_alive_timeout_minutes=0.5),
        deployment(cleanup=False),
        deployment(environment_definition={**SHELL, "commands": ["x"]}),
        deployment(),
        deployment(execution_graph=two),
        deployment(),
    ]
    devices = [*[device(f"n{index}") for index in range(7)], device("far", SHARED)]
    found = grouped(sent, devices)
    assert [place and (place.deployment, place.index) for place in found.places] == [
        ("d1", 0), ("d2", 0), ("d3", 0), ("d4", 0), ("d5", 0), ("d1", 1), ("d2", 1), ("d6", 0)
    ]  # fmt: skip
    deployments = {one["name"]: one for one in found.spec["deployments"]}
    assert deployments["d3"]["keepAlive"] == "30s"
    assert deployments["d6"]["nodes"] == {"connectorRef": {"name": "campus", "namespace": "infra"}, "names": ["far"]}
    assert deployments["d1"]["environmentRef"] == {"name": "speed-12345678-env-1"}, "an environment of several is written once"
    assert deployments["d5"]["environment"] == SPEC
    assert found.environments == {"speed-12345678-env-1": SPEC}


def test_refused_orders_have_no_place_and_a_node_may_be_named_twice() -> None:
    found = grouped([deployment(), deployment(), deployment()], [device("n"), None, device("n")])
    assert found.places == (Place("d1", 0), None, Place("d1", 1))
    assert found.spec["deployments"][0]["nodes"]["names"] == ["n", "n"]
    assert grouped([deployment()], [None]).spec["deployments"] == []


def test_a_thousand_different_graphs_fit_into_one_object() -> None:
    content = [f"{index} {'x' * 20_000}".encode() for index in range(1000)]
    sent = [
        deployment(node=on(f"raspberry-pi-{index}"), execution_graph=base64.b64encode(one).decode())
        for index, one in enumerate(content)
    ]
    ordered = orders.read(body(*sent))
    digests = [f"{index:064x}" for index in range(1000)]
    devices = [device(f"raspberry-pi-{index}", SHARED) for index in range(1000)]
    found = group(ordered.orders, devices, digests, [SPEC], "home", "speed-12345678")
    assert check_experiment(load(ExperimentSpec, found.spec)) == []
    assert len(json.dumps(found.spec)) < ETCD / 4, "room for defaults and for managedFields"


def test_the_terms_are_netunicorns() -> None:
    spec = grouped([deployment()], [device("n")]).spec
    assert spec["desiredState"] == "Ready"
    assert spec["allocation"] == {"mode": "BestEffort", "whenBusy": "Fail", "share": "SameUser"}
    assert spec["start"] == {"together": False, "quorum": "0%"}
    assert spec["failurePolicy"] == {"tolerate": "100%"}
