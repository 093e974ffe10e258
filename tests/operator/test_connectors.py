"""Connectors and their TargetNodes, on a real API server and database, with the fake deployment system."""

import base64

import pytest
from unicorn_connectors import fake
from unicorn_core.connector import Health
from unicorn_core.errors import Broken, NotFound
from unicorn_core.naming import FINALIZER
from unicorn_kube.resource import CONNECTORS, EVENTS, SECRETS, TARGET_NODES

from .conftest import condition, eventually

pytestmark = [pytest.mark.cluster, pytest.mark.database]


async def gone(lab, resource, name):
    async def check():
        try:
            await lab.get(resource, name)
        except NotFound:
            return True
        return False

    await eventually(check, f"{name} is gone")


async def test_a_connectors_nodes_become_target_nodes(lab, lead):
    async with lead():
        await lab.connector(config={"nodes": 2, "elastic": 7, "properties": {"location": "lab"}})
        connector = await lab.reaches(CONNECTORS, "campus", "InventorySynced", "True", "Synced")
        assert condition(connector, "Healthy") == ("True", "Reachable")
        assert FINALIZER in connector["metadata"]["finalizers"]
        node = await lab.reaches(TARGET_NODES, "campus.fake-1", "Ready", "True", "Available")
        assert await lab.names(TARGET_NODES) == ["campus.fake-0", "campus.fake-1", "campus.fake-pool"]
        assert node["spec"] == {"connectorRef": {"name": "campus"}, "nodeName": "fake-1", "capacity": 1}
        assert node["status"]["properties"] == {"index": 1, "location": "lab"}
        assert node["status"]["architecture"] == "linux/amd64"
        assert node["status"]["observedGeneration"] == 1
        assert node["metadata"]["ownerReferences"][0]["uid"] == connector["metadata"]["uid"]
        assert node["metadata"]["finalizers"] == [FINALIZER]
        assert (await lab.get(TARGET_NODES, "campus.fake-pool"))["spec"]["elastic"] == {"max": 7}

        async def counted():
            return (await lab.get(CONNECTORS, "campus"))["status"]["nodes"] == {"total": 3, "ready": 3, "leased": 0}

        await eventually(counted, "the connector counts its nodes")


async def test_nothing_is_written_while_nothing_changes(lab, lead):
    async with lead() as leader:
        await lab.connector(config={"nodes": 2})
        await lab.reaches(CONNECTORS, "campus", "InventorySynced", "True")

        async def settled():
            return (await lab.get(CONNECTORS, "campus"))["status"].get("nodes") == {"total": 2, "ready": 2, "leased": 0}

        await eventually(settled, "all is known of its nodes")
        looks = fake.world(f"{lab.namespace}/campus").calls

        async def looked(times):
            async def check():
                return looks["discover"] >= times

            await eventually(check, f"{times} discoveries")

        await looked(looks["discover"] + 2)
        before = {item["metadata"]["name"]: item for item in (await lab.kube.list(TARGET_NODES, lab.namespace)).items}
        connector = await lab.get(CONNECTORS, "campus")
        await looked(looks["discover"] + 3)
        after = {item["metadata"]["name"]: item for item in (await lab.kube.list(TARGET_NODES, lab.namespace)).items}
        assert before == after
        assert connector == await lab.get(CONNECTORS, "campus")
        assert leader.health.is_ready()


async def test_what_discovery_says_anew_is_taken_over_and_what_a_person_set_stays(lab, lead):
    async with lead():
        await lab.connector(config={"nodes": 1, "properties": {"location": "lab"}})
        await lab.reaches(TARGET_NODES, "campus.fake-0", "Ready", "True")
        await lab.kube.patch_merge(
            TARGET_NODES,
            lab.namespace,
            "campus.fake-0",
            {"spec": {"unschedulable": True, "propertyOverrides": {"location": "roof"}}},
        )
        await lab.connector(config={"nodes": 1, "capacity": 3, "properties": {"location": "cellar", "floor": 0}})
        node = await lab.reaches(TARGET_NODES, "campus.fake-0", "Ready", "False", "Unschedulable")

        async def taken_over():
            node = await lab.get(TARGET_NODES, "campus.fake-0")
            assert node["spec"]["unschedulable"] is True
            return node["spec"]["capacity"] == 3 and node["status"]["properties"]["floor"] == 0

        await eventually(taken_over, "the new capacity and properties are there")
        node = await lab.get(TARGET_NODES, "campus.fake-0")
        assert node["status"]["properties"] == {"index": 0, "location": "roof", "floor": 0}


async def test_a_node_that_discovery_lists_no_more_is_marked_and_then_deleted(lab, lead):
    async with lead():
        await lab.connector(config={"nodes": 2})
        await lab.reaches(TARGET_NODES, "campus.fake-1", "Ready", "True")
        await lab.connector(config={"nodes": 1})
        await lab.reaches(TARGET_NODES, "campus.fake-1", "Ready", "False", "NotSeen")
        await gone(lab, TARGET_NODES, "campus.fake-1")
        assert await lab.names(TARGET_NODES) == ["campus.fake-0"]


async def test_a_wrong_config_says_so_and_leaves_others_alone(lab, lead):
    async with lead():
        await lab.connector("bad", config={"nodez": 3})
        await lab.connector("unknown", type="nonsense")
        await lab.connector("forbidden", type="local")
        await lab.connector("good", config={"nodes": 1})
        bad = await lab.reaches(CONNECTORS, "bad", "Healthy", "False", "Invalid")
        message = bad["status"]["conditions"][0]["message"]
        assert message.startswith("spec.config.nodez"), message
        await lab.reaches(CONNECTORS, "unknown", "Healthy", "False", "UnknownConnectorType")
        await lab.reaches(CONNECTORS, "forbidden", "Healthy", "False", "NotPermitted")
        await lab.reaches(CONNECTORS, "good", "InventorySynced", "True")

        async def told():  # after the status
            said = {event["reason"] for event in (await lab.kube.list(EVENTS, lab.namespace)).items}
            return said >= {"Invalid", "UnknownConnectorType"}

        await eventually(told, "events say so as well")
        await lab.connector("bad", config={"nodes": 1})
        await lab.reaches(CONNECTORS, "bad", "Healthy", "True")


async def test_an_outage_of_the_system_shows_and_passes(lab, lead):
    world = fake.world(f"{lab.namespace}/campus")
    async with lead():
        await lab.connector(config={"nodes": 1})
        await lab.reaches(TARGET_NODES, "campus.fake-0", "Ready", "True")
        world.health = Health(False, "Unreachable", "no route to host")
        await lab.reaches(CONNECTORS, "campus", "Healthy", "False", "Unreachable")
        await lab.reaches(TARGET_NODES, "campus.fake-0", "Ready", "False", "ConnectorUnhealthy")
        world.health = Health(True)
        world.fail("discover", Broken("the inventory is locked"), times=None)
        await lab.reaches(CONNECTORS, "campus", "InventorySynced", "False", "DiscoveryFailed")
        world.faults.clear()
        await lab.reaches(CONNECTORS, "campus", "InventorySynced", "True")
        node = await lab.reaches(TARGET_NODES, "campus.fake-0", "Ready", "True")
        assert node["status"]["properties"] == {"index": 0}


async def test_a_foreign_error_in_a_connector_stays_with_it(lab, lead):
    world = fake.world(f"{lab.namespace}/campus")
    world.fail("discover", ZeroDivisionError("a fault of the connector's author"), times=None)
    async with lead():
        await lab.connector(config={"nodes": 1})
        await lab.connector("good", config={"nodes": 1})
        await lab.reaches(CONNECTORS, "campus", "InventorySynced", "False", "DiscoveryFailed")
        await lab.reaches(CONNECTORS, "good", "InventorySynced", "True")


async def test_credentials_come_change_and_go(lab, lead):
    def secret(text):
        data = {"password": base64.b64encode(text.encode()).decode()}
        metadata = {"name": "key", "namespace": lab.namespace}
        return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}

    async with lead():
        await lab.connector(credentialsSecretRef={"name": "key"})
        await lab.reaches(CONNECTORS, "campus", "Healthy", "False", "SecretNotFound")
        await lab.kube.apply(SECRETS, secret("one"), "test")
        await lab.reaches(CONNECTORS, "campus", "Healthy", "True")
        assert FINALIZER in (await lab.get(SECRETS, "key"))["metadata"]["finalizers"]
        world = fake.world(f"{lab.namespace}/campus")
        before = list(world.listeners)
        await lab.kube.apply(SECRETS, secret("two"), "test")

        async def made_anew():
            return world.listeners and world.listeners != before

        await eventually(made_anew, "a connector with the new credentials, and the old one closed")
        await lab.kube.delete(SECRETS, lab.namespace, "key")
        await lab.reaches(CONNECTORS, "campus", "Healthy", "False", "SecretBeingDeleted")
        await lab.kube.delete(CONNECTORS, lab.namespace, "campus")
        await gone(lab, SECRETS, "key")
        await gone(lab, CONNECTORS, "campus")


async def test_an_unused_connector_goes_at_once_and_its_nodes_with_it(lab, lead):
    async with lead():
        await lab.connector(config={"nodes": 2})
        await lab.reaches(TARGET_NODES, "campus.fake-1", "Ready", "True")
        await lab.kube.delete(CONNECTORS, lab.namespace, "campus")
        await gone(lab, CONNECTORS, "campus")
        await gone(lab, TARGET_NODES, "campus.fake-0")  # by the garbage collector and our finalizer


async def test_hand_written_nodes(lab, lead):
    async with lead():
        spec = {"connectorRef": {"name": "campus"}, "nodeName": "rpi-9", "address": "10.0.0.9"}
        await lab.apply("TargetNode", TARGET_NODES, "by-address", spec)
        await lab.reaches(TARGET_NODES, "by-address", "Ready", "False", "ConnectorNotFound")
        await lab.apply("TargetNode", TARGET_NODES, "mine", {**spec, "nodeName": "fake-0", "accessTags": ["team-a"]})
        await lab.apply("TargetNode", TARGET_NODES, "nowhere", {"connectorRef": {"name": "campus"}, "nodeName": "moon"})
        await lab.connector(config={"nodes": 2})
        await lab.reaches(TARGET_NODES, "by-address", "Ready", "True", "WrittenByHand")
        mine = await lab.reaches(TARGET_NODES, "mine", "Ready", "True", "Available")
        assert mine["status"]["properties"] == {"index": 0}
        assert FINALIZER in mine["metadata"]["finalizers"]
        await lab.reaches(TARGET_NODES, "nowhere", "Ready", "False", "NotSeen")
        await lab.reaches(TARGET_NODES, "campus.fake-1", "Ready", "True")
        assert "campus.fake-0" not in await lab.names(TARGET_NODES), "the hand-written one stands for that node"
