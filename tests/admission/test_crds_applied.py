"""The CRDs in a real API server, without webhooks: defaults, rules, columns, explain."""

import json

import pytest
from unicorn_core.resources import KINDS, ConnectorSpec, EnvironmentSpec, ExperimentSpec, PipelineSpec, TargetNodeSpec, dump, load

pytestmark = pytest.mark.cluster

API = "netunicorn.io/v1alpha1"
PIPELINE = {"stages": [{"name": "s", "tasks": [{"name": "t", "run": "true"}]}]}
DEPLOYMENT = {"name": "d", "nodes": {"count": 1}, "pipelineRef": {"name": "p"}}


def a_manifest(kind, spec, name="it"):
    return {"apiVersion": API, "kind": kind, "metadata": {"name": name}, "spec": spec}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_explain(administrator, kind):
    said = administrator("explain", f"{kind.short_names[0]}.spec")
    assert f"KIND:       {kind.name}" in said
    for field in kind.spec.model_fields.values():
        assert f"  {field.alias}\t<" in said
        assert " ".join(field.description.split()[:3]) in " ".join(said.split())


@pytest.mark.parametrize(
    ("kind", "model", "spec"),
    [
        ("Experiment", ExperimentSpec, {"deployments": [DEPLOYMENT]}),
        ("Experiment", ExperimentSpec, {"deployments": [{"name": "d", "nodes": {"all": {}}, "pipeline": PIPELINE}]}),
        ("Experiment", ExperimentSpec, {"deployments": [], "start": {"quorum": 3}, "deadlines": {"run": "1m"}}),
        ("Pipeline", PipelineSpec, PIPELINE),
        ("Environment", EnvironmentSpec, {"build": {"base": "debian:12"}, "runtime": {"ports": [{"containerPort": 80}]}}),
        ("Environment", EnvironmentSpec, {"shell": {}}),
        ("Connector", ConnectorSpec, {"type": "fake", "config": {"free": [1, {"a": None}]}}),
        ("TargetNode", TargetNodeSpec, {"connectorRef": {"name": "c"}, "nodeName": "x"}),
    ],
)
def test_the_api_server_writes_the_defaults_of_the_models(administrator, kind, model, spec):
    said = administrator("create", "--dry-run=server", "-o", "json", "-f", "-", manifest=a_manifest(kind, spec))
    stored = json.loads(said)["spec"]
    assert load(model, stored) == load(model, spec)
    written = {field: value for field, value in dump(load(model, spec)).items() if isinstance(value, str | int) and value}
    assert written.items() <= stored.items()


@pytest.mark.parametrize(
    ("kind", "spec", "said"),
    [
        ("Pipeline", {}, "write exactly one of stages, graph, serialized"),
        ("Pipeline", {**PIPELINE, "serialized": {"sha256": "0" * 64}}, "write exactly one of stages"),
        (
            "Pipeline",
            {"stages": [{"name": "s", "tasks": [{"name": "t", "run": "x", "script": "y"}]}]},
            "a task is of one kind",
        ),
        (
            "Pipeline",
            {"stages": [{"name": "s", "tasks": [{"name": "t", "flag": {"set": "x", "add": "y"}}]}]},
            "write exactly one of set, get, add, wait, barrier",
        ),
        ("Pipeline", {"stages": [{"name": "s", "tasks": [{"name": "T", "run": "x"}]}]}, "spec.stages[0].tasks[0].name"),
        ("Environment", {}, "write exactly one of image, build, shell"),
        ("Environment", {"shell": {}, "runtime": {"env": [{"name": "A"}]}}, "write one of value, valueFrom"),
        ("Experiment", {"deployments": [{**DEPLOYMENT, "pipeline": PIPELINE}]}, "write one of pipelineRef, pipeline"),
        ("Experiment", {"deployments": [{**DEPLOYMENT, "nodes": {}}]}, "say how many"),
        ("Experiment", {"deployments": [{**DEPLOYMENT, "nodes": {"names": ["a"], "matchExpressions": []}}]}, "not both"),
        ("Experiment", {"deployments": [{**DEPLOYMENT, "nodes": {"count": 1, "all": {}}}]}, "write count or all"),
        ("Experiment", {"deployments": [{**DEPLOYMENT, "keepAlive": "1d"}]}, "spec.deployments[0].keepAlive"),
        ("Experiment", {"deployments": [], "start": {"quorum": "101%"}}, "spec.start.quorum"),
        ("Experiment", {"deployments": [], "start": {"quorum": -1}}, "spec.start.quorum"),
        ("Experiment", {"deployments": [], "start": {"quorum": True}}, "spec.start.quorum"),
        ("Experiment", {"deployments": [DEPLOYMENT, DEPLOYMENT]}, "Duplicate value"),
        ("Experiment", {"deployments": [], "desiredState": "running"}, "spec.desiredState"),
        ("Connector", {"type": "fake", "sharing": {"namespaces": {"from": "Selector"}}}, "selector belongs to from"),
        ("TargetNode", {"connectorRef": {"name": "c"}, "nodeName": "x", "capacity": 1, "elastic": {"max": 1}}, "write capacity"),
    ],
)
def test_rules(administrator, kind, spec, said):
    assert said in administrator.refused("create", "--dry-run=server", "-f", "-", manifest=a_manifest(kind, spec))


@pytest.mark.parametrize(
    ("kind", "old", "new", "said"),
    [
        ("Experiment", {"deployments": [], "attempt": 2}, {"attempt": 1}, "attempt can only be raised"),
        ("Connector", {"type": "fake"}, {"type": "local"}, "the type of a connector cannot change"),
        ("TargetNode", {"connectorRef": {"name": "c"}, "nodeName": "x"}, {"nodeName": "z"}, "nodeName of a node cannot"),
        ("TargetNode", {"connectorRef": {"name": "c"}, "nodeName": "x"}, {"connectorRef": {"name": "e"}}, "connector"),
    ],
)
def test_what_cannot_change(kubectl, kind, old, new, said):
    kubectl.apply(a_manifest(kind, old))
    assert said in kubectl.refused("patch", kind.lower(), "it", "--type=merge", "-p", json.dumps({"spec": new}))


def test_columns_conditions_and_the_category(kubectl):
    kubectl.apply(a_manifest("Experiment", {"deployments": [DEPLOYMENT]}))
    kubectl.apply(a_manifest("Pipeline", PIPELINE))
    condition = {"type": "Complete", "status": "True", "reason": "Completed", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    status = {
        "phase": "Succeeded",
        "progress": "10/10 finished",
        "reason": "Completed",
        "conditions": [condition],
        "executors": {"total": 10, "succeeded": 9, "failed": 1},
    }
    kubectl("patch", "exp/it", "--subresource=status", "--type=merge", "-p", json.dumps({"status": status}))
    header, row = kubectl("get", "exp").splitlines()
    assert header.split() == ["NAME", "PHASE", "PROGRESS", "FAILED", "REASON", "AGE"]
    assert row.split()[:6] == ["it", "Succeeded", "10/10", "finished", "1", "Completed"]
    assert "condition met" in kubectl("wait", "--for=condition=Complete", "--timeout=5s", "exp/it")
    everything = kubectl("get", "unicorn")
    assert "experiment.netunicorn.io/it" in everything
    assert "pipeline.netunicorn.io/it" in everything


def test_status_is_written_through_its_subresource_only(kubectl):
    kubectl.apply({**a_manifest("Experiment", {"deployments": []}), "status": {"phase": "Succeeded"}})
    assert "status" not in kubectl.get("exp", "it")


def test_server_side_apply_merges_deployments_by_name(kubectl):
    first, second = {**DEPLOYMENT, "name": "first"}, {**DEPLOYMENT, "name": "second"}
    for manager, deployment in (("one", first), ("two", second)):
        manifest = a_manifest("Experiment", {"deployments": [deployment]})
        kubectl.apply(manifest, "--server-side", f"--field-manager={manager}")
    assert [one["name"] for one in kubectl.get("exp", "it")["spec"]["deployments"]] == ["first", "second"]


def test_ten_thousand_nodes_by_name_and_many_tasks_fit(kubectl):
    names = [f"node-{i:05}" for i in range(10_000)]
    kubectl("create", "-f", "-", manifest=a_manifest("Experiment", {"deployments": [{**DEPLOYMENT, "nodes": {"names": names}}]}))
    tasks = [{"name": f"t{i}", "run": "true"} for i in range(1000)]
    stages = [{"name": f"s{j}", "tasks": [{**t, "name": f"{t['name']}-{j}"} for t in tasks]} for j in range(5)]
    kubectl("create", "-f", "-", manifest=a_manifest("Pipeline", {"stages": stages}))
