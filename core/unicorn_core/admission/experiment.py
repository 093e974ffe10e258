"""Rules for an Experiment: what it says, and what may change while an attempt goes on."""

from datetime import timedelta
from typing import Any

from unicorn_core.admission.environment import check_environment
from unicorn_core.admission.pipeline import check_pipeline
from unicorn_core.admission.shapes import at_least, at_most_one, exactly_one, used_once, written
from unicorn_core.errors import Problem
from unicorn_core.pipelines.params import check_params
from unicorn_core.reasons import ExperimentReason
from unicorn_core.resources.base import dump
from unicorn_core.resources.environment import Agent, EnvironmentSpec
from unicorn_core.resources.experiment import (
    Deadlines,
    DeploymentSpec,
    DesiredState,
    ExperimentSpec,
    NodeOperator,
    NodeRequirement,
    NodesSpec,
    Phase,
)
from unicorn_core.resources.pipeline import PipelineSpec

_LEAST_DEADLINE = timedelta(seconds=1)
_LEAST_KEEP_ALIVE = timedelta(seconds=1)
_FREE = frozenset({"attempt", "desiredState", "deadlines", "failurePolicy", "priority", "ttlSecondsAfterFinished"})
_MOVES = {(DesiredState.READY, DesiredState.RUNNING)}


def check_experiment(new: ExperimentSpec, old: ExperimentSpec | None = None, phase: Phase | None = None) -> list[Problem]:
    """`old` and `phase`: for an edit, the spec before it and the phase of that spec's attempt (None: not yet known)."""
    problems = used_once(((f"spec.deployments[{i}].name", one.name) for i, one in enumerate(new.deployments)), "name")
    for index, deployment in enumerate(new.deployments):
        problems += _deployment(deployment, f"spec.deployments[{index}]")
    problems += _deadlines(new.deadlines)
    return problems + (check_edit(new, old, phase) if old is not None else [])


def check_edit(new: ExperimentSpec, old: ExperimentSpec, phase: Phase | None) -> list[Problem]:
    """During an attempt only a few fields may change; the rest together with attempt + 1, when the phase is final."""
    if new.attempt != old.attempt:
        return _attempt(new.attempt, old.attempt, phase)
    problems = []
    if new.desired_state != old.desired_state:
        problems += _desired_state(new.desired_state, old.desired_state)
    before, after = dump(old), dump(new)
    for field in sorted((before.keys() | after.keys()) - _FREE):
        if before.get(field) != after.get(field):
            path = first_difference(before.get(field), after.get(field), f"spec.{field}")
            problems.append(Problem(path, "cannot change during an attempt", _how_to_change(old.attempt, phase)))
    return problems


def permitted_edit(new: ExperimentSpec, old: ExperimentSpec, phase: Phase | None) -> ExperimentSpec:
    """The old spec with those changes of the new one that an attempt allows: where no webhook refused the others."""
    moved = not _desired_state(new.desired_state, old.desired_state) if new.desired_state != old.desired_state else False
    return old.model_copy(
        update={
            "desired_state": new.desired_state if moved else old.desired_state,
            "deadlines": new.deadlines,
            "failure_policy": new.failure_policy,
            "priority": new.priority,
            "ttl_seconds_after_finished": new.ttl_seconds_after_finished,
        }
    )


def first_difference(old: Any, new: Any, at: str) -> str:
    """The path of the first place where two documents differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in (*old, *(key for key in new if key not in old)):
            if old.get(key) != new.get(key):
                return first_difference(old.get(key), new.get(key), f"{at}.{key}")
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (before, after) in enumerate(zip(old, new, strict=True)):
            if before != after:
                return first_difference(before, after, f"{at}[{index}]")
    return at


def _how_to_change(attempt: int, phase: Phase | None) -> str:
    if phase is not None and phase.final:
        return f"set spec.attempt to {attempt + 1} together with it: that runs the experiment again"
    return f"wait for its end, or set spec.desiredState to Cancelled; then change it together with spec.attempt: {attempt + 1}"


def _attempt(new: int, old: int, phase: Phase | None) -> list[Problem]:
    if new < old:
        return [Problem("spec.attempt", "can only be raised", f"write {old}, or {old + 1} to run the experiment again", new)]
    if phase is None or not phase.final:
        where = f"the experiment is {phase}" if phase else "the experiment has only begun"
        return [
            Problem("spec.attempt", f"can be raised only when attempt {old} has ended; {where}", f"keep {old} until then", new)
        ]
    if new != old + 1:
        return [Problem("spec.attempt", "can be raised by one only", f"write {old + 1}", new)]
    return []


def _desired_state(new: DesiredState, old: DesiredState) -> list[Problem]:
    if new is DesiredState.CANCELLED or (old, new) in _MOVES:
        return []
    allowed = "raise spec.attempt when it has ended" if old is DesiredState.CANCELLED else "only Cancelled may follow it"
    return [Problem("spec.desiredState", f"cannot change from {old} in the same attempt", allowed, new.value)]


def _deployment(deployment: DeploymentSpec, at: str) -> list[Problem]:
    problems = exactly_one(deployment, at, "pipeline_ref", "pipeline")
    problems += at_most_one(deployment, at, "environment_ref", "environment")
    problems += _nodes(deployment.nodes, f"{at}.nodes")
    problems += at_least(deployment.keep_alive, f"{at}.keepAlive", _LEAST_KEEP_ALIVE)
    problems += used_once(((f"{at}.params[{i}].name", param.name) for i, param in enumerate(deployment.params)), "name")
    if deployment.environment is not None:
        problems += check_environment(deployment.environment, f"{at}.environment")
    if deployment.pipeline is not None:
        problems += check_pipeline(deployment.pipeline, f"{at}.pipeline")
        problems += check_params(deployment.params, deployment.pipeline, f"{at}.params")
        problems += check_agent(deployment.environment, deployment.pipeline, f"{at}.environment")
    return problems


def check_agent(environment: EnvironmentSpec | None, pipeline: PipelineSpec, at: str) -> list[Problem]:
    """Whether the environment's agent can run the pipeline. `at`: the path of the environment."""
    if environment is None or environment.agent is Agent.NATIVE or pipeline.serialized is not None:
        return []
    message, expected = "netunicorn's own executor runs serialized pipelines only", "write Native, or leave it out"
    return [Problem(f"{at}.agent", message, expected, environment.agent.value, ExperimentReason.AGENT_CANNOT_RUN)]


def _nodes(nodes: NodesSpec, at: str) -> list[Problem]:
    problems = at_most_one(nodes, at, "names", "match_expressions") + at_most_one(nodes, at, "count", "all")
    if nodes.names is None and nodes.count is None and nodes.all is None:
        problems.append(Problem(at, "does not say how many", "write names, count, or all: {}"))
    for index, requirement in enumerate(nodes.match_expressions or ()):
        problems += _requirement(requirement, f"{at}.matchExpressions[{index}]")
    return problems


def _requirement(requirement: NodeRequirement, at: str) -> list[Problem]:
    operator, values = requirement.operator, requirement.values
    path = f"{at}.{written(requirement, 'values')}"
    if operator in (NodeOperator.IN, NodeOperator.NOT_IN):
        return [] if values else [Problem(path, f"is empty, and {operator} compares with it", "write one value or more")]
    if operator in (NodeOperator.EXISTS, NodeOperator.DOES_NOT_EXIST):
        return [Problem(path, f"means nothing beside {operator}", "remove it", list(values))] if values else []
    if len(values) == 1 and _is_number(values[0]):
        return []
    return [Problem(path, f"is not what {operator} compares with", 'write one number, such as ["4"]', list(values))]


def _is_number(text: str) -> bool:
    try:
        return float(text) == float(text)
    except ValueError:
        return False


def _deadlines(deadlines: Deadlines) -> list[Problem]:
    return [
        problem
        for field in type(deadlines).model_fields
        for problem in at_least(getattr(deadlines, field), f"spec.deadlines.{field}", _LEAST_DEADLINE)
    ]
