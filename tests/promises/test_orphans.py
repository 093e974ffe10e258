"""What cannot be shown to be gone: a recorded orphan that keeps its node, while the experiment ends and can be deleted.

The operator's leader runs within the test, so that the fake connector's world can be reached.
"""

import asyncio
import contextlib
from datetime import timedelta

import e2e_kit
import pytest
from e2e_kit import Kit, eventually, experiment
from unicorn_connectors import fake
from unicorn_core.errors import NotFound
from unicorn_devcluster.stack import Stack, install_crds
from unicorn_kube import KubeClient, KubeConfig
from unicorn_kube.resource import CONNECTORS, EXPERIMENTS, TARGET_NODES
from unicorn_operator import janitor, observation, orphans, usage
from unicorn_operator.health import Health
from unicorn_operator.leading import Leader
from unicorn_operator.metrics import Metrics
from unicorn_operator.reconcilers import target_nodes
from unicorn_operator.settings import Settings
from unicorn_store import migrate

WHERE = {"name": "campus"}


@pytest.fixture
def campus(cluster, namespace, database, tmp_path, monkeypatch):
    """`async with campus() as (kit, world)`: the world of its Connector has two nodes; their executors never check in.

    No fixture's own end: kopf cancels what came into its loop after it, and that would be among it.
    """
    for module, name in ((target_nodes, "WRITE_EVERY"), (usage, "INTERVAL"), (observation, "INTERVAL"), (orphans, "INTERVAL")):
        monkeypatch.setattr(module, name, timedelta(milliseconds=300))

    @contextlib.asynccontextmanager
    async def made():
        await asyncio.to_thread(install_crds, cluster)
        await asyncio.to_thread(migrate, database)
        values = {
            "gateway_endpoint": "http://127.0.0.1:9",
            "watch_namespaces": (namespace,),
            "namespace": namespace,
            "workers": 4,
        }
        keys = {"signing_key_file": str(tmp_path / "key.pem"), "signing_public_file": str(tmp_path / "public.json")}
        settings = Settings(database_url=database, webhook=False, **values, **keys)
        config = KubeConfig.load(cluster.kubeconfig)
        stack = Stack(cluster, database, namespace, (namespace,))
        async with KubeClient(config) as kube, e2e_kit.opened(stack) as kit:
            leader = Leader(settings, config, kube, kit.store, Health(), Metrics(), asyncio.Event())
            task = asyncio.create_task(leader.lead(lambda: None))
            try:
                spec = {"type": "fake", "config": {"nodes": 2, "world": namespace}, "discoveryInterval": "1s"}
                await kit.put("Connector", "campus", spec)
                await kit.connector_ready({**WHERE, "namespace": namespace})
                yield kit, fake.world(namespace)
                fake.world(namespace).unreachable.clear()
                await kit.clean()
                for node in (await kit.kube.list(TARGET_NODES, namespace)).items:  # garbage collection may take its time
                    await kit.kube.delete(TARGET_NODES, namespace, node["metadata"]["name"])
                await kit.kube.delete(CONNECTORS, namespace, "campus")
                await eventually(lambda: _is_empty(kit), "nothing is left in the namespace")
            finally:
                leader.stop.set()
                await task
                await fake.forget(namespace)

    return made


async def _is_empty(kit: Kit) -> bool:
    nodes, connectors = [await kit.kube.list(resource, kit.namespace) for resource in (TARGET_NODES, CONNECTORS)]
    return not nodes.items and not connectors.items


async def ready(kit: Kit, node: str) -> tuple[str, str]:
    """Status and reason."""
    conditions = (await kit.kube.get(TARGET_NODES, kit.namespace, f"campus.{node}"))["status"]["conditions"]
    return conditions[0]["status"], conditions[0]["reason"]


async def becomes(kit: Kit, node: str, *expected: str) -> None:
    async def check() -> bool:
        found = await ready(kit, node)
        assert found[: len(expected)] == expected, found
        return True

    await eventually(check, f"{node} is {expected}")


async def started(kit: Kit, world: fake.World, name: str = "one", count: int = 2):
    deadlines = {"cleanup": "2s"}
    one = await kit.apply(experiment(name, {"name": "t", "run": "true"}, count=count, connector=WHERE, deadlines=deadlines))
    await one.reaches("Starting")
    await eventually(lambda: _are_running(world, count), "its executors are started")
    return one


async def _are_running(world: fake.World, count: int) -> bool:
    return len(world.running()) == count


async def test_an_unreachable_node_keeps_an_orphan_and_the_experiment_goes(campus):
    async with campus() as (kit, world):
        one = await started(kit, world)
        world.unreachable.add("fake-0")
        await one.delete()
        await one.gone(15)
        assert len(world.running()) == 1, "the other node could be reached"
        assert [await one.leases(), await one.orphans()] == [0, 1]
        assert (await one.record()).phase == "Cancelled"
        await becomes(kit, "fake-0", "False", "OrphanedExecutor")
        await becomes(kit, "fake-1", "True")
        two = await kit.apply(experiment("two", {"name": "t", "run": "true"}, count=2, connector=WHERE))
        await two.becomes(lambda status: status.get("queue"), "nobody gets that node")
        world.unreachable.clear()
        await two.reaches("Starting", seconds=30)
        assert await one.orphans() == 0, "when it can be reached, stopping is confirmed"
        assert len(await one.executors()) == 2, "the records stay"


async def test_a_persons_word_releases_an_orphan(campus):
    async with campus() as (kit, world):
        one = await started(kit, world)
        world.unreachable.add("fake-0")
        await one.cancel()
        status = await one.reaches("Cancelled")
        cleaned = await one.condition("CleanedUp")
        assert (cleaned["status"], cleaned["reason"]) == ("False", "OrphansRecorded"), (cleaned, status)
        await becomes(kit, "fake-0", "False", "OrphanedExecutor")
        annotation = {"metadata": {"annotations": {"netunicorn.io/release-orphans": "true"}}}
        await kit.kube.patch_merge(TARGET_NODES, kit.namespace, "campus.fake-0", annotation)
        await becomes(kit, "fake-0", "True")
        assert await one.orphans() == 0


async def test_a_connector_that_cannot_be_reached_goes_after_the_cleanup_deadline(campus):
    async with campus() as (kit, world):
        one = await started(kit, world)
        world.unreachable |= {"fake-0", "fake-1"}
        await kit.kube.delete(CONNECTORS, kit.namespace, "campus")
        assert (await one.reaches("Failed"))["failures"][0]["reason"] == "ConnectorDeleted"
        assert [await one.leases(), await one.orphans()] == [0, 2]

        async def gone():
            return not (await kit.kube.list(CONNECTORS, kit.namespace)).items

        await eventually(gone, "the Connector is gone")
        world.unreachable.clear()
        spec = {"type": "fake", "config": {"nodes": 2, "world": kit.namespace}, "discoveryInterval": "1s"}
        await kit.put("Connector", "campus", spec)
        await kit.connector_ready({**WHERE, "namespace": kit.namespace})


async def test_what_is_deleted_by_force_is_stopped_all_the_same(campus, monkeypatch):
    """Somebody takes the finalizer off while nothing can be stopped; the janitor finds what is left."""
    monkeypatch.setattr(janitor, "INTERVAL", timedelta(milliseconds=300))
    monkeypatch.setattr(janitor, "YOUNG", timedelta())
    async with campus() as (kit, world):
        one = await started(kit, world)
        world.unreachable |= {"fake-0", "fake-1"}
        await one.delete()
        with contextlib.suppress(NotFound):
            await kit.kube.patch_merge(EXPERIMENTS, kit.namespace, one.name, {"metadata": {"finalizers": None}})
        await one.gone(15)
        assert len(world.running()) == 2

        async def orphaned():
            return await one.orphans() == 2 and await one.leases() == 0

        await eventually(orphaned, "its leases went the orphan way")
        world.unreachable.clear()

        async def stopped():
            return not world.running() and await one.orphans() == 0

        await eventually(stopped, "its executors are stopped")
        assert (await one.record()).phase == "Cancelled"
        await becomes(kit, "fake-0", "True")
