"""The released client at its edges: much at once, hostile texts, contexts, private nodes, and what kubectl does beside it."""

import asyncio
import base64
import json
import os
import signal
from pathlib import Path
from uuid import UUID

import pytest
import yaml
from e2e_kit import Kit, eventually
from mediator_lab import Lab
from notebooks import Notebook
from unicorn_connectors.local import processes
from unicorn_core.naming import API_VERSION
from unicorn_kube.resource import EXPERIMENTS

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]


async def resource(kit: Kit, namespace: str, prefix: str) -> str:
    """The name of the client's Experiment that begins so."""
    (name,) = [
        one["metadata"]["name"]
        for one in (await kit.kube.list(EXPERIMENTS, namespace)).items
        if one["metadata"]["name"].startswith(prefix)
    ]
    return str(name)


async def test_twenty_executors_of_one_experiment(book: Notebook) -> None:
    told = await book("""
nodes = (on(ada, 6) * 4)[:20]
experiment = Experiment()
for index, node in enumerate(nodes):
    experiment.append(node, pipeline(ShellCommand(f"echo number {index}", name="say")))
information = run(ada, experiment, "twenty")
said = [str(told.result[0].unwrap()["say"][0]) for told in information.execution_result]
result = [[str(told.error), text, told.node.name] for told, text in zip(information.execution_result, said)]
""")
    assert len(told) == 20
    for index, (error, said, node) in enumerate(told):
        assert (error, node) == ("None", f"c-{index % 6}")
        assert f"number {index}" in said, "in the deployments' order"


async def test_a_megabyte_of_results_and_a_hundred_thousand_lines(book: Notebook) -> None:
    told = await book("""
class Chatter(Task):
    __module__ = "__main__"

    def run(self):
        for number in range(100_000):
            print(f"line {number}")
        return b"x" * 1_000_000

information = run(ada, one(on(ada)[0], Chatter(name="chatter")), "chatty")
outcome, log = information.execution_result[0].result
lines = "".join(log).splitlines()
spoken = [line for line in lines if line.startswith("line ") or " line " in line]
result = [len(outcome.unwrap()["chatter"][0].unwrap()), len(spoken), spoken[0][-6:], spoken[-1][-10:]]
""")
    assert told == [1_000_000, 100_000, "line 0", "line 99999"]


async def test_texts_are_texts_wherever_they_stand(book: Notebook, tmp_path: Path) -> None:
    """Nothing that is written into a field of an experiment is run, but for commands; and it comes back as it was sent."""
    mark = tmp_path / "mark"
    told = await book(f"""
mark = {str(mark)!r}
odd = [text.replace("MARK", "touch${{IFS}}" + mark) for text in (
    "$(MARK)", "`MARK`", "';MARK;'", '";MARK;"', "|MARK", "$(params.x)", "{{{{7*7}}}}", "%s%n", "<script>alert(1)</script>",
    "';/**/DROP/**/TABLE/**/unicorn.experiment;/**/--", "../../etc/passwd")]
spaced = [text.replace("${{IFS}}", " ") for text in odd]
variables = {{f"ODD_{{index}}": text for index, text in enumerate(odd)}}
node = on(ada)[0]
node.properties.update({{f"odd {{text}}": text for text in spaced}})
environment = ShellExecution(runtime_context=RuntimeContext(environment_variables=variables))
made = Pipeline(environment_definition=environment)
for index in range(len(odd)):
    made = made.then(ShellCommand(["printenv", f"ODD_{{index}}"], name=spaced[index]))
context = {{text: {{text: text}} for text in spaced}}
client = RemoteClient(ada.endpoint, "ada", {("a long enough one")!r}, authentication_context=context)
experiment = Experiment().append(node, made)
experiment.deployment_context = context
information = run(client, experiment, spaced[0].replace("/", "|"))
outcome, log = information.execution_result[0].result
values = [str(outcome.unwrap()[name][0].unwrap()) for name in spaced]
back = information.experiment[0]
result = {{
    "values": [text in value for text, value in zip(odd, values)],
    "properties": all(back.node[f"odd {{text}}"] == text for text in spaced),
    "context": information.experiment.deployment_context == context,
    "variables": all(back.environment_definition.runtime_context.environment_variables[key] == text
                     for key, text in variables.items()),
}}
body = json.loads(json.dumps(Experiment().append(node, pipeline(DummyTask())), cls=UnicornEncoder))
def answered(change):
    sent = json.loads(json.dumps(body))
    change(sent["deployment_map"][0])
    answer = raw(ada, "POST", "/api/v1/experiment/odd/prepare", json=sent)
    try:
        ada.cancel_experiment("odd")
        finish(ada, "odd")
    except RemoteClientException:
        pass
    raw(ada, "DELETE", "/api/v1/experiment/odd")
    return answer.status_code
docker = {{"image": None, "build_context": {{"python_version": "3.11.7", "cloudpickle_version": "3.1.0"}}}}
text = spaced[0]
def build(key):
    def change(one):
        one["environment_definition"].update({{**docker, "build_context": {{**docker["build_context"], key: text}}}})
        one["environment_definition_type"] = "DockerImage"
    return change
def image(one):
    one["environment_definition"].update({{**docker, "image": text}})
    one["environment_definition_type"] = "DockerImage"
result["answers"] = {{
    "node": answered(lambda one: one["node"].update(name=text)),
    "connector": answered(lambda one: one["node"]["properties"].update(connector=text)),
    "architecture": answered(lambda one: one["node"].update(architecture=text)),
    "executor": answered(lambda one: one.update(executor_id=text)),
    "error": answered(lambda one: one.update(error=text)),
    "type": answered(lambda one: one.update(environment_definition_type=text)),
    "network": answered(lambda one: one["environment_definition"]["runtime_context"].update(network=text)),
    "network without spaces": answered(lambda one: one["environment_definition"]["runtime_context"].update(network=odd[0])),
    "variable": answered(
        lambda one: one["environment_definition"]["runtime_context"].update(environment_variables={{text: "x"}})
    ),
    "python": answered(build("python_version")),
    "cloudpickle": answered(build("cloudpickle_version")),
    "image": answered(image),
}}
""")
    assert told["values"] == [True] * 11
    assert (told["properties"], told["context"], told["variables"]) == (True, True, True)
    assert not mark.exists()
    refused = {"architecture", "type", "network", "variable"}
    assert set(told["answers"].values()) <= {200, 400}, told["answers"]
    assert {name for name in refused if told["answers"][name] == 400} == refused, told["answers"]


async def test_contexts_of_the_client_arrive_in_secrets(lab: Lab, book: Notebook, kit: Kit) -> None:
    await book("""
client = RemoteClient(ada.endpoint, "ada", "a long enough one", authentication_context={"campus": {"token": "s3cret"}})
experiment = one(on(client)[0], SleepTask(60))
experiment.deployment_context = {"campus": {"k": "v"}}
ready(client, experiment, "private")
client.start_execution("private", {"campus": {"go": "now"}})
client.cancel_experiment("private", {"campus": {"stop": "now"}})
""")
    name = await resource(kit, lab.ada, "private-")
    told = {}
    for purpose in ("contexts", "execution", "cancellation"):
        secret = json.loads(lab.run("get", "secret", f"{name}-{purpose}", "-n", lab.ada, "-o", "json"))
        told[purpose] = {key: json.loads(base64.b64decode(value)) for key, value in secret["data"].items()}
        assert secret["metadata"]["ownerReferences"][0]["name"] == name
    own = {"authentication": {"campus": {"token": "s3cret"}}}
    assert told == {
        "contexts": {**own, "deployment": {"campus": {"k": "v"}}},
        "execution": {**own, "execution": {"campus": {"go": "now"}}},
        "cancellation": {**own, "cancellation": {"campus": {"stop": "now"}}},
    }
    assert "s3cret" not in lab.run("get", "experiment", name, "-n", lab.ada, "-o", "json")
    async with kit.store.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM unicorn.mediated_experiment m WHERE m::text LIKE '%s3cret%'") == 0


async def test_private_nodes_of_a_user(lab: Lab, book: Notebook) -> None:
    """A Connector in the user's own namespace, which it shares with nobody."""
    connector = {
        "apiVersion": API_VERSION,
        "kind": "Connector",
        "metadata": {"name": "cellar"},
        "spec": {"type": "fake", "config": {"nodes": 2, "agent": "NoOp"}},
    }
    lab.run("apply", "-n", lab.ada, "-f", "-", input=yaml.safe_dump(connector))
    lab.run("wait", "--for=condition=InventorySynced", "--timeout=60s", "connector/cellar", "-n", lab.ada)
    lab.run("wait", "--for=condition=Ready", "--timeout=60s", "targetnodes", "--all", "-n", lab.ada)
    told = await book("""
deadline = time.monotonic() + 20
while len(on(ada, 9, "cellar")) < 2 and time.monotonic() < deadline:
    time.sleep(0.2)
mine, theirs = on(ada, 9, "cellar"), on(bob, 9, "cellar")
ran = run(ada, one(mine[0], DummyTask()), "below").status.value
bob.prepare_experiment(one(mine[0], DummyTask()), "burglary")
result = [len(mine), len(theirs), ran, str(finish(bob, "burglary").execution_result)]
""")
    lab.run("delete", "connector", "cellar", "-n", lab.ada, "--wait=false")
    assert told == [2, 0, 4, "Connector cellar is not available, cannot proceed"]


async def test_what_kubectl_does_to_a_clients_experiment_the_client_sees(lab: Lab, book: Notebook, kit: Kit) -> None:
    await book("""
ready(ada, one(on(ada)[0], DummyTask(name="done")), "started elsewhere")
ready(ada, one(on(ada, 2)[1], SleepTask(120)), "cancelled elsewhere")
ada.start_execution("cancelled elsewhere")
wait(ada, "cancelled elsewhere", ExperimentStatus.RUNNING)
""")
    for prefix, state in (("started-", "Running"), ("cancelled-", "Cancelled")):
        name = await resource(kit, lab.ada, prefix)
        lab.run("patch", "experiment", name, "-n", lab.ada, "--type=merge", "-p", json.dumps({"spec": {"desiredState": state}}))
    told = await book("""
started, cancelled = finish(ada, "started elsewhere"), finish(ada, "cancelled elsewhere")
result = [list(started.execution_result[0].result[0].unwrap()), started.execution_result[0].error,
          cancelled.execution_result[0].error]
""")
    assert told == [["done"], None, "Executor was stopped"]


async def test_an_executor_that_falls_silent_has_timed_out(book: Notebook) -> None:
    executor = await book("""
experiment = one(on(ada)[0], DummyTask(name="before"), SleepTask(600))
experiment.deployment_map[0].keep_alive_timeout_minutes = 0.1
result = ready(ada, experiment, "silent").experiment[0].executor_id
ada.start_execution("silent")
""")
    id = UUID(executor)

    async def runs() -> list[processes.Process]:
        return processes.of_executors([id])[id]

    await asyncio.sleep(1)
    for process in await eventually(runs, "its agent runs"):
        os.kill(process.pid, signal.SIGSTOP)
    told = await book("""
result = [one.error for one in wait(ada, "silent", ExperimentStatus.FINISHED, seconds=120).execution_result]
""")
    assert told == ["Executor timed out"]


async def test_what_fails_before_it_has_executors_says_why(lab: Lab, book: Notebook, kit: Kit) -> None:
    manifest = {
        "apiVersion": API_VERSION,
        "kind": "Experiment",
        "metadata": {"name": "nowhere-to-go"},
        "spec": {
            "deadlines": {"allocate": "2s"},
            "deployments": [
                {
                    "name": "x",
                    "nodes": {"connectorRef": {"name": "campus", "namespace": lab.infra}, "names": ["c-nowhere"]},
                    "pipeline": {"stages": [{"name": "s", "tasks": [{"name": "t", "run": "true"}]}]},
                }
            ],
        },
    }
    lab.run("apply", "-n", lab.ada, "-f", "-", input=json.dumps(manifest))
    told = await book("""
result = str(finish(ada, "nowhere-to-go").execution_result)
""")
    status = (await kit.kube.get(EXPERIMENTS, lab.ada, "nowhere-to-go"))["status"]
    assert "executors" not in status, "it never had any"
    assert told == status["message"]
