"""Models: loading with paths, dumping, defaults, the small types."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from unicorn_core.errors import Refused
from unicorn_core.resources import (
    Condition,
    EnvironmentSpec,
    ExecutorCounts,
    ExperimentSpec,
    ExperimentStatus,
    Phase,
    PipelineSpec,
    Portion,
    TargetNodeSpec,
    dump,
    load,
)

MINIMAL = {"deployments": [{"name": "d", "nodes": {"count": 1}, "pipelineRef": {"name": "p"}}]}


def refusals(model, document):
    with pytest.raises(Refused) as refused:
        load(model, document)
    return [str(problem) for problem in refused.value.problems]


def test_defaults_are_the_designs():
    spec = load(ExperimentSpec, MINIMAL)
    assert dump(spec) | {"deployments": None} == {
        "desiredState": "Running",
        "attempt": 1,
        "priority": 0,
        "deployments": None,
        "allocation": {"mode": "AllOrNothing", "whenBusy": "Queue", "share": "Exclusive"},
        "start": {"together": True, "quorum": "100%"},
        "deadlines": {"allocate": "1h", "prepare": "30m", "hold": "24h", "start": "5m", "run": "24h", "cleanup": "5m"},
        "failurePolicy": {"tolerate": "0%"},
    }
    assert spec.deployments[0].keep_alive == timedelta(minutes=10)
    assert spec.deployments[0].cleanup
    assert load(EnvironmentSpec, {"shell": {}}).agent == "Native"


def test_what_is_dumped_can_be_loaded():
    spec = load(ExperimentSpec, {**MINIMAL, "start": {"quorum": 3}, "deadlines": {"run": "90s"}})
    assert load(ExperimentSpec, dump(spec)) == spec
    assert dump(spec)["deadlines"]["run"] == "1m30s"


@pytest.mark.parametrize(
    ("document", "said", "because"),
    [
        ({}, "spec.deployments: is missing; add it", "a field that must be there"),
        ({**MINIMAL, "attempt": None}, "spec.attempt: is null; leave the field out", "optional is absent"),
        (
            {**MINIMAL, "desired_state": "Ready"},
            "spec.desired_state: is not a field; did you mean desiredState?",
            "camelCase only",
        ),
        ({**MINIMAL, "zzz": 1}, "spec.zzz: is not a field; its fields are", "nothing is near"),
        ({"deployments": {}}, "spec.deployments: is not a list", "an object for a list"),
        ({"deployments": ["x"]}, "spec.deployments[0]: is not an object (found 'x')", "a text for an object"),
        ({**MINIMAL, "attempt": 0}, "spec.attempt: is too small (found 0); write at least 1", "bounds"),
        ({**MINIMAL, "start": {"quorum": True}}, "spec.start.quorum: True is neither a number", "true is no number"),
        ({**MINIMAL, "start": {"quorum": "50 %"}}, "spec.start.quorum: '50 %' is neither", "no blank"),
        ({**MINIMAL, "deadlines": {"run": 30}}, "spec.deadlines.run: 30 is not a duration", "a number has no unit"),
    ],
)
def test_refusals_name_path_and_fix(document, said, because):
    assert any(text.startswith(said) for text in refusals(ExperimentSpec, document)), (
        because,
        refusals(ExperimentSpec, document),
    )


def test_all_problems_are_found_at_once():
    document = {"deployments": [{"name": "A", "nodes": {"count": 0}}, {"nodes": {}}], "attempt": "one"}
    assert [text.split(":")[0] for text in refusals(ExperimentSpec, document)] == [
        "spec.attempt",
        "spec.deployments[0].name",
        "spec.deployments[0].nodes.count",
        "spec.deployments[1].name",
    ]


def test_free_objects_keep_what_they_hold():
    document = {"connectorRef": {"name": "c"}, "nodeName": "n", "propertyOverrides": {"a": None, "b": [1, {"c": "x"}]}}
    assert dump(load(TargetNodeSpec, document))["propertyOverrides"] == document["propertyOverrides"]


def test_edges_are_read_by_their_manifest_names():
    graph = {"tasks": [{"name": "a", "run": "true"}], "edges": [{"from": "root", "to": "a"}]}
    spec = load(PipelineSpec, {"graph": graph})
    assert spec.graph.edges[0].from_ == "root"
    assert dump(spec)["graph"]["edges"] == [{"from": "root", "to": "a", "weak": False}]


def test_a_status_says_nothing_that_it_does_not_know():
    assert dump(ExperimentStatus()) == {}
    noon = datetime(2026, 5, 4, 14, 0, 0, 999, tzinfo=timezone(timedelta(hours=2)))
    status = ExperimentStatus(
        phase=Phase.RUNNING,
        phase_start_time=noon,
        conditions=(Condition(type="Accepted", status="True", last_transition_time=noon.astimezone(UTC)),),
        executors=ExecutorCounts(total=2, checked_in=2),
    )
    document = dump(status)
    assert document["phaseStartTime"] == "2026-05-04T12:00:00Z"
    assert document["conditions"] == [{"type": "Accepted", "status": "True", "lastTransitionTime": "2026-05-04T12:00:00Z"}]
    assert document["executors"]["checkedIn"] == 2
    assert load(ExperimentStatus, document, at="status").executors == status.executors


def test_a_status_of_a_newer_version_can_be_read():
    assert load(ExperimentStatus, {"phase": "Running", "aura": "violet"}, at="status").phase is Phase.RUNNING


@pytest.mark.parametrize(
    ("portion", "total", "up", "down", "because"),
    [
        ("100%", 7, 7, 7, "all"),
        ("0%", 7, 0, 0, "none"),
        ("50%", 7, 4, 3, "a quorum rounds up, a tolerance down"),
        ("10%", 10, 1, 1, "no rounding where none is needed"),
        ("29%", 100, 29, 29, "and none by floating point"),
        (3, 7, 3, 3, "a number is a number"),
        (9, 7, 7, 7, "but not more than there are"),
        ("50%", 0, 0, 0, "of none"),
    ],
)
def test_portions(portion, total, up, down, because):
    parsed = Portion.parse(portion)
    assert (parsed.of(total, round_up=True), parsed.of(total, round_up=False)) == (up, down), because
    assert parsed.dump() == portion


@pytest.mark.parametrize(
    ("spec", "slots"), [({}, 1), ({"capacity": 4}, 4), ({"elastic": {"max": 200}}, 200)], ids=["default", "device", "pool"]
)
def test_slots(spec, slots):
    assert load(TargetNodeSpec, {"connectorRef": {"name": "c"}, "nodeName": "x", **spec}).slots == slots
