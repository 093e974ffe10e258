"""One entry for whoever has a whole manifest: which rules apply to it."""

from collections.abc import Mapping
from typing import Any, TypeVar

from unicorn_core.admission.connector import CheckConfig, check_connector
from unicorn_core.admission.environment import check_environment
from unicorn_core.admission.experiment import check_experiment
from unicorn_core.admission.pipeline import check_pipeline
from unicorn_core.admission.targetnode import check_target_node
from unicorn_core.errors import Problem, Refused
from unicorn_core.resources import (
    ConnectorSpec,
    EnvironmentSpec,
    ExperimentSpec,
    Phase,
    PipelineSpec,
    TargetNodeSpec,
    load,
)

Manifest = Mapping[str, Any]


def review(new: Manifest, old: Manifest | None, check_config: CheckConfig) -> list[Problem]:
    """What is wrong with a manifest of one of our kinds. `old`: for an edit, the manifest before it.

    An edit that leaves the spec alone is never refused: a finalizer must come off an object that older rules let in.
    """
    if old is not None and old.get("spec") == new.get("spec"):
        return []
    try:
        return _review(new, old, check_config)
    except Refused as refused:
        return refused.problems


def _review(new: Manifest, old: Manifest | None, check_config: CheckConfig) -> list[Problem]:
    spec = new.get("spec")
    if not isinstance(spec, Mapping):
        return [Problem("spec", "is missing", "add it")]
    match new.get("kind"):
        case "Experiment":
            before = _previous(ExperimentSpec, old)
            return check_experiment(load(ExperimentSpec, spec), before, _phase(old))
        case "Pipeline":
            return check_pipeline(load(PipelineSpec, spec))
        case "Environment":
            return check_environment(load(EnvironmentSpec, spec))
        case "Connector":
            return check_connector(load(ConnectorSpec, spec), check_config)
        case "TargetNode":
            return check_target_node(load(TargetNodeSpec, spec), _previous(TargetNodeSpec, old))
        case kind:
            return [Problem("kind", "is not one of ours", "Experiment, Pipeline, Environment, Connector or TargetNode", kind)]


M = TypeVar("M", ExperimentSpec, TargetNodeSpec)


def _previous(model: type[M], old: Manifest | None) -> M | None:
    """None also for what older rules let in and no model reads: then only the new one is judged."""
    if old is None:
        return None
    try:
        return load(model, old.get("spec") or {})
    except Refused:
        return None


def _phase(old: Manifest | None) -> Phase | None:
    """The phase of the attempt that `old` asks for; None while the status still speaks of an earlier attempt."""
    if old is None:
        return None
    status = old.get("status") or {}
    if status.get("attempt") != (old.get("spec") or {}).get("attempt", 1):
        return None
    try:
        return Phase(str(status.get("phase")))
    except ValueError:
        return None
