"""What becomes of rights that only admission knows: access tags and arguments, with webhooks and without."""

from typing import Any

import pytest
from unicorn_core.naming import ANNOTATION_TAGS, ANNOTATION_USER
from unicorn_core.resources import ExperimentSpec, load
from unicorn_operator.cache import Caches
from unicorn_operator.experiments.resolution import demands, resolve, unasked_arguments
from unicorn_operator.experiments.subject import subject_of

STAGES = {"stages": [{"name": "s", "tasks": [{"name": "t", "run": "true"}]}]}
ARGUED = {"image": {"ref": "x"}, "runtime": {"additionalArguments": ["--privileged"]}}
READY = {"conditions": [{"type": "Ready", "status": "True", "reason": "Available"}]}


def caches(*objects: tuple[str, str, dict[str, Any]]) -> Caches:
    made = Caches()
    for number, (kind, name, rest) in enumerate(objects):
        uid = f"00000000-0000-0000-0000-{number:012d}"
        metadata = {"namespace": "lab", "name": name, "uid": uid, "resourceVersion": str(number + 1)}
        made.by_kind[kind].put({"kind": kind, "metadata": metadata, **rest})
    return made


def node(name: str, *tags: str) -> tuple[str, str, dict[str, Any]]:
    spec = {"connectorRef": {"name": "campus"}, "nodeName": name, "accessTags": list(tags)}
    return ("TargetNode", name, {"spec": spec, "status": READY})


CAMPUS = caches(
    ("Connector", "campus", {"spec": {"type": "fake"}}), node("open"), node("red", "red"), node("both", "red", "blue")
)


@pytest.mark.parametrize(
    ("annotations", "webhooks", "seen", "because"),
    [
        ({ANNOTATION_USER: "ann"}, True, {"open", "red", "both"}, "a user without tags may have all"),
        ({ANNOTATION_USER: "ann", ANNOTATION_TAGS: "red"}, True, {"open", "red", "both"}, "a tag in common"),
        ({ANNOTATION_USER: "ann", ANNOTATION_TAGS: "blue"}, True, {"open", "both"}, "one of several"),
        ({ANNOTATION_USER: "ann", ANNOTATION_TAGS: "green"}, True, {"open"}, "none in common"),
        ({ANNOTATION_TAGS: "red"}, True, {"open"}, "made while webhooks were off: nobody knows by whom"),
        ({ANNOTATION_USER: "ann", ANNOTATION_TAGS: "red"}, False, {"open"}, "anybody could have written that"),
    ],
)
def test_nodes_by_access_tags(annotations: dict[str, str], webhooks: bool, seen: set[str], because: str) -> None:
    spec = {"deployments": [{"name": "d", "nodes": {"all": {}}, "pipeline": STAGES}]}
    item = {"metadata": {"namespace": "lab", "name": "x", "annotations": annotations}, "spec": spec}
    subject = subject_of(item, trust_user=webhooks)
    assert subject.spec is not None
    (demand,) = demands(subject.spec, "lab", {"d": None}, CAMPUS, subject.tags)
    assert {offer.name for offer in demand.offers} == seen, because


@pytest.mark.parametrize(
    "deployment", [{"environment": ARGUED}, {"environmentRef": {"name": "e"}}], ids=["in the experiment", "referred to"]
)
def test_without_webhooks_nobody_passes_arguments(deployment: dict[str, Any]) -> None:
    spec = load(ExperimentSpec, {"deployments": [{"name": "d", "nodes": {"count": 1}, "pipeline": STAGES, **deployment}]})
    resolved = resolve(spec, "lab", caches(("Environment", "e", {"spec": ARGUED})), {})
    (problem,) = unasked_arguments(resolved)
    assert problem.path == "spec.deployments[0]: environment.runtime.additionalArguments"
    assert "switch webhooks on" in problem.expected


def test_without_arguments_nothing_is_wrong() -> None:
    spec = load(ExperimentSpec, {"deployments": [{"name": "d", "nodes": {"count": 1}, "pipeline": STAGES}]})
    assert not unasked_arguments(resolve(spec, "lab", caches(), {}))
