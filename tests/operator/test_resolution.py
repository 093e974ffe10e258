"""What an experiment's serialized graphs are resolved to: the store's, a missing one, a fit or unfit agent."""

from typing import Any

import pytest
from unicorn_core.resources import ExperimentSpec, load
from unicorn_operator.cache import Caches
from unicorn_operator.dependents import waiting_for_graphs
from unicorn_operator.experiments.resolution import Resolved, resolve, serialized_graphs
from unicorn_operator.janitor import named_graphs
from unicorn_operator.key import Key

A, B = "a" * 64, "b" * 64
STAGES = {"stages": [{"name": "s", "tasks": [{"name": "t", "run": "true"}]}]}


def _caches(*objects: tuple[str, str, dict[str, Any]]) -> Caches:
    caches = Caches()
    for number, (kind, name, rest) in enumerate(objects):
        metadata = {"namespace": "lab", "name": name, "uid": f"{kind}-{name}", "resourceVersion": str(number + 1)}
        caches.by_kind[kind].put({"kind": kind, "metadata": metadata, **rest})
    return caches


def _spec(**deployment: Any) -> ExperimentSpec:
    return load(ExperimentSpec, {"deployments": [{"name": "d", "nodes": {"count": 1}, **deployment}]})


def _resolve(spec: ExperimentSpec, caches: Caches, **graphs: bool) -> Resolved:
    return resolve(spec, "lab", caches, graphs)


@pytest.mark.parametrize(
    ("graphs", "expected"), [({A: True}, True), ({A: False}, False)], ids=["reports", "does not report: the pickle says so"]
)
def test_a_graph_that_is_there(graphs: dict[str, bool], expected: bool) -> None:
    found = _resolve(_spec(pipeline={"serialized": {"sha256": A}}), _caches(), **graphs)
    (one,) = found.deployments
    assert (one.serialized, one.graph, one.body["reportResults"]) == (A, {"serialized": {"sha256": A}}, expected)
    assert not found.missing
    assert not found.problems


def test_a_graph_that_is_not_there_yet_is_waited_for() -> None:
    found = _resolve(_spec(pipeline={"serialized": {"sha256": A}}), _caches(), **{B: True})
    assert found.missing == (f"the serialized graph {A}",)
    assert not found.deployments


def test_the_graphs_that_an_experiment_names() -> None:
    caches = _caches(("Pipeline", "p", {"spec": {"serialized": {"sha256": B}}}), ("Pipeline", "q", {"spec": STAGES}))
    deployments = [
        {"name": str(number), "nodes": {"count": 1}, **one}
        for number, one in enumerate(
            [
                {"pipeline": {"serialized": {"sha256": A}}},
                {"pipelineRef": {"name": "p"}},
                {"pipelineRef": {"name": "q"}},
                {"pipelineRef": {"name": "nowhere"}},
                {"pipeline": STAGES},
            ]
        )
    ]
    assert serialized_graphs(load(ExperimentSpec, {"deployments": deployments}), "lab", caches) == {A, B}


def test_netunicorns_agent_runs_no_stages() -> None:
    caches = _caches(
        ("Environment", "theirs", {"spec": {"image": {"ref": "lab/tool:1"}, "agent": "Netunicorn"}}),
        ("Pipeline", "p", {"spec": {"serialized": {"sha256": A}}}),
    )
    stages = _resolve(_spec(pipeline=STAGES, environmentRef={"name": "theirs"}), caches)
    assert [(problem.path, problem.reason) for problem in stages.problems] == [
        ("spec.deployments[0].environmentRef.agent", "AgentCannotRun")
    ]
    assert not _resolve(_spec(pipelineRef={"name": "p"}, environmentRef={"name": "theirs"}), caches, **{A: True}).problems


def test_who_is_woken_when_a_graph_arrives() -> None:
    caches = _caches(
        ("Experiment", "new", {"spec": {}}),
        ("Experiment", "waits", {"spec": {}, "status": {"phase": "Pending"}}),
        ("Experiment", "runs", {"spec": {}, "status": {"phase": "Running"}}),
    )
    assert set(waiting_for_graphs(caches, "lab")) == {Key("Experiment", "lab", "new"), Key("Experiment", "lab", "waits")}
    assert waiting_for_graphs(caches, "elsewhere") == []


def test_the_graphs_that_stay() -> None:
    deployments = [{"pipeline": {"serialized": {"sha256": B}}}, {"pipelineRef": {"name": "p"}}]
    caches = _caches(
        ("Pipeline", "p", {"spec": {"serialized": {"sha256": A}}}),
        ("Pipeline", "q", {"spec": STAGES}),
        ("Experiment", "e", {"spec": {"deployments": deployments}}),
    )
    assert set(named_graphs(caches)) == {("lab", A), ("lab", B)}
