"""Pipeline -> graph document."""

from typing import Any

from unicorn_core.resources.base import dump
from unicorn_core.resources.pipeline import EdgeSpec, FlagSpec, GraphSpec, PipelineSpec, StageSpec, TaskSpec

ROOT = "root"


def compile_pipeline(spec: PipelineSpec) -> dict[str, Any]:
    """The graph document of a valid spec, placeholders still inside; of a serialized one, its name only."""
    if spec.serialized is not None:
        return {"serialized": {"sha256": spec.serialized.sha256}}
    body = _from_graph(spec.graph) if spec.graph is not None else _from_stages(spec.stages or ())
    return {**body, "earlyStopping": spec.early_stopping, "reportResults": spec.report_results}


def task_document(task: TaskSpec) -> dict[str, Any]:
    """One task in the form of the executor protocol; {} for a synchronisation point."""
    document: dict[str, Any] = {}
    if task.run is not None:
        document["run"] = task.run
    if task.script is not None:
        document["script"] = task.script
    if task.python is not None:
        document["python"] = {"object": task.python.object, "args": list(task.python.args), "kwargs": task.python.kwargs}
    if task.flag is not None:
        document["flag"] = _flag(task.flag)
    timeout = task.timeout or (task.flag.timeout if task.flag else None)
    if timeout is not None:
        document["timeoutSeconds"] = timeout.total_seconds()
    if task.retry is not None:
        backoff = task.retry.backoff.total_seconds() if task.retry.backoff else 0.0
        document["retry"] = {"limit": task.retry.limit, "backoffSeconds": backoff}
    return document


def _flag(flag: FlagSpec) -> dict[str, Any]:
    document = dump(flag)
    document.pop("timeout", None)
    if flag.add is not None:
        document.setdefault("amount", 1)
    return document


def _from_graph(graph: GraphSpec) -> dict[str, Any]:
    return {"tasks": {task.name: task_document(task) for task in graph.tasks}, "edges": [_edge(edge) for edge in graph.edges]}


def _edge(edge: EdgeSpec) -> dict[str, Any]:
    document: dict[str, Any] = {"from": edge.from_, "to": edge.to}
    if edge.traverse_on is not None:
        document["traverseOn"] = edge.traverse_on.value
    if edge.weak:
        document["weak"] = True
    if edge.limit is not None:
        document["limit"] = edge.limit
    return document


def _from_stages(stages: tuple[StageSpec, ...]) -> dict[str, Any]:
    """Every task of a stage follows every task of the one before; where both are many, a synchronisation point stands between.

    Its name holds a slash, which no task's name can.
    """
    tasks: dict[str, Any] = {}
    edges: list[dict[str, Any]] = []
    before = [ROOT]
    for index, stage in enumerate(stages):
        if len(before) > 1 and len(stage.tasks) > 1:
            meeting = f"{stages[index - 1].name}/end"
            tasks[meeting] = {}
            edges += [{"from": task, "to": meeting} for task in before]
            before = [meeting]
        for task in stage.tasks:
            tasks[task.name] = task_document(task)
            edges += [{"from": earlier, "to": task.name} for earlier in before]
        before = [task.name for task in stage.tasks]
    return {"tasks": tasks, "edges": edges}
