"""The released client against the whole: an experiment's life, call by call."""

import json

import pytest
from e2e_kit import Kit
from mediator_lab import NODES, Lab
from notebooks import Notebook
from unicorn_kube.resource import EXPERIMENTS

pytestmark = pytest.mark.cluster


async def test_an_experiment_from_its_preparation_to_its_results(lab: Lab, book: Notebook, kit: Kit) -> None:
    first = await book("""
name = ada.prepare_experiment(one(on(ada)[0], SleepTask(0.1, name="nap"), ShellCommand("echo hello", name="say")), "first light")
information = ada.get_experiment_status(name)
result = [name, information.status.value, len(information.experiment), information.execution_result]
""")
    assert first == ["first+light", 1, 1, None], "known at once; the client writes a space as a plus"
    ready = await book("""
information = wait(ada, name, ExperimentStatus.READY)
deployment = information.experiment[0]
result = [deployment.prepared, deployment.error, deployment.executor_id, deployment.environment_definition.runtime_context
          .environment_variables, information.execution_result, deployment.node.name, deployment.node["location"]]
""")
    assert ready[:2] == [True, None]
    assert ready[3]["NETUNICORN_EXECUTOR_ID"] == ready[2]
    assert ready[4:] == [None, NODES[0], "lab"]
    ended = await book("""
started = ada.start_execution(name)
at_once = ada.get_experiment_status(name).status.value
information = finish(ada, name)
told = information.execution_result[0]
outcome, log = told.result
values = {task: [str(each) for each in listed] for task, listed in outcome.unwrap().items()}
result = [started, at_once, type(outcome).__name__, values, type(log).__name__, told.error, told.node.name,
          type(told.pipeline).__name__, information.experiment[0].prepared]
""")
    assert ended[:3] == ["first+light", 3, "Success"]
    assert ended[3]["nap"] == ["<Success: 0.1>"] or "Success" in ended[3]["nap"][0]
    assert "hello" in ended[3]["say"][0]
    assert ended[4:] == ["list", None, NODES[0], "Pipeline", True]
    (item,) = (await kit.kube.list(EXPERIMENTS, lab.ada)).items
    assert item["metadata"]["annotations"]["netunicorn.io/name"] == "first+light"
    assert item["metadata"]["annotations"]["netunicorn.io/user"] == "netunicorn:ada"
    assert item["metadata"]["name"].startswith("first-light-")
    assert item["status"]["phase"] == "Succeeded"


async def test_a_name_is_taken_until_it_is_deleted(book: Notebook) -> None:
    told = await book("""
node = on(ada)[0]
before = run(ada, one(node, DummyTask(name="before")), "again")
again = ada.prepare_experiment(one(node, DummyTask(name="after")), "again")
unchanged = ada.get_experiment_status("again").status.value
deleted = ada.delete_experiment("again")
gone = refused(ada.get_experiment_status, "again")
after = run(ada, one(node, DummyTask(name="after")), "again")
result = [again, unchanged, deleted, gone, list(before.execution_result[0].result[0].unwrap()),
          list(after.execution_result[0].result[0].unwrap())]
""")
    assert told[:3] == ["again", 4, None]
    assert 'Status code: 400, content: "Experiment again not found"' in told[3]
    assert told[4:] == [["before"], ["after"]]


@pytest.mark.parametrize("name", ["Übung 1", "a+b", "50%", "'; DROP TABLE x; --", "$(id)", "{name}", "..a", "x" * 200])
async def test_any_name_will_do(book: Notebook, name: str) -> None:
    told = await book(f"""
given = {name!r}
listed = ada.prepare_experiment(one(on(ada)[0], DummyTask()), given)
wait(ada, given, ExperimentStatus.READY)
result = [listed in ada.get_experiments(), ada.get_experiment_status(listed.replace('+', '+')).status.value]
ada.cancel_experiment(given)
finish(ada, given)
ada.delete_experiment(given)
result.append(listed in ada.get_experiments())
""")
    assert told[0] is True
    assert told[2] is False


async def test_what_cannot_be_is_refused_with_netunicorns_words(book: Notebook) -> None:
    told = await book("""
node = on(ada)[0]
ready(ada, one(node, SleepTask(60)), "r")
result = {
    "flag": refused(ada.get_flag_values, "r", "nobody-set-it"),
    "unknown": refused(ada.start_execution, "unknown"),
    "slash": refused(ada.get_experiment_status, "a/b"),
    "executors": refused(ada.cancel_executors, ["x"]),
}
ada.start_execution("r")
result["start"] = refused(ada.start_execution, "r")
result["delete"] = refused(ada.delete_experiment, "r")
result["cancel"] = ada.cancel_experiment("r")
executor = finish(ada, "r").experiment[0].executor_id
result["late"] = refused(ada.cancel_experiment, "r")
result["ended"] = refused(ada.cancel_executors, [executor])
result["mix"] = refused(ada.cancel_executors, [executor, "00000000-0000-0000-0000-000000000000"])
result["password"] = refused(RemoteClient(ada.endpoint, "ada", "wrong").healthcheck)
""")
    assert 'Status code: 400, content: "Flag nobody-set-it not found for experiment r"' in told["flag"]
    assert 'content: "Experiment unknown not found"' in told["unknown"]
    assert 'Status code: 404, content: {"detail": "Not Found"}' in told["slash"]
    assert "Status code: 400, content: \"Some of executors do not belong to user ada: ['x']" in told["executors"]
    assert 'content: "Experiment r is not ready to start. Current status: ExperimentStatus.RUNNING"' in told["start"]
    assert 'content: "Experiment is in status ExperimentStatus.RUNNING, cannot delete it"' in told["delete"]
    assert told["cancel"] == "Executors cancellation started"
    assert 'content: "Experiment r is already finished"' in told["late"]
    assert "Status code: 400" in told["ended"]
    assert "already finished" in told["ended"]
    assert "Status code: 400" in told["mix"]
    assert "Status code: 401" in told["password"]


async def test_experiments_that_never_become_one(book: Notebook) -> None:
    told = await book("""
ada.prepare_experiment(one(Node("n", {"connector": "nowhere"}), DummyTask()), "nowhere")
ada.prepare_experiment(one(Node("n", {}), DummyTask()), "without")
ada.prepare_experiment(Experiment(), "empty")
result = [str(finish(ada, name).execution_result) for name in ("nowhere", "without", "empty")]
ready(ada, one(Node("n", {"connector": "campus"}), DummyTask()), "unknown")
deployment = ada.get_experiment_status("unknown").experiment[0]
result.append([deployment.prepared, str(deployment.error)])
ada.start_execution("unknown")
result.append(finish(ada, "unknown").execution_result[0].error)
for name in ("nowhere", "without", "empty", "unknown"):
    ada.delete_experiment(name)
result.append(list(ada.get_experiments()))
""")
    assert told[0] == "Connector nowhere is not available, cannot proceed"
    assert told[1] == "Node n has no property connector, cannot proceed"
    assert told[2] == "None"
    assert told[3] == [False, "Node n is not available on connector campus"]
    assert told[4:] == ["Node n is not available on connector campus", []]


async def test_failures_of_preparation_stay_with_their_deployment(book: Notebook) -> None:
    told = await book("""
bad = Pipeline(environment_definition=ShellExecution(commands=["echo no such luck >&2; exit 3"])).then(DummyTask())
nodes = on(ada, 2)
information = ready(ada, Experiment().append(nodes[0], bad).append(nodes[1], pipeline(DummyTask())), "half")
result = [[one.prepared, str(one.error) if one.error else None] for one in information.experiment]
ada.start_execution("half")
for told in finish(ada, "half").execution_result:
    result.append([told.error, told.result is not None])
""")
    assert told[0][0] is False
    assert "no such luck" in told[0][1]
    assert told[1] == [True, None]
    assert "no such luck" in told[2][0]
    assert told[2][1] is False
    assert told[3] == [None, True]


async def test_a_node_of_another_user_is_hidden_and_locked_and_ones_own_is_shared(book: Notebook) -> None:
    told = await book("""
node = on(bob)[0]
ready(bob, one(node, SleepTask(60)), "bob's")
seen = [each.name for each in on(ada, 99)]
information = ready(ada, one(node, DummyTask()), "ada's")
result = [node.name in seen, information.experiment[0].prepared, str(information.experiment[0].error),
          node.name in [each.name for each in on(bob, 99)]]
ada.start_execution("ada's")
result.append(finish(ada, "ada's").execution_result[0].error)
shared = run(bob, one(node, DummyTask(name="beside")).append(node, pipeline(DummyTask(name="twice"))), "bob's other")
result.append([list(told.result[0].unwrap()) for told in shared.execution_result])
""")
    assert told[0] is False
    assert told[1:3] == [False, "Node c-0 is already locked by bob"]
    assert told[3] is True
    assert told[4] == "Node c-0 is already locked by bob"
    assert told[5] == [["beside"], ["twice"]]


async def test_cancelling_keeps_what_there_is(book: Notebook) -> None:
    told = await book("""
nodes = on(ada, 3)
ready(ada, Experiment().map(pipeline(DummyTask(name="done"), SleepTask(120, name="nap")), nodes), "long")
ada.start_execution("long")
first = ada.get_experiment_status("long").experiment[0].executor_id
deadline = time.monotonic() + 30
while not (ada.get_experiment_status("long").execution_result or [None])[0]:
    assert time.monotonic() < deadline
    time.sleep(0.1)
one_by_one = ada.cancel_executors([first])
ada.cancel_experiment("long")
result = [one_by_one, [told.error for told in finish(ada, "long").execution_result]]
ready(ada, one(nodes[0], DummyTask()), "held")
result.append(ada.cancel_experiment("held"))
result.append(finish(ada, "held").execution_result[0].error)
""")
    started = "Executors cancellation started"
    assert told == [started, ["Executor was stopped"] * 3, started, "Executor was stopped"]


async def test_flags_between_client_and_executors(book: Notebook) -> None:
    told = await book("""
from netunicorn.library.tasks.flags import AtomicIncrementFlagTask, GetFlagTask, SetFlagTask, WaitForExactFlagResultTask
nodes = on(ada, 2)
meet = [AtomicIncrementFlagTask("here"), WaitForExactFlagResultTask("here", FlagValues(int_value=2), sleep_time=0.1),
        WaitForExactFlagResultTask("go", FlagValues(text_value="later"), sleep_time=0.1)]
meet.append(SetFlagTask("bye", FlagValues(int_value=9)))
ready(ada, Experiment().map(pipeline(*meet), nodes), "flagged")
ada.start_execution("flagged")
ada.set_flag_values("flagged", "go", FlagValues(text_value="now", int_value=2**40))
first = ada.get_flag_values("flagged", "go")
ada.set_flag_values("flagged", "go", FlagValues(text_value="later"))
second = ada.get_flag_values("flagged", "go")
empty = raw(ada, "POST", "/api/v1/experiment/flagged/flag/none", json={})
null = raw(ada, "POST", "/api/v1/experiment/flagged/flag/none", json={"int_value": None})
large = raw(ada, "POST", "/api/v1/experiment/flagged/flag/none", json={"int_value": 2**63})
none = ada.get_flag_values("flagged", "none")
result = [[first.text_value, first.int_value], [second.text_value, second.int_value], [empty.status_code, empty.json()],
          null.status_code, large.status_code, [none.text_value, none.int_value]]
result.append([type(told.result[0]).__name__ for told in finish(ada, "flagged").execution_result])
result.append([ada.get_flag_values("flagged", "bye").int_value, ada.get_flag_values("flagged", "here").int_value])
""")
    assert told[:6] == [["now", 2**40], ["later", 0], [200, None], 422, 422, [None, 0]]
    assert told[6:] == [["Success", "Success"], [9, 2]]


async def test_one_user_sees_nothing_of_another(book: Notebook) -> None:
    told = await book("""
ready(ada, one(on(ada)[0], SleepTask(60)), "mine")
executor = ada.get_experiment_status("mine").experiment[0].executor_id
result = [refused(call, "mine") for call in (bob.get_experiment_status, bob.start_execution, bob.cancel_experiment)]
result += [refused(bob.delete_experiment, "mine"), refused(bob.set_flag_values, "mine", "f", FlagValues(int_value=1)),
          refused(bob.get_flag_values, "mine", "f"), refused(bob.cancel_executors, [executor])]
listed, statuses = list(bob.get_experiments()), [ada.get_experiment_status("mine").status.value]
strays = [refused(stray.get_experiments), refused(stray.get_nodes), refused(stray.start_execution, "mine"),
          refused(stray.prepare_experiment, Experiment(), "x")]
result = [result, listed, statuses, strays]
""")
    assert all("not found" in one or "do not belong" in one for one in told[0]), told[0]
    assert told[1:3] == [[], [2]]
    assert all("Status code: 400" in one and "stray may not" in one for one in told[3]), told[3]


async def test_access_tags_and_sudo(book: Notebook) -> None:
    told = await book("""
def tagged(client):
    return [each.name for each in client.get_nodes().filter(lambda node: bool(node["netunicorn-access-tags"])).take(9)]
node = Node("c-tagged", {"connector": "campus"})
seen = [tagged(ada), tagged(tess), tagged(other)]
denied = ready(other, one(node, DummyTask()), "denied").experiment[0]
allowed = ready(tess, one(node, DummyTask()), "allowed").experiment[0]
arguments = Pipeline(environment_definition=ShellExecution(runtime_context=RuntimeContext(additional_arguments=["--privileged"])))
experiment = Experiment().append(on(ada)[0], arguments.then(DummyTask()))
result = [*seen, [denied.prepared, str(denied.error)], str(allowed.error),
          refused(ada.prepare_experiment, experiment, "arguments"), root.prepare_experiment(experiment, "arguments")]
for name in ("denied", "allowed", "arguments"):
    wait(root, name, ExperimentStatus.READY)
    root.cancel_experiment(name)
""")
    assert told[:3] == [["c-tagged"], ["c-tagged"], []]
    assert told[3:5] == [[False, "Node c-tagged is not available on connector campus"], "None"]
    assert "This user is not allowed to use additional arguments in runtime context" in told[5]
    assert told[6] == "arguments"


async def test_an_experiment_of_kubectl_is_one_of_the_clients(lab: Lab, book: Notebook) -> None:
    manifest = {
        "apiVersion": "netunicorn.io/v1alpha1",
        "kind": "Experiment",
        "metadata": {"name": "by-hand"},
        "spec": {
            "desiredState": "Ready",
            "deployments": [
                {
                    "name": "x",
                    "nodes": {"connectorRef": {"name": "campus", "namespace": lab.infra}, "names": ["c-3"]},
                    "pipeline": {"stages": [{"name": "s", "tasks": [{"name": "t", "run": "true"}]}]},
                }
            ],
        },
    }
    lab.run("apply", "-n", lab.ada, "-f", "-", input=json.dumps(manifest))
    told = await book("""
information = wait(ada, "by-hand", ExperimentStatus.READY)
listed = ada.get_experiments()["by-hand"].status.value
ada.start_execution("by-hand")
ended = finish(ada, "by-hand")
told = ended.execution_result[0]
result = [listed, information.experiment[0].node.name, information.experiment[0].prepared, told.result, told.error,
          list(told.pipeline.graph.nodes), ada.prepare_experiment(Experiment(), "by-hand"), ada.delete_experiment("by-hand")]
""")
    assert told == [2, "c-3", True, None, None, ["root"], "by-hand", None]


async def test_nodes_are_pools_with_properties(book: Notebook) -> None:
    told = await book("""
pool = ada.get_nodes()
campus = pool.filter(lambda node: node["connector"] == "campus")
node = campus.take(1)[0]
text = raw(ada, "GET", "/api/v1/nodes").text
result = [type(pool).__name__, [type(each).__name__ for each in pool.nodes], node.name, node["location"], node["cores"],
          sorted(kind.__name__ for kind in node.available_environments), node.architecture.value, "Infinity" in text]
""")
    assert told[0] == "CountableNodePool"
    assert set(told[1]) <= {"CountableNodePool", "UncountableNodePool"}
    assert told[2:6] == ["c-0", "lab", 4, ["ShellExecution"]]
    assert told[6] in ("linux/amd64", "linux/arm64")
    assert told[7] is False


async def test_what_the_client_never_sends_is_answered_as_well(lab: Lab, book: Notebook, kit: Kit) -> None:
    told = await book("""
ada.healthcheck()
def said(*arguments, **more):
    answer = raw(ada, *arguments, **more)
    return [answer.status_code, answer.json()]
ready(ada, one(on(ada)[0], SleepTask(60)), "r")
body = json.loads(json.dumps(one(on(ada)[0], DummyTask()), cls=UnicornEncoder))
old, new = "netunicorn-auth-context", "netunicorn-authentication-context"
prepare = "/api/v1/experiment/contexts/prepare"
result = {
    "health": said("GET", "/api/v1/health"),
    "body": said("POST", "/api/v1/experiment/x/prepare", data=b"{"),
    "form": said("POST", "/api/v1/executors/cancel", json={"executors": "x"}),
    "old": said("POST", prepare, json=body, headers={old: "{"}),
    "new": said("POST", prepare, json={**body, "deployment_context": {"campus": {"k": "v"}}}, headers={new: "{"}),
    "start": said("POST", "/api/v1/experiment/r/start", json=[1]),
    "days": said("GET", "/api/v1/ui/last_experiments?days=x"),
    "running": said("GET", "/api/v1/ui/running_experiments"),
    "last": said("GET", "/api/v1/ui/last_experiments"),
    "locks": said("GET", "/api/v1/ui/locks"),
    "compilations": said("GET", "/api/v1/ui/compilations"),
}
result["read back"] = wait(ada, "contexts", ExperimentStatus.READY).experiment.deployment_context
""")
    assert told["health"] == [200, "OK"]
    assert told["body"][0] == 400
    assert told["body"][1]["detail"].startswith("Couldn't parse experiment from the provided data")
    assert told["form"][0] == 422
    assert told["old"][0] == 400
    assert told["new"] == [200, "contexts"]
    assert told["read back"] == {"campus": {"k": "v"}}
    assert told["start"][0] == 422
    assert told["days"][0] == 422
    rows = {row["experiment_name"]: row for row in told["running"][1]}
    assert (rows["r"]["status"], rows["r"]["username"], rows["r"]["nodes"]) == ("ExperimentStatus.READY", "ada", "c-0")
    assert rows["r"]["start_time"] != ""
    assert "r" in {row["experiment_name"] for row in told["last"][1]}
    assert {"node_name": "c-0", "username": "ada", "connector": "campus"} in told["locks"][1]
    assert told["compilations"] == [200, []]
    secrets = lab.run("get", "secrets", "-n", lab.ada, "-o", "name")
    assert "secret/contexts-" in secrets


async def test_executors_that_report_nothing_end_when_they_end(book: Notebook) -> None:
    told = await book("""
information = run(ada, one(on(ada)[0], DummyTask(), report_results=False), "silent")
result = [information.execution_result[0].result, information.execution_result[0].error]
""")
    assert told == [None, None]
