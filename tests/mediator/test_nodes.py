"""The inventory as pools, and who may have what."""

from uuid import NAMESPACE_OID, uuid5

import pytest
from unicorn_gateway.user_api.mediator.nodes import ConnectorName, Device, Inventory, may_use, pools, taken_by_others
from unicorn_store.mediator import Holding

LAB, SHARED, OTHER = ConnectorName("home", "lab"), ConnectorName("infra", "campus"), ConnectorName("infra", "lab")
SHELL = frozenset({"ShellExecution"})


def device(name: str, connector: ConnectorName = LAB, **more) -> Device:
    return Device(uuid5(NAMESPACE_OID, name), connector, name, kinds=SHELL, **more)


def inventory(*devices: Device, connectors=(LAB, SHARED)) -> Inventory:
    return Inventory("home", tuple(connectors), devices)


def names(pool: dict) -> list:
    return [names(one) if "node_pool_type" in one else one["name"] for one in pool["node_pool_data"]]


def test_a_pool_for_each_connector_the_own_first() -> None:
    found = pools(
        inventory(device("n10"), device("n2"), device("z", SHARED), device("cloud", SHARED, elastic=True, slots=7)),
        frozenset(),
        {},
    )
    assert names(found) == [["n2", "n10"], ["z"], ["cloud-"]]
    assert [one["node_pool_type"] for one in found["node_pool_data"]] == [
        "CountableNodePool",
        "CountableNodePool",
        "UncountableNodePool",
    ]
    assert [one["node_pool_metadata"] for one in found["node_pool_data"]] == [None, None, 7]
    assert found["node_pool_type"] == "CountableNodePool"


def test_a_node_with_its_properties() -> None:
    one = device(
        "n", properties={"location": "lab", "connector": "forged"}, tags=frozenset({"b", "a"}), architecture="linux/arm/v7"
    )
    ((node,),) = (pool["node_pool_data"] for pool in pools(inventory(one), frozenset(), {})["node_pool_data"])
    assert node == {
        "name": "n",
        "properties": {
            "location": "lab",
            "connector": "lab",
            "netunicorn-environments": ["ShellExecution"],
            "netunicorn-access-tags": ["a", "b"],
        },
        "additional_properties": {},
        "architecture": "unknown",
    }


HIDDEN = [
    (device("n"), frozenset(), 0, True, "free"),
    (device("n", ready=False), frozenset(), 0, False, "not ready"),
    (device("n"), frozenset(), 1, False, "locked by others"),
    (device("n", slots=2), frozenset(), 1, True, "one slot is left"),
    (device("n", tags=frozenset({"a"})), frozenset(), 0, True, "a user without tags sees all"),
    (device("n", tags=frozenset({"a"})), frozenset({"b"}), 0, False, "no tag in common"),
    (device("n", tags=frozenset({"a", "b"})), frozenset({"b"}), 0, True, "a tag in common"),
    (device("n"), frozenset({"b"}), 0, True, "no tags on the node"),
    (device("n", elastic=True, slots=3), frozenset(), 3, False, "a pool that is used up"),
]


@pytest.mark.parametrize(("one", "tags", "taken", "seen", "because"), HIDDEN, ids=[row[-1] for row in HIDDEN])
def test_what_is_hidden(one, tags, taken, seen, because) -> None:
    found = pools(inventory(one), tags, {one.uid: taken})["node_pool_data"]
    assert bool(found) is seen, because
    assert seen or not may_use(one, tags) or taken or not one.ready


def test_what_others_have_of_a_pool_is_not_offered() -> None:
    one = device("cloud", elastic=True, slots=10)
    (pool,) = pools(inventory(one), frozenset(), {one.uid: 4})["node_pool_data"]
    assert pool["node_pool_metadata"] == 6


def test_whose_slots_count() -> None:
    a, b = device("a").uid, device("b").uid
    held = [
        Holding(a, 0, "user:netunicorn:ada", None, None),
        Holding(a, 1, "user:netunicorn:bob", None, None),
        Holding(b, 0, "experiment:1", "netunicorn:ada", "home"),
        Holding(b, 1, "experiment:2", "netunicorn:bob", "elsewhere"),
        Holding(b, 2, "orphan:3", None, None),
    ]
    assert taken_by_others(held, "netunicorn:ada", "home") == {a: 1, b: 2}


MEANT = [
    ("lab", (LAB, SHARED), LAB, "lab"),
    ("campus", (LAB, SHARED), SHARED, "campus"),
    ("infra/campus", (LAB, SHARED), SHARED, "campus"),
    ("lab", (LAB, OTHER), LAB, "lab"),
    ("infra/lab", (LAB, OTHER), OTHER, "infra/lab"),
    ("lab", (OTHER, ConnectorName("third", "lab")), None, ""),
    ("nothing", (LAB,), None, ""),
]


@pytest.mark.parametrize(("text", "connectors", "meant", "shown"), MEANT)
def test_which_connector_is_meant(text, connectors, meant, shown) -> None:
    found = inventory(connectors=connectors)
    assert found.connector(text) == meant
    assert meant is None or found.shown(meant) == shown
    assert meant is None or found.connector(found.shown(meant)) == meant, "the name that is shown means the same"


POOL = device("cloud", elastic=True, slots=9)
NAMED = [
    ("n1", "n1"),
    ("cloud", "cloud"),
    ("cloud-1", "cloud"),
    ("cloud-12", "cloud"),
    ("cloud7", "cloud"),
    ("n1-1", None),
    ("x", None),
]


@pytest.mark.parametrize(("name", "expected"), NAMED)
def test_nodes_of_a_pool_are_numbered(name, expected) -> None:
    found = inventory(device("n1"), POOL, device("n1", SHARED)).device(LAB, name)
    assert (found.name if found else None) == expected
    assert found is None or found.connector == LAB


class Counted(tuple):
    """Counts how often somebody goes through all of it."""

    passes = 0

    def __iter__(self):
        Counted.passes += 1
        return super().__iter__()


def test_a_node_is_found_without_a_look_at_all_the_others() -> None:
    """Ten thousand nodes are asked for ten thousand times."""
    connectors = Counted(ConnectorName("home", f"c{index}") for index in range(20))
    devices = Counted(device(f"n{index}", connectors[index % 20]) for index in range(200))
    found = Inventory("home", connectors, devices)
    Counted.passes = 0
    for index in range(200):
        connector = found.connector(f"c{index % 20}")
        assert connector is not None
        assert found.device(connector, f"n{index}") is devices[index]
        assert found.shown(connector) == connector.name
    assert Counted.passes == 0
    assert len(pools(found, frozenset(), {})["node_pool_data"]) == 20
    assert Counted.passes == 2, "once through all nodes, however many connectors there are"
