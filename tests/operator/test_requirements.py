"""What a deployment's environment comes to with what its tasks require."""

from typing import Any

import pytest
from unicorn_core.resources import EnvironmentSpec, ExperimentSpec, PipelineSpec, load
from unicorn_operator.cache import Caches
from unicorn_operator.experiments.environments import inline_environment, requirements_of, with_requirements
from unicorn_operator.experiments.resolution import Resolved, resolve


def pipeline(*tasks: list[str]) -> dict[str, Any]:
    """A stage with a task for each list of requirements."""
    return {"stages": [{"name": "s", "tasks": [_task(index, needed) for index, needed in enumerate(tasks)]}]}


def graph(*tasks: list[str]) -> dict[str, Any]:
    made = [_task(index, needed) for index, needed in enumerate(tasks)]
    return {"graph": {"tasks": made, "edges": [{"from": "root", "to": task["name"]} for task in made]}}


def _task(index: int, needed: list[str]) -> dict[str, Any]:
    return {"name": f"t{index}", "run": "true", **({"requirements": needed} if needed else {})}


CASES = [
    ({"build": {"commands": ["a"]}}, pipeline(["b"], ["c"]), ["a", "b", "c"], "after its own, in the tasks' order"),
    ({"build": {}}, graph(["b"], ["c"]), ["b", "c"], "of a graph too"),
    ({"build": {"commands": ["a", "b"]}}, pipeline(["b", "c"], ["c", "a"]), ["a", "b", "c"], "without repeats"),
    ({"shell": {"commands": ["a"]}}, pipeline(["b"]), ["a", "b"], "on the node itself"),
    ({"build": {"commands": ["a", "a"]}}, pipeline([]), ["a", "a"], "what it does itself stays as it is"),
]


@pytest.mark.parametrize(("environment", "tasks", "expected", "why"), CASES, ids=[one[-1] for one in CASES])
def test_merged(environment, tasks, expected, why):
    found = with_requirements(load(EnvironmentSpec, environment), load(PipelineSpec, tasks))
    assert found is not None
    part = found.build or found.shell
    assert part is not None
    assert list(part.commands) == expected, why


def test_an_image_is_taken_to_have_what_it_needs():
    image = load(EnvironmentSpec, {"image": {"ref": "lab/tool:1"}})
    assert with_requirements(image, load(PipelineSpec, pipeline(["b"]))) is image


def test_each_is_required_once():
    assert requirements_of(load(PipelineSpec, pipeline(["b", "a"], ["a", "c"]))) == ["b", "a", "c"]


def test_equal_content_has_one_name():
    one = load(EnvironmentSpec, {"build": {"commands": ["a"]}, "runtime": {"env": [{"name": "A", "value": "1"}]}})
    other = load(EnvironmentSpec, {"build": {"commands": ["a"]}, "agent": "Netunicorn"})
    third = load(EnvironmentSpec, {"build": {"commands": ["b"]}})
    assert inline_environment(one) == inline_environment(other) != inline_environment(third)
    assert inline_environment(one).startswith("inline-")


def _resolved(**deployment: Any) -> Resolved:
    caches = Caches()
    metadata = {"namespace": "lab", "name": "env", "uid": "env", "resourceVersion": "1"}
    caches.environments.put({"kind": "Environment", "metadata": metadata, "spec": {"build": {"commands": ["a"]}}})
    spec = load(ExperimentSpec, {"deployments": [{"name": "d", "nodes": {"count": 1}, **deployment}]})
    return resolve(spec, "lab", caches, {})


@pytest.mark.parametrize(
    ("deployment", "reference", "inline", "commands"),
    [
        ({"environmentRef": {"name": "env"}, "pipeline": pipeline([])}, "env", False, ["a"]),
        ({"environmentRef": {"name": "env"}, "pipeline": pipeline(["a"])}, "env", False, ["a"]),
        ({"environmentRef": {"name": "env"}, "pipeline": pipeline(["b"])}, None, True, ["a", "b"]),
        ({"environment": {"build": {"commands": ["x"]}}, "pipeline": pipeline([])}, None, True, ["x"]),
    ],
    ids=["as it is", "it has what is required", "with more it is another one", "inline"],
)
def test_which_environment_shows_the_build(deployment, reference, inline, commands):
    (one,) = _resolved(**deployment).deployments
    assert one.body["environmentRef"] == reference
    assert bool(one.body["inlineEnvironment"]) is inline
    assert one.body["environment"]["build"]["commands"] == commands


def test_requirements_need_an_environment():
    found = _resolved(pipeline=pipeline(["b"]))
    assert not found.deployments
    assert [(problem.path, problem.value) for problem in found.problems] == [("spec.deployments[0]", "b")]


@pytest.mark.parametrize(
    ("environment", "tasks", "path", "why"),
    [
        (
            {"environment": {"build": {"commands": [f"echo {number}" for number in range(60)]}}},
            pipeline([f"echo t{number}" for number in range(60)]),
            "spec.deployments[0].environment(with the requirements of tasks).build.commands",
            "each is few enough, both are too many",
        ),
        (
            {"environmentRef": {"name": "env"}},
            pipeline(*([f"echo {task} {number}" for number in range(50)] for task in range(6))),
            "spec.deployments[0].environmentRef(env, with the requirements of tasks).spec.build.commands",
            "more than the model takes",
        ),
        (
            {"environment": {"shell": {"commands": ["a"]}}},
            pipeline(*([f"echo {task} {number}" for number in range(50)] for task in range(6))),
            "spec.deployments[0].environment(with the requirements of tasks).shell.commands",
            "on the node itself too",
        ),
    ],
)
def test_what_is_merged_keeps_the_rules(environment, tasks, path, why):
    found = _resolved(**environment, pipeline=tasks)
    assert not found.deployments, why
    assert [problem.path for problem in found.problems] == [path], why
