"""The pure rules of admission, one row a rule. What the API server and the webhook make of the same table: tests/admission."""

from pathlib import Path

import pytest
import yaml
from unicorn_core.admission import Requester, asks_for_arguments, check_user, review, user_annotations
from unicorn_core.errors import Problem, Refused
from unicorn_core.naming import ANNOTATION_TAGS, ANNOTATION_USER

BAD = yaml.safe_load((Path(__file__).parents[1] / "admission" / "bad.yaml").read_text())


def check_config(name, config):
    """A registry of one type without settings."""
    if name != "fake":
        raise Refused(Problem("spec.type", "no such connector", "one of fake", name))
    if config:
        raise Refused(Problem("spec.config", "no such field"))


def a_task(name="t", **fields):
    return {"name": name, **(fields or {"run": "true"})}


def a_pipeline(*tasks, **spec):
    return {"kind": "Pipeline", "spec": {"stages": [{"name": "s", "tasks": list(tasks) or [a_task()]}], **spec}}


def a_deployment(name="d", **fields):
    return {"name": name, "nodes": {"count": 1}, "pipelineRef": {"name": "p"}, **fields}


def a_build(files=(), **build):
    sources = [{"path": path, "configMapKeyRef": {"name": "c", "key": "k"}} for path in files]
    return {"kind": "Environment", "spec": {"build": {"base": "debian:12", "files": sources, **build}}}


def an_experiment(*deployments, phase=None, **spec):
    manifest = {"kind": "Experiment", "spec": {"attempt": 1, "deployments": list(deployments) or [a_deployment()], **spec}}
    return {**manifest, "status": {"phase": phase, "attempt": manifest["spec"]["attempt"]}} if phase else manifest


@pytest.mark.parametrize("row", BAD, ids=[row["name"] for row in BAD])
def test_bad_manifests_are_refused_with_path_and_fix(row):
    problems = review({"kind": row["kind"], "spec": row["spec"]}, None, check_config)
    said = [str(problem) for problem in problems]
    assert any(problem.path.startswith(row["path"]) for problem in problems), (row["because"], said)
    assert any(row["says"] in text for text in said), (row["because"], said)
    assert all(problem.expected or ": " in problem.message or "; write" in problem.message for problem in problems), said


@pytest.mark.parametrize(
    ("manifest", "because"),
    [
        (a_pipeline(a_task(run="echo $(date) $$(node.js) ${HOME} $(node --version)")), "the shell's own stays the shell's"),
        (a_pipeline(a_task(run="# don't\nping $(node.name)")), "an apostrophe in a comment quotes nothing"),
        (a_pipeline(a_task(run='x=$(node.name); echo "$x"')), "the way that the message shows"),
        (a_pipeline(a_task(run=r"echo \"$(node.name)\"")), "a quote after a backslash quotes nothing"),
        (a_pipeline(a_task(run="echo $(node.properties.location)")), "properties are known only when there is a node"),
        (a_pipeline(a_task(script="result = [$(executor.index), $(node.properties.x)]")), "values stand bare"),
        (a_pipeline(a_task(script="x = $(node.name)\nresult = f'{x}'")), "a placeholder first, then the f-string"),
        (a_pipeline(a_task(script="result = '\\d'")), "an invalid escape is only a warning"),
        (a_pipeline(a_task(flag={"wait": "x", "atLeast": 3, "timeout": "1m"})), "a flag may have its own timeout"),
        (
            {
                "kind": "Pipeline",
                "spec": {
                    "graph": {
                        "tasks": [a_task("a"), {"name": "join"}],
                        "edges": [
                            {"from": "root", "to": "a"},
                            {"from": "a", "to": "join", "traverseOn": "Any"},
                            {"from": "join", "to": "root", "weak": True, "limit": 2},
                        ],
                    }
                },
            },
            "a weak edge may close a cycle",
        ),
        ({"kind": "Pipeline", "spec": {"serialized": {"sha256": "a" * 64}}}, "what the client serialized is opaque"),
        (an_experiment(a_deployment(nodes={"names": ["a", "a"]})), "a name may stand twice"),
        (an_experiment(a_deployment(nodes={"connectorRef": {"name": "pods"}, "count": 3})), "any node of a connector"),
        (an_experiment(a_deployment(nodes={"matchExpressions": [], "all": {}})), "an empty list chooses all"),
        (an_experiment(a_deployment(params=[{"name": "x", "value": ""}])), "a reference is not followed at admission"),
        (an_experiment(start={"quorum": 2}, failurePolicy={"tolerate": "50%"}), "numbers and percentages"),
        ({"kind": "Environment", "spec": {"image": {"ref": "127.0.0.1:5000/lab/tool@sha256:" + "0" * 64}}}, "a digest"),
        ({"kind": "Environment", "spec": {"shell": {}, "runtime": {"resources": {"limits": {"cpu": 2}}}}}, "cpu: 2 is a number"),
        (a_build(apt=["g++", "libc6:arm64", "iperf3=1:3.12-1+deb12u1"]), "as apt writes names, architectures and versions"),
        (a_build(pip=["requests", "a[b]>=1,<2; python_version > '3'", "x @ https://example.org/x.whl"]), "as pip takes them"),
        (a_build(commands=["--x", "sudo a", "echo $(x) '$(params.y)'\n\\\n\"é"]), "commands are the shell's, every character"),
        (
            a_build(files=["/a b", "/$HOME", "/it's\n\"", "/unicorns", "/opt/unicorn", "/devices", "/..a", "/a/b", "/a-b"]),
            "odd names are names",
        ),
        ({"kind": "Connector", "spec": {"type": "fake", "sharing": {"namespaces": {"from": "All"}}}}, "shared with all"),
        ({"kind": "TargetNode", "spec": {"connectorRef": {"name": "c"}, "nodeName": "N 1", "elastic": {"max": 9}}}, "a pool"),
    ],
)
def test_good_manifests_pass(manifest, because):
    assert [str(problem) for problem in review(manifest, None, check_config)] == [], because


@pytest.mark.parametrize(
    ("old", "new", "path", "because"),
    [
        (an_experiment(), an_experiment(desiredState="Cancelled"), None, "anything can be cancelled"),
        (an_experiment(desiredState="Ready"), an_experiment(desiredState="Running"), None, "what was held may run"),
        (an_experiment(desiredState="Running"), an_experiment(desiredState="Ready"), "spec.desiredState", "it runs already"),
        (an_experiment(desiredState="Cancelled"), an_experiment(), "spec.desiredState", "cancelled is for good"),
        (an_experiment(), an_experiment(deadlines={"run": "48h"}), None, "deadlines may be moved"),
        (an_experiment(), an_experiment(failurePolicy={"tolerate": 1}), None, "so may what is tolerated"),
        (an_experiment(), an_experiment(priority=5), None, "and the priority"),
        (an_experiment(), an_experiment(ttlSecondsAfterFinished=5), None, "and the time to live"),
        (an_experiment(), an_experiment(start={"together": False}), "spec.start.together", "the start may not"),
        (an_experiment(), an_experiment(a_deployment(nodes={"count": 2})), "spec.deployments[0].nodes.count", "nor the nodes"),
        (an_experiment(), an_experiment(a_deployment(), a_deployment("e")), "spec.deployments", "nor the deployments"),
        (an_experiment(), an_experiment(attempt=2), "spec.attempt", "the attempt has only begun"),
        (an_experiment(phase="Running"), an_experiment(attempt=2), "spec.attempt", "the attempt runs"),
        (an_experiment(phase="Failed"), an_experiment(attempt=2, priority=1), None, "it has ended: run it again"),
        (an_experiment(phase="Failed"), an_experiment(a_deployment("e"), attempt=2), None, "and otherwise than before"),
        (
            an_experiment(phase="Failed"),
            an_experiment(a_deployment("e")),
            "spec.deployments[0].name",
            "but not without a new attempt",
        ),
        (an_experiment(phase="Succeeded"), an_experiment(attempt=3), "spec.attempt", "one at a time"),
        (an_experiment(attempt=3, phase="Succeeded"), an_experiment(attempt=2), "spec.attempt", "never back"),
        (
            {**an_experiment(attempt=2), "status": {"phase": "Failed", "attempt": 1}},
            an_experiment(attempt=3),
            "spec.attempt",
            "the status still speaks of the attempt before",
        ),
        (
            {"kind": "Experiment", "spec": {"attempt": 1, "deployments": [{"name": "X"}]}},
            {"kind": "Experiment", "spec": {"attempt": 1, "deployments": [{"name": "X"}]}},
            None,
            "older rules let it in; its finalizer must come off",
        ),
        (
            {"kind": "TargetNode", "spec": {"connectorRef": {"name": "a"}, "nodeName": "n"}},
            {"kind": "TargetNode", "spec": {"connectorRef": {"name": "a"}, "nodeName": "m"}},
            "spec.nodeName",
            "leases are held under this name",
        ),
        (
            {"kind": "TargetNode", "spec": {"connectorRef": {"name": "a"}, "nodeName": "n"}},
            {"kind": "TargetNode", "spec": {"connectorRef": {"name": "a"}, "nodeName": "n", "unschedulable": True}},
            None,
            "a node can be taken out of use",
        ),
    ],
)
def test_edits(old, new, path, because):
    problems = review(new, old, check_config)
    assert [problem.path for problem in problems] == ([path] if path else []), because
    assert all(problem.expected for problem in problems)


def test_an_edit_of_a_running_attempt_says_how_it_can_be_done():
    (problem,) = review(an_experiment(a_deployment(cleanup=False)), an_experiment(phase="Running"), check_config)
    assert "spec.desiredState to Cancelled" in str(problem)
    assert "spec.attempt: 2" in str(problem)


def annotated(user=None, tags=None):
    said = {ANNOTATION_USER: user, ANNOTATION_TAGS: tags}
    return {"metadata": {"annotations": {key: value for key, value in said.items() if value is not None}}}


RED = ("students", "netunicorn:tag:red", "netunicorn:tag:blue")
ANN, BOB, TAGGED = Requester("ann"), Requester("bob"), Requester("ann", RED)
GATEWAY = Requester("sa:gateway", ("netunicorn:tag:its-own",), trusted=True)


@pytest.mark.parametrize(
    ("new", "old", "by", "final", "allowed", "because"),
    [
        (annotated(), None, ANN, annotated("ann"), True, "it is written for who creates"),
        (annotated("ann"), None, ANN, annotated("ann"), True, "saying it oneself is no lie"),
        (annotated("bob"), None, ANN, annotated("bob"), False, "nobody creates for another"),
        (annotated("bob"), None, GATEWAY, annotated("bob"), True, "but the user API does, and its own groups are nobody's tags"),
        (annotated("bob", "red"), None, GATEWAY, annotated("bob", "red"), True, "and says which tags they have"),
        (annotated("ann"), annotated("ann"), BOB, annotated("ann"), True, "another may edit what he may edit"),
        (annotated("bob"), annotated("ann"), ANN, annotated("bob"), False, "nobody changes it"),
        (annotated("bob"), annotated("ann"), GATEWAY, annotated("bob"), False, "not even the user API"),
        (
            annotated(),
            annotated("ann", "red"),
            BOB,
            annotated("ann", "red"),
            True,
            "kubectl replace leaves it out: it is put back",
        ),
        (annotated("ann"), annotated(), ANN, annotated("ann"), False, "made while webhooks were off: nobody takes it"),
        (annotated(), annotated(), ANN, annotated(), True, "and it can be edited"),
        (annotated(), None, TAGGED, annotated("ann", "blue,red"), True, "groups say which access tags a user of kubectl has"),
        (annotated("ann", "red,blue"), None, TAGGED, annotated("ann", "red,blue"), True, "in any order"),
        (annotated("ann", ""), None, TAGGED, annotated("ann", ""), False, "nobody gets rid of them"),
        (annotated("ann", "red"), None, ANN, annotated("ann", "red"), False, "nor invents one"),
        (annotated("ann", "green"), annotated("ann", "red"), TAGGED, annotated("ann", "green"), False, "nor changes them"),
        (annotated("ann", "red"), annotated("ann"), TAGGED, annotated("ann", "red"), False, "nor adds them later"),
        (annotated("ann"), annotated("ann"), TAGGED, annotated("ann"), True, "the tags of who edits are of no account"),
    ],
)
def test_user(new, old, by, final, allowed, because):
    written = user_annotations(new, old, by)
    became = {"metadata": {"annotations": {**new["metadata"]["annotations"], **written}}}
    assert became == final, because
    assert (check_user(became, old, by) == []) is allowed, because


ARGUED = {"image": {"ref": "x"}, "runtime": {"additionalArguments": ["--privileged"]}}
PLAIN = {"image": {"ref": "x"}}
OTHER = {"image": {"ref": "y"}, "runtime": {"additionalArguments": ["--privileged"]}}
FIRST = "spec.deployments[0].environment.runtime.additionalArguments"


@pytest.mark.parametrize(
    ("new", "old", "paths", "because"),
    [
        ({"kind": "Environment", "spec": ARGUED}, None, ["spec.runtime.additionalArguments"], "they are written"),
        ({"kind": "Environment", "spec": PLAIN}, None, [], "there are none"),
        ({"kind": "Environment", "spec": {**ARGUED, "runtime": {"additionalArguments": []}}}, None, [], "an empty list is none"),
        ({"kind": "Environment", "spec": PLAIN}, {"kind": "Environment", "spec": ARGUED}, [], "taking them away needs no right"),
        ({"kind": "Environment", "spec": ARGUED}, {"kind": "Environment", "spec": ARGUED}, [], "no edit of the spec"),
        (
            {"kind": "Environment", "spec": OTHER},
            {"kind": "Environment", "spec": ARGUED},
            ["spec.runtime.additionalArguments"],
            "another image with the same arguments is another container",
        ),
        (an_experiment(a_deployment(environment=ARGUED)), None, [FIRST], "inside of an experiment"),
        (
            an_experiment(a_deployment(environment=ARGUED), desiredState="Cancelled"),
            an_experiment(a_deployment(environment=ARGUED)),
            [],
            "who cancels it needs no right",
        ),
        (
            an_experiment(a_deployment(environment=OTHER)),
            an_experiment(a_deployment(environment=ARGUED)),
            [FIRST],
            "a changed environment is a new one",
        ),
        (an_experiment(a_deployment(environmentRef={"name": "e"})), None, [], "who wrote the Environment had the right"),
        ({"kind": "Pipeline", "spec": {"runtime": {"additionalArguments": ["x"]}}}, None, [], "no environment"),
        ({"kind": "Experiment", "spec": {"deployments": [{"environment": {"runtime": "x"}}, 1]}}, None, [], "broken specs"),
        ({"kind": "Experiment", "spec": None}, None, [], "broken specs"),
    ],
)
def test_who_passes_arguments_is_asked_for(new, old, paths, because):
    assert asks_for_arguments(new, old) == paths, because


def test_a_script_nested_too_deeply_is_a_problem_and_no_crash():
    manifest = a_pipeline(a_task(script="x = " + "(" * 5000 + ")" * 5000))
    assert review(manifest, None, check_config)[0].path == "spec.stages[0].tasks[0].script"
