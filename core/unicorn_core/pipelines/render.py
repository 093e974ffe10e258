"""Graph document + one executor -> the graph that this executor runs."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from unicorn_core.errors import Problem, Refused
from unicorn_core.pipelines.placeholders import KNOWN, TOKEN, Style, changed


@dataclass(frozen=True, slots=True)
class RenderContext:
    """What the placeholders of one executor stand for. `params` are complete (defaults filled in: `param_values`)."""

    params: Mapping[str, str] = field(default_factory=dict)
    node_name: str = ""
    node_properties: Mapping[str, Any] = field(default_factory=dict)
    executor_index: int = 0
    experiment_name: str = ""


def render(graph: Mapping[str, Any], context: RenderContext) -> dict[str, Any]:
    """The document with every placeholder replaced, once: what a value holds is never replaced again.

    Raises Refused with a Problem for each name that this executor has no value for, such as a property its node lacks.
    """
    if "serialized" in graph:
        return dict(graph)  # opaque
    problems: list[Problem] = []

    def fill(path: str, style: Style, text: str) -> str:
        def value_of(match: Any) -> str:
            name = match["name"]
            if name is None:
                return "$("
            try:
                return _written(_value(name, context), style)
            except KeyError:
                problems.append(_unknown(path, name, context))
                return ""

        return TOKEN.sub(value_of, text)

    tasks = {name: changed(task, f"tasks.{name}", fill) for name, task in graph["tasks"].items()}
    if problems:
        raise Refused(problems, reason="UnknownPlaceholder")
    return {**graph, "tasks": tasks}


def _value(name: str, context: RenderContext) -> Any:
    """KeyError: no such thing."""
    if name == "node.name":
        return context.node_name
    if name == "executor.index":
        return context.executor_index
    if name == "experiment.name":
        return context.experiment_name
    if name.startswith("node.properties."):
        return context.node_properties[name.removeprefix("node.properties.")]
    if name.startswith("params."):
        return context.params[name.removeprefix("params.")]
    raise KeyError(name)


def _written(value: Any, style: Style) -> str:
    if style is Style.PYTHON:
        return repr(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return shlex.quote(text) if style is Style.SHELL else text


def _unknown(path: str, name: str, context: RenderContext) -> Problem:
    if name.startswith("node.properties."):
        known = ", ".join(sorted(context.node_properties)) or "none"
        return Problem(path, f"node {context.node_name} has no such property", f"its properties are {known}", f"$({name})")
    return Problem(path, "there is no such placeholder", f"known are {KNOWN}", f"$({name})")
