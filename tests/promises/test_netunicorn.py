"""netunicorn's unmodified executor through everything: Experiments with `agent: Netunicorn`, on nodes and in pods."""

import asyncio
import json
import os
import signal

import netunicorn_venv
import psutil
import pytest
from e2e_kit import eventually
from unicorn_connectors.local import processes
from unicorn_core.naming import API_VERSION
from unicorn_kube.resource import EXPERIMENTS
from unicorn_store import reports
from unicorn_store.graphs import put_graph
from v1_parts import pickled, unpickled

from .conftest import nothing_is_left

IMPORTS = """
from netunicorn.base import FlagValues, Pipeline
from netunicorn.library.tasks.basic import SleepTask
from netunicorn.library.tasks.flags import AtomicIncrementFlagTask, GetFlagTask, WaitForExactFlagResultTask
"""
MEETING = (
    IMPORTS
    + """
met = FlagValues(int_value=3)
graph = Pipeline([AtomicIncrementFlagTask("f"), WaitForExactFlagResultTask("f", met, 0.2), GetFlagTask("f", name="get")])
"""
)
LONG = IMPORTS + "graph = Pipeline([SleepTask(0, name='nap'), SleepTask(600, name='night')])"


@pytest.fixture
async def theirs(kit):
    """A Connector whose nodes' Python has netunicorn's packages."""
    config = {"nodes": 3, "python": str(await asyncio.to_thread(netunicorn_venv.python))}
    await kit.put("Connector", "netunicorn", {"type": "local", "config": config})
    reference = {"name": "netunicorn", "namespace": kit.namespace}
    await kit.connector_ready(reference)
    return reference


async def applied(kit, name, source, connector, count=1, environment=None, **more):
    sha256 = await put_graph(kit.store, kit.namespace, await asyncio.to_thread(pickled, source))
    deployment = {
        "name": "d",
        "nodes": {"count": count, "connectorRef": connector},
        "pipeline": {"serialized": {"sha256": sha256}},
        "environment": {**(environment or {"shell": {}}), "agent": "Netunicorn"},
        **more,
    }
    spec = {"deployments": [deployment]}
    return await kit.apply({"apiVersion": API_VERSION, "kind": "Experiment", "metadata": {"name": name}, "spec": spec})


async def check_meeting(kit, one):
    await one.succeeds()
    found = await one.executors()
    assert [record.state for record in found] == ["Succeeded"] * 3
    kept = await reports.read_reports(kit.store, [record.id for record in found])
    assert len(kept) == 3
    for record in found:
        told = await asyncio.to_thread(unpickled, kept[record.id].content)
        assert told["results"]["get"] == [["Success", "FlagValues(text_value=None, int_value=3)"]]
        log = "".join(chunk.text or "" for chunk in await one.logs(record.id))
        assert log == "".join(told["log"])
        assert "Successfully received the execution graph" in log
    await nothing_is_left(kit, one)


async def test_executors_on_nodes_meet_by_a_flag(kit, theirs):
    await check_meeting(kit, await applied(kit, "meeting", MEETING, theirs, count=3))


@pytest.mark.pods
async def test_executors_in_pods_meet_by_a_flag(kit):
    image = await asyncio.to_thread(netunicorn_venv.image, kit.cluster)
    one = await applied(kit, "pods", MEETING, kit.pods, count=3, environment={"image": {"ref": image}})
    await one.reaches("Running")
    pods = json.loads(kit.cluster.run("get", "pods", "-n", kit.namespace, "-o", "json"))["items"]
    assert pods
    assert all("/x/ey" not in json.dumps(pod) for pod in pods), "the token stands in no pod's spec"
    await check_meeting(kit, one)


async def running(one):
    await one.reaches("Running", running=1)
    (record,) = await one.executors()

    async def runs():
        return [
            p for p in processes.of_executors([record.id])[record.id] if "netunicorn" in " ".join(psutil.Process(p.pid).cmdline())
        ]

    return record, await eventually(runs, "netunicorn's executor runs")


async def test_an_end_without_a_report_is_a_failure_at_once(kit, theirs):
    one = await applied(kit, "killed", LONG, theirs)
    _, found = await running(one)
    for process in found:
        processes.send(process, signal.SIGKILL)
    status = await one.ends()
    assert status["phase"] == "Failed"
    assert [failure["reason"] for failure in status["failures"]] == ["NoReport"]
    await nothing_is_left(kit, one)


async def test_silence_is_loss(kit, theirs):
    one = await applied(kit, "silent", LONG, theirs, keepAlive="10s")
    _, found = await running(one)
    for process in found:
        os.kill(process.pid, signal.SIGSTOP)
    status = await one.ends(120)
    assert [failure["reason"] for failure in status["failures"]] == ["ExecutorTimedOut"]
    await nothing_is_left(kit, one)


async def test_cancel_stops_it_and_keeps_what_there_is(kit, theirs):
    one = await applied(kit, "cancelled", LONG, theirs, keepAlive="10s")
    record, _ = await running(one)

    async def told():
        kept = await reports.read_reports(kit.store, [record.id])
        return record.id in kept and b"nap" in kept[record.id].content

    await eventually(told, "its first heartbeat")
    await one.cancel()
    await one.reaches("Cancelled")
    assert await told()
    await nothing_is_left(kit, one)


async def test_a_clean_end_without_results_where_none_are_wanted(kit, theirs):
    one = await applied(kit, "quiet", IMPORTS + "graph = Pipeline([SleepTask(0)], report_results=False)", theirs)
    await one.succeeds()
    (record,) = await one.executors()
    assert (record.state, record.reason) == ("Succeeded", "ExitedCleanly")


async def test_stages_are_not_for_it(kit, theirs):
    body = {
        "apiVersion": API_VERSION,
        "kind": "Experiment",
        "metadata": {"name": "stages", "namespace": kit.namespace},
        "spec": {
            "deployments": [
                {
                    "name": "d",
                    "nodes": {"count": 1, "connectorRef": theirs},
                    "pipeline": {"stages": [{"name": "s", "tasks": [{"name": "t", "run": "true"}]}]},
                    "environment": {"shell": {}, "agent": "Netunicorn"},
                }
            ]
        },
    }
    await kit.apply(body)
    status = await eventually(lambda: _ended(kit), "it fails")
    assert (status["phase"], status["reason"]) == ("Failed", "AgentCannotRun")


async def _ended(kit):
    status = (await kit.kube.get(EXPERIMENTS, kit.namespace, "stages")).get("status") or {}
    return status if status.get("phase") == "Failed" else None
