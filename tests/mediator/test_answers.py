"""Our phases, states and reasons in netunicorn's words."""

import base64
import json
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from unicorn_core.naming import executor_id
from unicorn_gateway.user_api.mediator.answers import Experiment, Status, View, attempt_of, error_of, status_of, without_executors
from unicorn_gateway.user_api.mediator.foreign import kept_of
from unicorn_gateway.user_api.mediator.nodes import ConnectorName, Inventory
from unicorn_gateway.user_api.mediator.orders import Kept, KeptOrder, Place
from unicorn_store.mediator import Executor, Snapshot

STATUSES = [
    (None, "Ready", Status.PREPARING),
    ("Pending", "Running", Status.PREPARING),
    ("Allocating", "Ready", Status.PREPARING),
    ("Preparing", "Ready", Status.PREPARING),
    ("Ready", "Ready", Status.READY),
    ("Ready", "Running", Status.RUNNING),
    ("Ready", "Cancelled", Status.RUNNING),
    ("Starting", "Running", Status.RUNNING),
    ("Running", "Running", Status.RUNNING),
    ("Finishing", "Running", Status.RUNNING),
    ("Succeeded", "Running", Status.FINISHED),
    ("Failed", "Running", Status.FINISHED),
    ("Cancelled", "Ready", Status.FINISHED),
]


@pytest.mark.parametrize(("phase", "desired", "status"), STATUSES)
def test_statuses(phase, desired, status) -> None:
    assert status_of(phase, desired) is status
    assert str(Status.RUNNING) == "ExperimentStatus.RUNNING"


def test_the_attempt_is_the_one_that_the_status_describes() -> None:
    assert attempt_of({"spec": {"attempt": 3}, "status": {"attempt": 2}}) == 2
    assert attempt_of({"spec": {"attempt": 3}}) == 3
    assert attempt_of({"spec": {}}) == 1


def executor(state: str, reason: str = "", message: str = "", **more: Any) -> Executor:
    values: dict[str, Any] = {
        "id": uuid4(),
        "deployment": "d1",
        "index": 0,
        "node": "n1",
        "node_properties": {},
        "connector_uid": None,
        "prepared": True,
        "report_bytes": None,
        "final": False,
    }
    return Executor(state=state, reason=reason, message=message, **{**values, **more})


ERRORS = [
    (executor("Running"), None),
    (executor("Succeeded", final=True, report_bytes=1), None),
    (executor("Failed", "TaskFailed", "task x failed", final=True, report_bytes=1), None),
    (executor("Lost", "ExecutorTimedOut", "silent since …"), "Executor timed out"),
    (executor("Lost", "OOMKilled", "it used too much memory"), "it used too much memory"),
    (executor("Cancelled", "CancelRequested", "Executor was stopped"), "Executor was stopped"),
    (executor("Cancelled", "Cancelled", "", final=True, report_bytes=1), "Executor was stopped"),
    (executor("Failed", "NodesBusy", "Node n1 is already locked by netunicorn:bob"), "Node n1 is already locked by bob"),
    (executor("Failed", "CommandFailed", "exit code 1: pip install x"), "exit code 1: pip install x"),
    (executor("Failed", "NoReport", ""), "NoReport"),
    (executor("Failed", "GraphUnloadable", "", final=True, report_bytes=9), None),
]


@pytest.mark.parametrize(("one", "error"), ERRORS)
def test_errors(one: Executor, error: str | None) -> None:
    assert error_of(one) == error


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ({"phase": "Failed", "reason": "Invalid", "message": "spec.deployments: no"}, "spec.deployments: no"),
        ({"phase": "Failed", "message": "n is locked by netunicorn:bob"}, "n is locked by bob"),
        ({"phase": "Failed", "reason": "AllocateDeadlineExceeded"}, "AllocateDeadlineExceeded"),
        ({"phase": "Failed"}, "Failed"),
        ({"phase": "Succeeded", "message": "no executors"}, None),
        ({"phase": "Cancelled", "message": "Cancelled"}, None),
        ({}, None),
    ],
)
def test_what_has_failed_without_executors(status, error) -> None:
    assert without_executors({"status": status}) == error


UID = uuid4()
ENVIRONMENT = {"commands": [], "runtime_context": {"environment_variables": {"A": "1"}, "ports_mapping": {}}}


def order(place: Place | None, refusal: str = "") -> KeptOrder:
    return KeptOrder({"name": "n1"}, 0, "digest", 10.0, True, place, refusal)


def view(status: Status, orders: list[KeptOrder], executors: list[Executor]) -> View:
    kept = Kept(tuple(orders), (("ShellExecution", ENVIRONMENT),), {"lab": {"k": "v"}})
    known = {Place(one.deployment, one.index): one for one in executors}
    return View(Experiment("e", UID, 1, status), kept, known, {"digest": 5})


def test_a_definition_in_the_clients_order() -> None:
    failed = executor("Failed", "CommandFailed", "no pip", index=1, prepared=False)
    orders = [order(Place("d1", 1)), order(None, "Node n1 is not there"), order(Place("d1", 0)), order(Place("d2", 0))]
    found = [json.loads(one.text("R1JBUEg=")) for one in view(Status.READY, orders, [executor("Prepared"), failed]).ordered()]
    told = [(one["prepared"], one["error"]) for one in found]
    assert told == [(False, "no pip"), (False, "Node n1 is not there"), (True, None), (False, None)]
    first = found[0]
    assert first["executor_id"] == str(executor_id(UID, 1, "d1", 1))
    assert first["execution_graph"] == "R1JBUEg="
    assert first["keep_alive_timeout_minutes"] == 10
    variables = first["environment_definition"]["runtime_context"]["environment_variables"]
    assert variables == {"A": "1", "NETUNICORN_EXECUTOR_ID": first["executor_id"], "NETUNICORN_EXPERIMENT_ID": str(UID)}
    assert len({one["executor_id"] for one in found}) == 4, "also a refused one has an id"


def test_outcomes_with_partial_results() -> None:
    running = executor("Running", report_bytes=5)
    lost = executor("Lost", "ExecutorTimedOut", index=1, report_bytes=3)
    found = list(
        view(Status.RUNNING, [order(Place("d1", 0)), order(Place("d1", 1)), order(None, "no")], [running, lost]).outcomes()
    )
    assert [(one.reporter, one.error) for one in found] == [(running.id, None), (lost.id, "Executor timed out"), (None, "no")]
    assert json.loads(found[0].text("R1JBUEg=", b"bytes")) == {
        "node": {"name": "n1"},
        "execution_graph": "R1JBUEg=",
        "result": base64.b64encode(b"bytes").decode(),
        "error": None,
    }
    assert json.loads(found[2].text("R1JBUEg=", None))["result"] is None


TELLS = [
    (Status.PREPARING, [executor("Failed", "x")], False),
    (Status.READY, [executor("Failed", "x")], False),
    (Status.RUNNING, [executor("Running")], False),
    (Status.RUNNING, [executor("Running", report_bytes=1)], True),
    (Status.RUNNING, [executor("Failed", "x")], True),
    (Status.FINISHED, [], True),
]


@pytest.mark.parametrize(("status", "executors", "tells"), TELLS)
def test_when_there_is_a_result(status, executors, tells) -> None:
    assert view(status, [order(Place("d1", 0))], executors).tells() is tells


CONNECTOR = UUID(int=7)
INVENTORY = Inventory("home", (ConnectorName("home", "lab"),), ())


def test_an_experiment_of_kubectl_as_if_a_client_had_made_it() -> None:
    item = {
        "spec": {
            "deployments": [
                {"name": "a", "nodes": {"count": 1}, "environment": {"shell": {"commands": ["x"]}}, "keepAlive": "90s"},
                {"name": "b", "nodes": {"names": ["n7"]}, "environmentRef": {"name": "py"}, "cleanup": False},
            ]
        }
    }
    executors = [
        executor("Running", deployment="a", node="n3", node_properties={"location": "lab", "architecture": "linux/arm64"},
                 connector_uid=CONNECTOR),
        executor("Failed", "NodesBusy", "busy", deployment="b", node="", prepared=False),
    ]  # fmt: skip
    snapshots = [Snapshot("a", None, {"environment": None}), Snapshot("b", "f" * 64, {"environment": {"image": {"ref": "i:1"}}})]
    kept = kept_of(item, executors, snapshots, INVENTORY, {CONNECTOR: ConnectorName("home", "lab")})
    assert [one.node["name"] for one in kept.orders] == ["n3", "n7"]
    assert kept.orders[0].node["properties"] == {"location": "lab", "architecture": "linux/arm64", "connector": "lab"}
    assert kept.orders[0].node["architecture"] == "linux/arm64"
    assert [(one.keep_alive_minutes, one.cleanup, one.graph) for one in kept.orders] == [(1.5, True, ""), (10, False, "f" * 64)]
    assert [kind for kind, _ in kept.environments] == ["ShellExecution", "DockerImage"]
    known = {Place(one.deployment, one.index): one for one in executors}
    (first, _) = View(Experiment("e", UID, 1, Status.RUNNING), kept, known, {}).ordered()
    assert first.digest == "", "the answer has the empty graph there"


def test_before_nodes_are_given_out_those_that_are_named_are_shown() -> None:
    item = {"spec": {"deployments": [{"name": "a", "nodes": {"names": ["x", "y"]}}, {"name": "b", "nodes": {"count": 3}}]}}
    kept = kept_of(item, [], [], INVENTORY, {})
    assert [(one.node["name"], one.place) for one in kept.orders] == [("x", Place("a", 0)), ("y", Place("a", 1))]
    assert kept_of({"spec": {"deployments": []}}, [], [], INVENTORY, {}).orders == ()


BATCHES = [
    ("abc", {"a": 10, "b": 10, "c": 10}, 100, ["abc"], "all at once"),
    ("abc", {"a": 10, "b": 10, "c": 10}, 20, ["ab", "c"], "as many as there is room for"),
    ("aaaa", {"a": 10}, 10, ["aaaa"], "a graph that several have is there once"),
    ("abab", {"a": 10, "b": 10}, 10, ["a", "b", "a", "b"], "in their order, whatever it costs"),
    ("abc", {"a": 10, "b": 99, "c": 10}, 20, ["a", "b", "c"], "one that is too large comes alone"),
    ("xyz", {}, 20, ["xyz"], "graphs that are not there"),
    ("", {}, 20, [], "nothing"),
]


@pytest.mark.parametrize(("digests", "sizes", "most", "expected", "because"), BATCHES, ids=[row[-1] for row in BATCHES])
def test_batches(digests, sizes, most, expected, because) -> None:
    kept = Kept(tuple(replace(order(None), graph=digest) for digest in digests), (("ShellExecution", ENVIRONMENT),), None)
    shown = View(Experiment("e", UID, 1, Status.FINISHED), kept, {}, sizes)
    for answers in (shown.ordered(), shown.outcomes()):
        found = ["".join(one.digest for one in batch.answers) for batch in shown.batches(answers, most)]
        assert found == expected, because


def test_reports_count_too() -> None:
    executors = [executor("Succeeded", index=index, report_bytes=8, final=True) for index in range(3)]
    shown = view(Status.FINISHED, [order(Place("d1", index)) for index in range(3)], executors)
    assert [(len(batch.answers), batch.bytes) for batch in shown.batches(shown.outcomes(), 21)] == [(2, 21), (1, 13)]


def test_what_cannot_be_made_yet_says_why_with_each_deployment() -> None:
    kept = Kept((order(Place("d1", 0)), order(None, "no such node")), (("ShellExecution", ENVIRONMENT),), None)
    shown = View(Experiment("e", UID, 1, Status.PREPARING, trouble="not yet"), kept, {}, {})
    assert [json.loads(one.text(""))["error"] for one in shown.ordered()] == ["not yet", "no such node"]
