"""Which TargetNodes a connector has, and what their status says: pure decisions."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from unicorn_core.connector import DiscoveredNode, Health
from unicorn_core.resources import TargetNodeSpec, load
from unicorn_operator.inventory import Inventory
from unicorn_operator.reconcilers.node_objects import body_of, object_name, plan_sync
from unicorn_operator.reconcilers.node_status import View, readiness, status_of
from unicorn_store.nodes import Usage

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
CONNECTOR = {"metadata": {"name": "campus", "namespace": "lab", "uid": "u"}}
UP = Inventory(NOON, Health(True), 0, NOON, {"rpi-1": DiscoveredNode("rpi-1", properties={"a": 1, "b": 1})}, NOON)
NOBODY = Usage()
ORPHAN = Usage(orphans=1, orphaned_slots=1, orphan_executors=("x",))


@pytest.mark.parametrize(
    ("connector", "node", "expected"),
    [
        ("campus", "rpi-1", "campus.rpi-1"),
        ("campus", "rpi-1.lab.example", "campus.rpi-1.lab.example"),
        ("campus", "RPi 1", None),
        ("a.b", "c", None),
        ("a", "b.c", "a.b.c"),
        ("campus", "x" * 253, None),
        ("campus", "10.0.0.1/24", None),
        ("campus", "ß", None),
    ],
)
def test_names_of_discovered_nodes(connector, node, expected):
    name = object_name(connector, node)
    assert name == object_name(connector, node), "the same again"
    assert len(name) <= 253
    assert expected in (None, name)


def test_no_two_nodes_share_a_name():
    pairs = [("a.b", "c"), ("a", "b.c"), ("a-b", "c"), ("a", "b-c"), ("a", "B-c"), ("a", "b_c"), ("a", "b c")]
    assert len({object_name(*pair) for pair in pairs}) == len(pairs)


def existing(node, owner="u", **spec):
    item = body_of(CONNECTOR, node)
    item["spec"] |= spec
    item["metadata"]["ownerReferences"][0]["uid"] = owner
    return item


def test_discovery_makes_what_is_missing_and_changes_what_differs():
    same, other, new = (DiscoveredNode(name) for name in ("same", "other", "new"))
    there = [existing(same, unschedulable=True, propertyOverrides={"a": 1}), existing(other, capacity=4)]
    plan = plan_sync(CONNECTOR, {node.name: node for node in (same, other, new)}, there)
    assert [body["spec"]["nodeName"] for body in plan.apply] == ["other", "new"]
    assert plan.gone == plan.taken == ()


def test_discovery_never_touches_what_a_person_wrote():
    node, lost = DiscoveredNode("rpi", capacity=5), DiscoveredNode("lost")
    mine = existing(node, owner="nobody", capacity=1)
    plan = plan_sync(CONNECTOR, {"rpi": node}, [mine, existing(lost, owner="nobody")])
    assert plan.apply == plan.gone == ()


def test_a_node_that_is_listed_no_more_is_gone():
    plan = plan_sync(CONNECTOR, {}, [existing(DiscoveredNode("rpi"))])
    assert [item["spec"]["nodeName"] for item in plan.gone] == ["rpi"]


def test_a_node_that_is_being_deleted_is_left_alone():
    node = DiscoveredNode("rpi", capacity=5)
    item = existing(node, capacity=1)
    item["metadata"]["deletionTimestamp"] = "now"
    assert plan_sync(CONNECTOR, {"rpi": node}, [item]).apply == ()


def test_pools_and_limits():
    assert body_of(CONNECTOR, DiscoveredNode("pool", elastic_max=10**9))["spec"]["elastic"] == {"max": 100_000}
    assert body_of(CONNECTOR, DiscoveredNode("zero", capacity=0))["spec"]["capacity"] == 1


def a_view(**changes):
    spec = load(TargetNodeSpec, {"connectorRef": {"name": "campus"}, "nodeName": "rpi-1", **changes.pop("spec", {})})
    values = {"discovered_by": True, "deleting": False, "connector": "Present", "inventory": UP, "usage": NOBODY}
    return View(spec, **{**values, **changes})


def down(failures, contact=NOON):
    return Inventory(NOON, Health(False, "Unreachable", "no route"), failures, contact, UP.nodes, NOON)


@pytest.mark.parametrize(
    ("view", "ready", "reason"),
    [
        (a_view(), True, "Available"),
        (a_view(deleting=True), False, "Deleting"),
        (a_view(connector="Absent"), False, "ConnectorNotFound"),
        (a_view(connector="Deleting"), False, "Deleting"),
        (a_view(usage=ORPHAN), False, "OrphanedExecutor"),
        (a_view(usage=ORPHAN, spec={"capacity": 2}), True, "Available"),
        (a_view(usage=ORPHAN, spec={"elastic": {"max": 9}}), True, "Available"),
        (a_view(usage=replace(ORPHAN, orphaned_slots=2), spec={"capacity": 2}), False, "OrphanedExecutor"),
        (a_view(usage=replace(ORPHAN, orphans=2), spec={"capacity": 2}), True, "Available"),
        (a_view(usage=ORPHAN, deleting=True), False, "Deleting"),
        (a_view(inventory=None), None, "Checking"),
        (a_view(inventory=down(1)), True, "Available"),
        (a_view(inventory=down(2)), False, "ConnectorUnhealthy"),
        (a_view(inventory=down(1, contact=None)), False, "ConnectorUnhealthy"),
        (a_view(inventory=Inventory(NOON, Health(True), 0, NOON)), None, "Checking"),
        (a_view(spec={"nodeName": "rpi-2"}), False, "NotSeen"),
        (a_view(spec={"nodeName": "rpi-2"}, discovered_by=False), False, "NotSeen"),
        (a_view(spec={"nodeName": "rpi-2", "address": "10.0.0.1"}, discovered_by=False), True, "WrittenByHand"),
        (a_view(spec={"unschedulable": True}), False, "Unschedulable"),
    ],
)
def test_readiness(view, ready, reason):
    assert readiness(view)[:2] == (ready, reason)


@pytest.mark.parametrize("changes", [{"spec": {"capacity": 2}}, {}, {"deleting": True}])
def test_orphans_are_told_of_wherever_they_are(changes):
    message = readiness(a_view(usage=ORPHAN, **changes))[2]
    assert "executor x" in message
    assert "netunicorn.io/release-orphans" in message


def test_overrides_win_over_discovered_properties():
    assert status_of(a_view(spec={"propertyOverrides": {"b": 2, "c": 3}}), {})["properties"] == {"a": 1, "b": 2, "c": 3}


def test_what_discovery_cannot_say_now_stays_as_it_was():
    old = {"architecture": "linux/arm64", "environments": ["Shell"], "properties": {"a": 9}, "lastContactTime": "before"}
    status = status_of(a_view(connector="Absent", inventory=None), old)
    assert {key: status[key] for key in old} == old
