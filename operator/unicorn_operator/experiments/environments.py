"""What environment a deployment asks for: its own with what its tasks require; and how an inline one is named."""

import hashlib
import json
from typing import Any

from unicorn_core.naming import inline_name
from unicorn_core.resources import EnvironmentSpec, PipelineSpec, dump
from unicorn_core.resources.pipeline import TaskSpec


def content_of(environment: EnvironmentSpec) -> dict[str, Any]:
    """What is compiled of it: neither how it is run, nor by what agent."""
    document = dump(environment)
    return {"build": document["build"]}


def inline_environment(environment: EnvironmentSpec) -> str:
    """The name of the Environment that stands for it: equal content has one name."""
    text = json.dumps(content_of(environment), sort_keys=True, separators=(",", ":"))
    return inline_name(hashlib.sha256(text.encode()).hexdigest())


def with_requirements(environment: EnvironmentSpec | None, pipeline: PipelineSpec) -> EnvironmentSpec | None:
    """The environment with what its pipeline's tasks require, in their order, without what it does anyway.

    An image that others made is taken to have what it needs.
    """
    for field in ("build", "shell"):
        part = getattr(environment, field, None)
        if environment is None or part is None:
            continue
        if new := [command for command in requirements_of(pipeline) if command not in part.commands]:
            return environment.model_copy(update={field: part.model_copy(update={"commands": (*part.commands, *new)})})
    return environment


def requirements_of(pipeline: PipelineSpec) -> list[str]:
    """Each once, in the order of the tasks."""
    return list(dict.fromkeys(command for task in tasks_of(pipeline) for command in task.requirements))


def tasks_of(pipeline: PipelineSpec) -> list[TaskSpec]:
    if pipeline.graph is not None:
        return list(pipeline.graph.tasks)
    return [task for stage in pipeline.stages or () for task in stage.tasks]
