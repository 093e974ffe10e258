"""Records v2 and serialized graphs on the whole: operator, gateway, agents on nodes, a user with RBAC's rights."""

import asyncio
import base64
import hashlib
import json
import subprocess
from pathlib import Path

import e2e_kit
import netunicorn_venv
import pytest
from e2e_kit import eventually
from unicorn_core.naming import API_VERSION
from unicorn_core.text import plain
from unicorn_kube.resource import CONNECTORS
from unicorn_store import graphs

SCRIPT = Path(__file__).parents[1] / "executor" / "client_graphs.py"


def netunicorn(*arguments: str, **given: bytes):
    """What client_graphs.py says, run by the released packages."""
    command = [netunicorn_venv.python(), SCRIPT, *arguments]
    content = json.dumps({name: base64.b64encode(content).decode() for name, content in given.items()}).encode()
    done = subprocess.run(command, input=content, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return json.loads(done.stdout)


@pytest.fixture
async def kit(served):
    """Nodes whose Python has netunicorn's packages, in the home of users."""
    connector = {
        "apiVersion": API_VERSION,
        "kind": "Connector",
        "metadata": {"name": "theirs", "namespace": served.home},
        "spec": {"type": "local", "config": {"nodes": ["t-0", "t-1"], "python": str(netunicorn_venv.python())}},
    }
    async with e2e_kit.opened(served.stack) as opened:
        await opened.kube.apply(CONNECTORS, connector, "test")
        yield opened


def an(kind, name, **spec):
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}


def experiment(name, pipeline):
    deployment = {"name": "d", "nodes": {"connectorRef": {"name": "theirs"}, "names": ["t-0", "t-1"]}, "pipeline": pipeline}
    return an("Experiment", name, deployments=[deployment])


async def test_a_serialized_graph_that_comes_late(served, kit):
    pickle = base64.b64decode(netunicorn("pickle", "stages")["stages"])
    digest = hashlib.sha256(pickle).hexdigest()
    made = await kit.apply(experiment("late", {"serialized": {"sha256": digest}}), namespace=served.home)

    def waits(status):
        return any(
            (one["type"], one["status"], one["reason"]) == ("Accepted", "False", "ReferenceNotFound") and digest in one["message"]
            for one in status.get("conditions", ())
        )

    await made.becomes(waits, "it waits for its graph")
    await graphs.put_graph(served.store, "another-namespace", pickle)
    await graphs.put_graph(served.store, served.home, pickle)
    await made.succeeds(30)  # by the news, not at the next look a minute later

    user = await served.add()
    path = f"/v2/namespaces/{served.home}/experiments/late"
    executors = (await user.call("GET", f"{path}/executors")).body["items"]
    assert [(one["index"], one["state"]) for one in executors] == [(0, "Succeeded"), (1, "Succeeded")]
    own = netunicorn("local", it=pickle)["it"]
    for one in executors:
        report = (await user.call("GET", f"{path}/executors/{one['id']}/report")).body
        assert netunicorn("read", it=report)["it"]["result"] == own
        tasks = (await user.call("GET", f"{path}/executors/{one['id']}/tasks")).body["items"]
        assert sorted(task["task"] for task in tasks) == ["a", "b", "c", "seen"]
    lines = (await user.call("GET", f"{path}/results")).body.decode().splitlines()
    assert [json.loads(line)["results"]["a"] for line in lines] == [[{"outcome": "Success", "value": 1}]] * 2

    await made.delete()
    await made.gone()
    (record,) = (await user.call("GET", path.removesuffix("/late"), params={"name": "late", "deleted": "true"})).body["items"]
    assert (record["uid"], record["phase"]) == (str(made.uid), "Succeeded")
    assert (await user.call("GET", f"{path}/executors/{executors[0]['id']}/result")).body["outcome"] == "Success"
    stranger = await served.add(served.other)
    assert (await stranger.call("GET", path)).status == 403


async def test_netunicorns_agent_runs_no_stages(served, kit):
    pipeline = an("Pipeline", "p", stages=[{"name": "s", "tasks": [{"name": "t", "run": "true"}]}])
    environment = an("Environment", "e", shell={}, agent="Netunicorn")
    body = experiment("unfit", {})
    deployment = body["spec"]["deployments"][0]
    del deployment["pipeline"]
    deployment |= {"pipelineRef": {"name": "p"}, "environmentRef": {"name": "e"}}
    made = await kit.apply(pipeline, environment, body, namespace=served.home)
    status = await made.ends()
    assert (status["phase"], status["reason"]) == ("Failed", "AgentCannotRun")
    assert (await made.condition("Accepted"))["reason"] == "AgentCannotRun"


async def test_while_it_runs(served, kit):
    talks = "for i in $(seq 3); do echo line $i; done"
    tasks = [{"name": "talk", "run": talks}, {"name": "meet", "flag": {"wait": "go", "atLeast": 1}}]
    stages = [{"name": task["name"], "tasks": [task]} for task in [*tasks, {"name": "sleep", "run": "sleep 600"}]]
    made = await kit.apply(experiment("runs", {"stages": stages}), namespace=served.home)
    await made.reaches("Running", running=2)
    user = await served.add()
    path = f"/v2/namespaces/{served.home}/experiments/{made.uid}"
    first, second = [one["id"] for one in (await user.call("GET", f"{path}/executors")).body["items"]]

    async def task_is(executor, name):
        listed = (await user.call("GET", f"{path}/executors/{executor}/tasks")).body["items"]
        return listed and listed[-1]["task"] == name and "outcome" not in listed[-1]

    await eventually(lambda: task_is(first, "meet"), "it waits for the flag")
    text = (await user.call("GET", f"{path}/executors/{first}/logs/text", params={"task": "talk"})).body
    assert plain(text.decode(), 100).split() == ["line", "1", "line", "2", "line", "3"]
    assert (await user.call("POST", f"{path}/flags/go", json={"add": 1})).body["integer"] == 1
    await eventually(lambda: task_is(first, "sleep"), "the flag let it go")

    following = asyncio.create_task(user.call("GET", f"{path}/executors/{first}/logs/text", params={"follow": "true"}))
    assert (await user.call("POST", f"{path}/executors/{first}/cancel")).status == 200
    await made.becomes(lambda status: status["executors"].get("cancelled") == 1, "one is cancelled")
    assert b"line 3" in (await asyncio.wait_for(following, 30)).body
    assert (await made.status())["phase"] == "Running"
    assert (await user.call("POST", f"{path}/executors/{first}/cancel")).status == 409

    assert (await user.call("POST", f"{path}/cancel")).body == {"uid": str(made.uid)}
    assert (await made.ends())["phase"] == "Cancelled"
    assert (await user.call("POST", f"{path}/cancel")).status == 409
    ended = (await user.call("GET", f"{path}/executors/{second}/logs", params={"wait": 30})).body
    assert ended["ended"]
