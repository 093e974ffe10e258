"""Nodes and connectors in use: who leases them is shown, they cannot vanish, orphans are released by hand."""

from uuid import UUID, uuid4

import pytest
from unicorn_core.errors import NotFound
from unicorn_kube.resource import CONNECTORS, TARGET_NODES
from unicorn_operator import usage

from .conftest import condition, eventually

pytestmark = [pytest.mark.cluster, pytest.mark.database]


@pytest.fixture(autouse=True)
def _often(monkeypatch):
    from datetime import timedelta

    monkeypatch.setattr(usage, "INTERVAL", timedelta(milliseconds=300))


class Records:
    """Rows as allocation writes them, without an Experiment in the API."""

    def __init__(self, store):
        self.store = store
        self.experiment, self.executor = uuid4(), uuid4()

    async def lease(self, node, namespace="lab"):
        metadata, spec = node["metadata"], node["spec"]
        connector = UUID(metadata["ownerReferences"][0]["uid"])
        async with self.store.transaction() as connection:
            await connection.execute(
                """INSERT INTO unicorn.experiment (uid, namespace, name, user_name, attempt, phase, spec, created_at)
                   VALUES ($1, $2, 'hello', 'somebody', 1, 'Succeeded', '{}', now())""",
                self.experiment,
                namespace,
            )
            await connection.execute(
                """INSERT INTO unicorn.executor (id, experiment_uid, attempt, deployment, index, node_uid, node_name,
                                                 connector_uid, keep_alive) VALUES ($1, $2, 1, 'd', 0, $3, $4, $5, '1 min')""",
                self.executor,
                self.experiment,
                UUID(metadata["uid"]),
                spec["nodeName"],
                connector,
            )
            await connection.execute(
                "INSERT INTO unicorn.claim VALUES ($1, 0, $2)", UUID(metadata["uid"]), f"experiment:{self.experiment}"
            )
            await connection.execute(
                "INSERT INTO unicorn.node_lease (node_uid, slot, executor_id, experiment_uid) VALUES ($1, 0, $2, $3)",
                UUID(metadata["uid"]),
                self.executor,
                self.experiment,
            )

    async def free(self):
        async with self.store.transaction() as connection:
            await connection.execute("DELETE FROM unicorn.node_lease")
            await connection.execute("DELETE FROM unicorn.claim WHERE node_uid NOT IN (SELECT node_uid FROM unicorn.orphan)")

    async def orphan(self):
        """The lease passes to an orphan record that nobody tries to stop soon."""
        async with self.store.transaction() as connection:
            await connection.execute(
                """INSERT INTO unicorn.orphan (executor_id, experiment_uid, namespace, node_uid, slot, node_name, connector_uid,
                                               message, next_try_at)
                   SELECT id, experiment_uid, 'lab', node_uid, 0, node_name, connector_uid, 'no answer', now() + '1 hour'
                   FROM unicorn.executor WHERE id = $1""",
                self.executor,
            )
            await connection.execute("DELETE FROM unicorn.node_lease")

    async def claims(self):
        async with self.store.connection() as connection:
            return await connection.fetchval("SELECT count(*) FROM unicorn.claim")


@pytest.fixture
def records(store):
    return Records(store)


async def test_who_leases_a_node_is_shown(lab, lead, records):
    async with lead():
        await lab.connector(config={"nodes": 1})
        node = await lab.reaches(TARGET_NODES, "campus.fake-0", "Ready", "True")
        await records.lease(node)

        async def shown():
            leases = (await lab.get(TARGET_NODES, "campus.fake-0"))["status"]["leases"]
            leased = (await lab.get(CONNECTORS, "campus"))["status"]["nodes"]["leased"]
            return leases == {"used": 1, "firstHolders": ["lab/hello"]} and leased == 1

        await eventually(shown, "the lease and its holder are shown")
        await records.free()

        async def free():
            return (await lab.get(TARGET_NODES, "campus.fake-0"))["status"]["leases"] == {"used": 0}

        await eventually(free, "the node is shown free")


@pytest.mark.parametrize(("resource", "name"), [(CONNECTORS, "campus"), (TARGET_NODES, "campus.fake-0")])
async def test_what_is_in_use_stays_until_it_is_free(lab, lead, records, resource, name):
    async with lead():
        await lab.connector(config={"nodes": 1})
        node = await lab.reaches(TARGET_NODES, "campus.fake-0", "Ready", "True")
        await records.lease(node)
        await lab.kube.delete(resource, lab.namespace, name)
        await lab.reaches(TARGET_NODES, "campus.fake-0", "Ready", "False", "Deleting")
        if resource is CONNECTORS:
            await lab.reaches(CONNECTORS, "campus", "Healthy", "False", "Deleting")
        old = (await lab.get(resource, name))["metadata"]["uid"]
        await records.free()

        async def gone():
            try:
                return (await lab.get(resource, name))["metadata"]["uid"] != old
            except NotFound:
                return True

        await eventually(gone, f"{name} is gone")


async def test_a_node_that_discovery_lost_is_kept_while_it_is_leased(lab, lead, records):
    async with lead():
        await lab.connector(config={"nodes": 1})
        await records.lease(await lab.reaches(TARGET_NODES, "campus.fake-0", "Ready", "True"))
        await lab.connector(config={"nodes": 0})
        await lab.reaches(TARGET_NODES, "campus.fake-0", "Ready", "False", "NotSeen")
        connector = await lab.get(CONNECTORS, "campus")
        assert condition(connector, "Healthy")[0] == "True"
        await records.free()

        async def gone():
            return await lab.names(TARGET_NODES) == []

        await eventually(gone, "the node that is gone and free is deleted")


async def test_a_pool_with_an_orphan_stays_ready_and_says_so(lab, lead, records):
    async with lead():
        await lab.connector(config={"nodes": 0, "elastic": 9})
        await records.lease(await lab.reaches(TARGET_NODES, "campus.fake-pool", "Ready", "True"))
        await records.orphan()

        async def told():
            (ready,) = (await lab.get(TARGET_NODES, "campus.fake-pool"))["status"]["conditions"]
            assert ready["status"] == "True"
            return str(records.executor) in ready.get("message", "")

        await eventually(told, "the orphan is told of")


@pytest.mark.parametrize("end", ["released", "connector deleted"])
async def test_a_deleted_node_stays_while_its_orphan_may_be_stopped(lab, lead, records, end):
    async with lead():
        await lab.connector(config={"nodes": 1})
        node = await lab.reaches(TARGET_NODES, "campus.fake-0", "Ready", "True")
        await records.lease(node)
        await records.orphan()
        await lab.kube.delete(TARGET_NODES, lab.namespace, "campus.fake-0")
        there = await lab.reaches(TARGET_NODES, "campus.fake-0", "Ready", "False", "Deleting")
        assert there["metadata"]["uid"] == node["metadata"]["uid"], "discovery does not make it anew"
        if end == "released":
            patch = {"metadata": {"annotations": {"netunicorn.io/release-orphans": "true"}}}
            await lab.kube.patch_merge(TARGET_NODES, lab.namespace, "campus.fake-0", patch)
        else:
            await lab.kube.delete(CONNECTORS, lab.namespace, "campus")

        async def gone():
            try:
                return (await lab.get(TARGET_NODES, "campus.fake-0"))["metadata"]["uid"] != node["metadata"]["uid"]
            except NotFound:
                return True

        await eventually(gone, "it is gone")
        assert await records.claims() == (0 if end == "released" else 1)


@pytest.mark.parametrize("said", ["true", "ids"])
async def test_an_orphan_blocks_its_node_until_a_person_releases_it(lab, lead, records, said):
    async with lead():
        await lab.connector(config={"nodes": 1})
        await records.lease(await lab.reaches(TARGET_NODES, "campus.fake-0", "Ready", "True"))
        await records.orphan()
        node = await lab.reaches(TARGET_NODES, "campus.fake-0", "Ready", "False", "OrphanedExecutor")
        message = node["status"]["conditions"][0]["message"]
        assert str(records.executor) in message
        assert "netunicorn.io/release-orphans" in message

        async def annotate(text):
            patch = {"metadata": {"annotations": {"netunicorn.io/release-orphans": text}}}
            await lab.kube.patch_merge(TARGET_NODES, lab.namespace, "campus.fake-0", patch)

        async def taken_off():
            annotations = (await lab.get(TARGET_NODES, "campus.fake-0"))["metadata"].get("annotations") or {}
            return "netunicorn.io/release-orphans" not in annotations

        for nothing in (str(uuid4()), "please"):
            await annotate(nothing)
            await eventually(taken_off, "the annotation is taken off")
            assert await records.claims() == 1, "neither another executor nor nonsense releases anything"
        await annotate("true" if said == "true" else f"{uuid4()}, {records.executor}")
        await lab.reaches(TARGET_NODES, "campus.fake-0", "Ready", "True")
        assert await records.claims() == 0
        await eventually(taken_off, "the annotation is taken off")
