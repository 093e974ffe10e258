"""Rules for a Pipeline, and for a pipeline inside of an Experiment."""

import re
from collections.abc import Iterator

from unicorn_graph import parse
from unicorn_graph import problems as graph_problems

from unicorn_core.admission.shapes import exactly_one, used_once
from unicorn_core.admission.tasks import check_task
from unicorn_core.errors import Problem
from unicorn_core.pipelines.compile import compile_pipeline
from unicorn_core.resources.pipeline import GraphSpec, PipelineSpec, TaskSpec


def check_pipeline(spec: PipelineSpec, at: str = "spec") -> list[Problem]:
    """`at`: where the pipeline stands in the manifest."""
    problems = exactly_one(spec, at, "stages", "graph", "serialized")
    problems += used_once(((f"{at}.params[{i}].name", param.name) for i, param in enumerate(spec.params)), "name")
    if spec.serialized is not None and spec.params:
        problems.append(Problem(f"{at}.params", "a serialized graph takes no parameters", "remove them"))
    problems += used_once(((f"{at}.stages[{i}].name", stage.name) for i, stage in enumerate(spec.stages or ())), "name")
    problems += used_once(((f"{path}.name", task.name) for path, task in _tasks(spec, at)), "name")
    params = [param.name for param in spec.params]
    for path, task in _tasks(spec, at):
        problems += check_task(task, path, params, may_be_empty=path.startswith(f"{at}.graph."))
    if not problems and spec.graph is not None:
        problems += _graph(spec, spec.graph, f"{at}.graph")
    return problems


def _tasks(spec: PipelineSpec, at: str) -> Iterator[tuple[str, TaskSpec]]:
    for index, stage in enumerate(spec.stages or ()):
        for number, task in enumerate(stage.tasks):
            yield f"{at}.stages[{index}].tasks[{number}]", task
    for index, task in enumerate(spec.graph.tasks if spec.graph else ()):
        yield f"{at}.graph.tasks[{index}]", task


def _graph(spec: PipelineSpec, graph: GraphSpec, at: str) -> list[Problem]:
    """What the graph's own rules say: unreachable tasks, cycles without a weak edge, edges to nowhere."""
    place = {task.name: index for index, task in enumerate(graph.tasks)}

    def as_written(path: str) -> str:
        named = re.fullmatch(r"tasks\.([^.]+)(.*)", path)
        return f"{at}.tasks[{place[named[1]]}]{named[2]}" if named and named[1] in place else f"{at}.{path}"

    return [Problem(as_written(found.path), found.message) for found in graph_problems(parse(compile_pipeline(spec)))]
