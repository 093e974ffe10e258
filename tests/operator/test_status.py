"""Statuses: what counts as a change, what keeps its time, what is never overwritten."""

from datetime import UTC, datetime

import pytest
from unicorn_core.errors import Conflict
from unicorn_core.naming import FINALIZER
from unicorn_kube.resource import CONNECTORS
from unicorn_operator import finalizers
from unicorn_operator.cache import Caches
from unicorn_operator.key import Key
from unicorn_operator.queue import WorkQueue
from unicorn_operator.status import condition, merged, write_status

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
LATER = datetime(2026, 11, 22, 13, tzinfo=UTC)


def conditions(now, *entries, old=None):
    return merged(old or {}, {"conditions": list(entries)}, 1, now)["conditions"]


def test_a_condition_keeps_its_time_until_its_status_changes():
    old = {"conditions": conditions(NOON, condition("Ready", True, "Available"))}
    assert old["conditions"][0]["lastTransitionTime"] == "2026-11-22T12:00:00Z"
    (same,) = conditions(LATER, condition("Ready", True, "WrittenByHand", "a new reason"), old=old)
    assert same["lastTransitionTime"] == "2026-11-22T12:00:00Z"
    assert same["reason"] == "WrittenByHand"
    (changed,) = conditions(LATER, condition("Ready", False, "NotSeen"), old=old)
    assert changed["lastTransitionTime"] == "2026-11-22T13:00:00Z"


def test_unknown_is_a_status_of_its_own():
    assert condition("Ready", None, "Checking")["status"] == "Unknown"


def test_messages_are_plain_text():
    assert condition("Ready", False, "Broken", "red\x1b[31m\x00 alert")["message"] == "red[31m alert"
    assert "message" not in condition("Ready", True, "Available")


class AWorld:
    """As much of it as writing a status needs."""

    def __init__(self, kube):
        self.kube, self.caches, self.queue = kube, Caches(), WorkQueue()
        self.now = lambda: NOON


@pytest.mark.cluster
class TestOnTheApi:
    async def test_a_status_is_written_once_and_whole(self, kube, lab):
        world = AWorld(kube)
        item = await lab.connector()
        status = {"conditions": [condition("Healthy", True, "Reachable")], "nodes": {"total": 1, "ready": 1, "leased": 0}}
        assert await write_status(world, "Connector", item, status)
        written = world.caches.connectors.get(lab.namespace, "campus")
        assert written["status"]["observedGeneration"] == 1
        assert not await write_status(world, "Connector", written, status), "nothing changed"
        assert (await lab.get(CONNECTORS, "campus"))["metadata"]["resourceVersion"] == written["metadata"]["resourceVersion"]
        assert await write_status(world, "Connector", written, {"conditions": []})
        assert "nodes" not in (await lab.get(CONNECTORS, "campus"))["status"], "what is not said any more goes"

    async def test_over_a_newer_version_nothing_is_written_and_the_key_comes_back(self, kube, lab):
        world = AWorld(kube)
        old = await lab.connector()
        await lab.connector(config={"nodes": 2})
        assert not await write_status(world, "Connector", old, {"conditions": []})
        assert await world.queue.get() == Key("Connector", lab.namespace, "campus")
        assert "status" not in await lab.get(CONNECTORS, "campus")

    async def test_an_object_that_is_gone_is_not_made_again(self, kube, lab):
        world = AWorld(kube)
        item = await lab.connector()
        await kube.delete(CONNECTORS, lab.namespace, "campus")
        assert not await write_status(world, "Connector", item, {"conditions": []})
        another = await lab.connector()
        assert not await write_status(world, "Connector", item, {"conditions": []}), "a new one of that name is another object"
        assert "status" not in await lab.get(CONNECTORS, "campus")
        assert another["metadata"]["uid"] != item["metadata"]["uid"]

    async def test_finalizers_never_overwrite(self, kube, lab):
        item = await lab.connector()
        foreign = await kube.patch_merge(CONNECTORS, lab.namespace, "campus", {"metadata": {"finalizers": ["example.org/x"]}})
        with pytest.raises(Conflict):
            await finalizers.add(kube, CONNECTORS, item)
        ours = await finalizers.add(kube, CONNECTORS, foreign)
        assert ours["metadata"]["finalizers"] == ["example.org/x", FINALIZER]
        assert await finalizers.add(kube, CONNECTORS, ours) is ours
        with pytest.raises(Conflict):
            await finalizers.remove(kube, CONNECTORS, {**foreign, "metadata": {**ours["metadata"], "resourceVersion": "1"}})
        assert await finalizers.remove(kube, CONNECTORS, ours)
        left = await lab.get(CONNECTORS, "campus")
        assert left["metadata"]["finalizers"] == ["example.org/x"]
        assert not await finalizers.remove(kube, CONNECTORS, left)
