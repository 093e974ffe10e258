"""Deletion in every phase, of the experiment and of what it stands on: gone in time, nothing runs any more, records stay."""

import asyncio
import contextlib

import pytest
from e2e_kit import eventually, experiment, opened
from unicorn_core.errors import NotFound
from unicorn_kube.resource import CONNECTORS, ENVIRONMENTS, PIPELINES, TARGET_NODES

from .conftest import nothing_is_left, running

SHELL = {"shell": {"commands": ["sleep 300"]}}
LONG = {"name": "t", "run": "sleep 300"}
STUBBORN = {"name": "t", "run": "trap '' TERM; while :; do sleep 1; done"}
IN_TIME = 20.0  # seconds, well below deadlines.cleanup


async def pending(kit, notes):
    body = experiment("pending", LONG, connector=kit.local)
    deployment = body["spec"]["deployments"][0]
    del deployment["pipeline"]
    one = await kit.apply({**body, "spec": {"deployments": [{**deployment, "pipelineRef": {"name": "nowhere"}}]}})
    await one.becomes(lambda status: status.get("message") == f"waiting for Pipeline {one.namespace}/nowhere", "it waits")
    return one


async def allocating(kit, notes):
    one = await kit.run("allocating", LONG, count=99)
    await one.becomes(lambda status: status.get("queue"), "there are too few nodes")
    return one


async def queued(kit, notes):
    holder = await kit.apply(named("holder", LONG, kit))
    await holder.reaches("Running")
    one = await kit.apply(named("queued", LONG, kit))
    status = await one.reaches("Allocating")
    assert status["queue"]["position"] == 1
    return one


def named(name, task, kit):
    body = experiment(name, task, connector=kit.local)
    body["spec"]["deployments"][0]["nodes"] = {"connectorRef": kit.local, "names": ["local-5"]}
    return body


async def preparing(kit, notes):
    one = await kit.run("preparing", LONG, environment=SHELL, count=2)
    await one.reaches("Preparing")
    await eventually(lambda: running(one), "its commands run")
    return one


async def ready(kit, notes):
    one = await kit.run("ready", LONG, count=2, desiredState="Ready")
    await one.reaches("Ready")
    return one


async def starting(kit, notes):
    """Its agent never checks in: nobody is at its gateway's address."""
    reference = {"name": "mute", "namespace": kit.namespace}
    await kit.put(
        "Connector", "mute", {"type": "local", "config": {"nodes": ["mute"]}, "gateway": {"endpoint": "http://127.0.0.1:9"}}
    )
    await kit.connector_ready(reference)
    one = await kit.apply(experiment("starting", LONG, connector=reference))
    await one.reaches("Starting")
    await eventually(lambda: running(one), "its agent runs")
    return one


async def at_work(kit, notes):
    one = await kit.run("running", LONG, count=2)
    await one.reaches("Running", running=2)
    return one


async def finishing(kit, notes):
    one = await kit.run("finishing", STUBBORN)
    await one.reaches("Running", running=1)
    await one.cancel()
    await one.becomes(lambda status: status["phase"] in ("Finishing", "Cancelled"), "it is cancelled")
    return one


async def over(kit, notes):
    one = await kit.run("over", {"name": "t", "run": "true"})
    await one.succeeds()
    return one


@pytest.mark.parametrize("reach", [pending, allocating, queued, preparing, ready, starting, at_work, finishing, over])
async def test_deleted_in(kit, notes, reach):
    one = await reach(kit, notes)
    phase = (await one.status())["phase"]
    await one.delete()
    await one.gone(IN_TIME)
    await nothing_is_left(kit, one)
    if phase == "Pending":
        return  # nothing of it was ever recorded
    record = await one.record()
    assert record.deleted is not None
    assert record.phase == ("Succeeded" if reach is over else "Cancelled"), record
    if reach is over:
        assert (await one.values("t"))["d/0"]["exitCode"] == 0
    with contextlib.suppress(NotFound):
        await kit.kube.delete(CONNECTORS, kit.namespace, "mute")


async def test_a_namespace_goes_with_all_that_is_in_it(make_stack, notes):
    stack = make_stack("going", "going-b")
    async with opened(stack, "going-b") as kit:
        applied = [
            await kit.run("at-work", LONG, count=2),
            await kit.run("preparing", LONG, environment=SHELL),
            await kit.run("ready", LONG, desiredState="Ready"),
            await kit.run("over", {"name": "t", "run": "true"}),
        ]
        if stack.cluster.pods:
            applied.append(await kit.apply(experiment("pods", LONG, connector=kit.pods)))
            await applied[-1].reaches("Running", running=1)
        await kit.put("Connector", "own", {"type": "local", "config": {"nodes": ["own"]}})
        await kit.connector_ready({"name": "own", "namespace": "going-b"})
        applied.append(await kit.apply(experiment("on-own", LONG, connector={"name": "own"})))
        await applied[-1].reaches("Running", running=1)
        await applied[0].reaches("Running", running=2)
        await applied[1].reaches("Preparing")
        await applied[2].reaches("Ready")
        await applied[3].succeeds()
        await asyncio.to_thread(stack.cluster.run, "delete", "namespace", "going-b", "--timeout=60s")
        for one in applied:
            await nothing_is_left(kit, one)
            assert (await one.record()).deleted is not None
        assert (await applied[3].values("t"))["d/0"]["exitCode"] == 0


@pytest.mark.parametrize("resource", [CONNECTORS, TARGET_NODES], ids=["Connector", "TargetNode"])
async def test_infrastructure_in_use_goes_when_its_executors_have_ended(kit, notes, resource):
    reference = {"name": "leaving", "namespace": kit.namespace}
    await kit.put("Connector", "leaving", {"type": "local", "config": {"nodes": ["leaving-0", "leaving-1"]}})
    await kit.connector_ready(reference)
    one = await kit.apply(experiment("on-leaving", LONG, connector=reference, count=2))
    await one.reaches("Running", running=2)
    name = "leaving" if resource is CONNECTORS else "leaving.leaving-0"
    uid = (await kit.kube.get(resource, kit.namespace, name))["metadata"]["uid"]
    await kit.kube.delete(resource, kit.namespace, name)
    if resource is TARGET_NODES:
        await one.reaches("Running", failed=1)
        await one.cancel()
    status = await one.ends(IN_TIME)
    assert status["failures"][0]["reason"] == "ConnectorDeleted", status
    await nothing_is_left(kit, one)

    async def gone():
        try:
            return (await kit.kube.get(resource, kit.namespace, name))["metadata"]["uid"] != uid
        except NotFound:
            return True

    await eventually(gone, f"{name} is gone", IN_TIME)
    assert (await one.executors())[0].node == "leaving-0", "the records stay"
    with contextlib.suppress(NotFound):
        await kit.kube.delete(CONNECTORS, kit.namespace, "leaving")


async def test_what_an_experiment_refers_to_may_go_while_it_runs(kit, notes):
    tasks = [{"name": "t", "run": f"{notes.wait_for('end')}; echo still $(params.x)"}]
    await kit.put("Pipeline", "shared", {"params": [{"name": "x"}], "stages": [{"name": "s", "tasks": tasks}]})
    await kit.put("Environment", "shared", {"shell": {"commands": ["true"]}})
    deployment = {
        "name": "d",
        "nodes": {"count": 1, "connectorRef": kit.local},
        "pipelineRef": {"name": "shared"},
        "environmentRef": {"name": "shared"},
        "params": [{"name": "x", "value": "here"}],
    }
    body = experiment("refers")
    one = await kit.apply({**body, "spec": {"deployments": [deployment]}})
    await one.reaches("Running", running=1)
    await kit.kube.delete(PIPELINES, kit.namespace, "shared")
    await kit.kube.delete(ENVIRONMENTS, kit.namespace, "shared")
    notes.allow("end")
    await one.succeeds()
    assert (await one.values("t"))["d/0"]["stdout"] == "still here\n"
