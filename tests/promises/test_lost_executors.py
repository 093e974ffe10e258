"""Agents, pods and networks that die or go away and come back: the design's words on silence hold."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from e2e_kit import eventually, experiment
from unicorn_connectors.local.directory import ExecutorDirectory
from unicorn_devcluster import local_nodes, wheels
from unicorn_kube.resource import CONNECTORS

from .conftest import nothing_is_left, proxy, running, told_once

KEEP_ALIVE = 4  # seconds


def the_directory(kit, executor) -> ExecutorDirectory:
    """Of an executor on this machine."""
    base = local_nodes.directory(kit.cluster.name, kit.stack.name)
    (path,) = base.glob(f"*/{executor}")
    return ExecutorDirectory(path.parent, executor)


async def the_only(one):
    (executor,) = await one.executors()
    return executor


async def kill_agent(one) -> None:
    """Only the agent itself: its wrapper and its tasks live on."""
    for its in (await running(one)).values():
        wrapper = next(process for process in its if b"unicorn-executor" in words_of(process.pid))
        agent = next(process for process in its if process.parent == wrapper.pid)
        os.kill(agent.pid, signal.SIGKILL)


def words_of(pid: int) -> list[bytes]:
    return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")


async def test_an_agent_that_is_killed_is_lost_and_its_tasks_end(kit, notes):
    one = await kit.run("agent-killed", {"name": "t", "run": f"{notes.add('t')}; sleep 300"}, keepAlive="10s")
    await one.reaches("Running", running=1)
    executor = await the_only(one)
    await notes.has(executor.id, "t")
    await kill_agent(one)
    status = await one.reaches("Failed")
    assert status["executors"] == {"total": 1, "lost": 1}
    assert status["failures"][0]["reason"] == "Killed", "its connector has looked twice before it was silent for too long"
    await nothing_is_left(kit, one)
    assert notes.of(executor.id) == ["t"]


@pytest.mark.pods
@pytest.mark.parametrize("how", ["deleted", "killed"])
async def test_a_pod_that_goes_is_lost(kit, cluster, how):
    tasks = {"name": "t", "run": "sleep 300"}
    one = await kit.apply(experiment(f"pod-{how}", tasks, connector=kit.pods, keepAlive=f"{KEEP_ALIVE}s"))
    await one.reaches("Running", running=1)
    executor = await the_only(one)
    pod = f"unicorn-{executor.id}"
    if how == "deleted":
        await asyncio.to_thread(cluster.run, "delete", "pod", pod, "-n", one.namespace, "--grace-period=0", "--force")
    else:
        pids = [path.parent for path in Path("/proc").glob("[0-9]*/environ") if _mentions(path, f"HOSTNAME={pod}")]
        first = min(pids, key=lambda path: int(path.name))
        os.kill(int(first.name), signal.SIGKILL)
    status = await one.reaches("Failed")
    assert status["executors"] == {"total": 1, "lost": 1}
    assert await one.leases() == await one.orphans() == 0

    async def no_pod():
        return pod not in await asyncio.to_thread(cluster.run, "get", "pods", "-n", one.namespace)

    await eventually(no_pod, "its pod is gone")


def _mentions(path: Path, text: str) -> bool:
    try:
        return text.encode() in path.read_bytes()
    except OSError:
        return False


@pytest.fixture
async def cut_off(kit):
    """A proxy, and a Connector `remote` whose executors reach the gateway through it."""
    async with proxy(kit.stack) as between:
        reference = {"name": "remote", "namespace": kit.namespace}
        spec = {"type": "local", "config": {"nodes": ["far-away"]}, "gateway": {"endpoint": between.url}}
        await kit.put("Connector", "remote", spec)
        await kit.connector_ready(reference)
        yield between, reference
        await kit.clean()
        await kit.kube.delete(CONNECTORS, kit.namespace, "remote")


def near_and_far(name, notes, kit, remote, near, far):
    """Two deployments; `far` is behind the proxy."""
    body = experiment(name, {"name": "t", "run": far}, connector=remote, keepAlive=f"{KEEP_ALIVE}s")
    (one,) = body["spec"]["deployments"]
    other = experiment(name, {"name": "t", "run": near}, connector=kit.local)["spec"]["deployments"][0]
    return {**body, "spec": {"deployments": [{**one, "name": "far"}, {**other, "name": "near"}]}}


async def test_a_cut_that_is_shorter_than_keep_alive_harms_nobody(kit, notes, cut_off):
    between, remote = cut_off
    body = experiment(
        "short-cut", {"name": "t", "run": f"echo before; {notes.wait_for('end')}; echo after"}, connector=remote, keepAlive="30s"
    )
    one = await kit.apply(body)
    await one.reaches("Running", running=1)
    between.cut()
    notes.allow("end")
    await asyncio.sleep(2)
    assert (await one.status())["executors"] == {"total": 1, "running": 1}
    between.mend()
    await one.succeeds()
    executor = await the_only(one)
    assert "".join(log.text for log in await one.logs(executor.id) if log.stream == "stdout") == "before\nafter\n"
    await told_once(one, tasks=1)
    await nothing_is_left(kit, one)


async def test_a_lost_executor_that_reports_again_is_alive_again(kit, notes, cut_off):
    between, remote = cut_off
    body = near_and_far("back-again", notes, kit, remote, notes.wait_for("near"), f"{notes.add('t')}; {notes.wait_for('far')}")
    one = await kit.apply(body)
    await one.reaches("Running", running=2)
    between.cut()
    status = await one.reaches("Running", lost=1)
    assert status["executors"] == {"total": 2, "lost": 1, "running": 1}
    assert status["failures"][0]["reason"] == "ExecutorTimedOut"
    notes.allow("far")
    between.mend()
    status = await one.reaches("Running", succeeded=1)
    assert status["executors"] == {"total": 2, "succeeded": 1, "running": 1}
    assert not status.get("failures")
    notes.allow("near")
    assert (await one.succeeds())["executors"] == {"total": 2, "succeeded": 2}
    await told_once(one, tasks=1)
    await nothing_is_left(kit, one)


async def test_a_cut_that_outlasts_the_experiment_changes_no_end(kit, notes, cut_off):
    between, remote = cut_off
    one = await kit.apply(experiment("long-cut", {"name": "t", "run": "sleep 300"}, connector=remote, keepAlive=f"{KEEP_ALIVE}s"))
    await one.reaches("Running", running=1)
    between.cut()
    status = await one.reaches("Failed")
    assert status["executors"] == {"total": 1, "lost": 1}
    between.mend()
    await nothing_is_left(kit, one)
    assert (await the_only(one)).state == "Lost"


async def test_an_outage_of_the_gateway_loses_nobody(rough, rough_kit, notes):
    """Longer than keepAlive: silence counts only while somebody listens, and executors come back in time."""
    one = await rough_kit.run("outage", {"name": "t", "run": notes.wait_for("end")}, count=3, keepAlive=f"{KEEP_ALIVE}s")
    await one.reaches("Running", running=3)
    (pid,) = rough.cluster.pids(rough.gateways[0].name)
    for seconds in (2.5, 3 * KEEP_ALIVE):
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            os.kill(pid, signal.SIGCONT)
    await asyncio.sleep(2 * KEEP_ALIVE)
    assert (await one.status())["executors"] == {"total": 3, "running": 3}
    assert {executor.state for executor in await one.executors()} == {"Running"}
    notes.allow("end")
    await one.succeeds()
    await told_once(one, tasks=1)


async def test_a_second_agent_with_the_same_token_ends_without_a_word(kit, notes, tmp_path):
    one = await kit.run("twice", {"name": "t", "run": f"{notes.add('t')}; {notes.wait_for('end')}"})
    await one.reaches("Running", running=1)
    executor = await the_only(one)
    directory = the_directory(kit, executor.id)

    def second(spool: Path) -> int:
        environment = {
            "PATH": os.environ["PATH"],
            "UNICORN_GATEWAY": kit.stack.gateway_url,
            "UNICORN_TOKEN_FILE": str(directory.token),
            "UNICORN_SPOOL": str(spool),
            "UNICORN_WORKDIR": str(tmp_path),
        }
        done = subprocess.run(
            [sys.executable, str(wheels.agent_file())], env=environment, capture_output=True, timeout=30, check=False
        )
        return done.returncode

    assert await asyncio.to_thread(second, tmp_path / "spool") == 4, "another instance"
    assert await asyncio.to_thread(second, directory.home / "spool") == 5, "on the spool of the first"
    notes.allow("end")
    await one.succeeds()
    assert notes.of(executor.id) == ["t"]
    await told_once(one, tasks=1)
    await nothing_is_left(kit, one)
