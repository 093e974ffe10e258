"""Experiments on what was installed: operator, gateway, database and executors are all pods."""

import uuid
from pathlib import Path

from e2e_kit import eventually
from unicorn_core.naming import API_VERSION, LABEL_BUILD

HELLO = Path(__file__).parents[2] / "examples/hello"
NODES = {"matchExpressions": [{"key": "site", "operator": "In", "values": ["home"]}], "count": 3}
WORK = {
    "stages": [
        {"name": "long", "tasks": [{"name": "long", "run": "sleep 8; echo done"}]},
        {"name": "meet", "tasks": [{"name": "meet", "flag": {"barrier": "meet", "timeout": "2m"}}]},
    ]
}


def survivor(name):
    """Three executors that work for a while, and meet."""
    spec = {"deployments": [{"name": "d", "nodes": NODES, "pipeline": WORK}]}
    return {"apiVersion": API_VERSION, "kind": "Experiment", "metadata": {"name": name}, "spec": spec}


async def test_hello(kit):
    experiment = await kit.apply(HELLO)
    status = await experiment.succeeds(seconds=180)
    assert status["executors"]["succeeded"] == 3
    told = await experiment.values("all-arrived")
    assert [flag["integer"] for flag in told.values()] == [3, 3, 3]
    shouts = await experiment.values("shout")
    assert shouts["away/0"]["stdout"].startswith("AHOY")
    assert await experiment.leases() == 0


async def test_the_leader_is_killed_while_an_experiment_runs(kit, installation):
    experiment = await kit.apply(survivor("survivor"))
    await experiment.reaches("Running", seconds=180, running=3)
    leader = installation.leader()
    installation.kubectl("delete", "pod", leader, "--force", "--grace-period=0")

    async def another_leads():
        assert installation.leader() not in ("", leader)
        return True

    await eventually(another_leads, "another operator leads", 60)
    status = await experiment.succeeds(seconds=120)
    assert status["executors"]["succeeded"] == 3
    assert [value["stdout"] for value in (await experiment.values("long")).values()] == ["done\n"] * 3
    for executor in await experiment.executors():
        assert len(executor.results["long"]) == 1, "it ran once"
    assert await experiment.leases() == 0
    assert await experiment.orphans() == 0

    async def two_again():
        assert len(installation.pods("operator")) == 2
        return True

    await eventually(two_again, "the Deployment has made another replica", 120)


async def test_gateways_are_exchanged_while_an_experiment_runs(kit, installation):
    before = {pod["metadata"]["name"] for pod in installation.pods("executor-gateway")}
    experiment = await kit.apply(survivor("exchange"))
    await experiment.reaches("Running", seconds=180, running=3)
    installation.kubectl("rollout", "restart", "deployment/unicorn-executor-gateway")
    status = await experiment.succeeds(seconds=180)
    assert status["executors"]["succeeded"] == 3
    assert [value["stdout"] for value in (await experiment.values("long")).values()] == ["done\n"] * 3
    installation.kubectl("rollout", "status", "deployment/unicorn-executor-gateway", "--timeout=180s")
    assert not before & {pod["metadata"]["name"] for pod in installation.pods("executor-gateway")}


async def test_postgresql_is_restarted_while_an_experiment_runs(kit, installation):
    experiment = await kit.apply(survivor("restart"))
    await experiment.reaches("Running", seconds=180, running=3)
    (postgres,) = installation.pods("postgres")
    installation.execute(postgres["metadata"]["name"], "kill -INT 1")
    status = await experiment.succeeds(seconds=180)
    assert status["executors"]["succeeded"] == 3
    installation.kubectl("wait", "--for=condition=Ready", "pods", "--all", "--timeout=60s")
    assert len(await experiment.executors()) == 3
    assert await experiment.leases() == 0


async def test_an_environment_is_built_while_the_leader_is_killed(kit, installation):
    """By a Job with no rights, in a namespace of level `baseline` and above; whoever leads next finds it."""
    content = str(uuid.uuid4())  # that no registry has from an earlier run
    environment = {"build": {"commands": [f"sleep 20; echo {content} > /built"]}}
    pipeline = {"stages": [{"name": "s", "tasks": [{"name": "read", "run": "cat /built"}]}]}
    nodes = {**NODES, "count": 1}
    spec = {"deployments": [{"name": "d", "nodes": nodes, "environment": environment, "pipeline": pipeline}]}
    experiment = await kit.apply({"apiVersion": API_VERSION, "kind": "Experiment", "metadata": {"name": "built"}, "spec": spec})

    async def is_being_built():
        condition = await experiment.condition("EnvironmentsReady") or {}
        assert "commands[0]: sleep 20" in condition.get("message", ""), condition
        return True

    await eventually(is_being_built, "its environment is being built", 180)
    (job,) = installation.kubectl("get", "jobs", "--selector", LABEL_BUILD, "--output=name").split()
    installation.kubectl("delete", "pod", installation.leader(), "--force", "--grace-period=0")
    await experiment.succeeds(seconds=240)
    assert [value["stdout"] for value in (await experiment.values("read")).values()] == [f"{content}\n"]
    assert job.endswith("-1"), "the first run"
    async with kit.store.connection() as connection:
        assert [row["run"] for row in await connection.fetch("SELECT run FROM unicorn.environment_build")] == [1]

    async def all_is_taken_away():
        assert not installation.kubectl("get", "jobs,secrets,configmaps", "--selector", LABEL_BUILD, "--output=name")
        return True

    await eventually(all_is_taken_away, "nothing of the build is left")


async def test_nobody_was_refused_a_right_it_needs(kit, installation):
    """The last one: what the operator asked of the API, and the gateway of PostgreSQL, in all of this."""
    for component in ("operator", "executor-gateway", "postgres"):
        for pod in installation.pods(component):
            lines = installation.logs(pod["metadata"]["name"]).splitlines()
            refusals = [line for line in lines if "forbidden" in line.lower() or "permission denied" in line]
            assert not refusals, refusals[:3]
