"""A graph of netunicorn's client: loading it, running one of its tasks, putting its report together. Called in a task's process.

The only place that imports cloudpickle and netunicorn. Both are the environment's, and may be missing; what is unpickled may do
anything, as any task may.
"""

from __future__ import annotations

import base64
import importlib
import json
import os
import pickle
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

from unicorn_executor import values
from unicorn_executor.previous import Previous
from unicorn_executor.values import Failed

MODULES = ("cloudpickle", "netunicorn.base")
ENDPOINT = "NETUNICORN_GATEWAY_ENDPOINT"

_TRAVERSE_ON = {"success": "Success", "failure": "Failure", "any": "Any"}
_LONGEST_NAME = 200


def perform(job: Mapping[str, Any], previous: Previous) -> tuple[dict[str, Any], bytes]:
    """`job` has one of `load`, `run`, `report`: the file that it is about. Raises Failed."""
    if "run" in job:
        return _run(job, previous)
    value = _load(job) if "load" in job else _report(job, previous)
    return {"outcome": "Success", "value": value}, b""


# --- loading: the structure as a graph document, each task in a file of its own --------------------------------------------


def _load(job: Mapping[str, Any]) -> dict[str, Any]:
    """`{"graph", "unchecked"}`; `unchecked`: its author has switched validation off."""
    cloudpickle, base = (_module(name) for name in MODULES)
    try:
        graph = cloudpickle.loads(Path(job["load"]).read_bytes())
    except Exception as error:
        values.print_traceback(error)
        raise Failed(f"the graph cannot be unpickled: {values.raised(error)}", "GraphUnloadable") from error
    try:
        base.ExecutionGraph.is_execution_graph_valid(graph)
        dispatchers = [node.name for node in graph.graph.nodes if isinstance(node, base.TaskDispatcher)]
        if dispatchers:
            raise ValueError(f"it holds task dispatchers, which the client was to replace: {', '.join(map(str, dispatchers))}")
        keys, names = _keys(graph.graph.nodes, base.Task)
        edges = [
            _edge(keys[source], keys[target], data, is_task=keys[source] in names)
            for source, target, data in graph.graph.edges(data=True)
        ]
    except Exception as error:
        raise Failed(f"the execution graph is not valid: {values.raised(error)}", "GraphInvalid") from error
    into = Path(job["into"])
    into.mkdir(exist_ok=True)
    tasks: dict[str, Any] = {}
    for number, (node, key) in enumerate(keys.items()):
        tasks[key] = {}
        if key in names:
            file = into / str(number)
            file.write_bytes(_dump(cloudpickle, node))
            tasks[key] = {"serialized": {"run": str(file)}}
    tasks.pop("root", None)
    names_file(into).write_text(json.dumps(names))
    document = {
        "tasks": tasks,
        "edges": [edge for edge in edges if not _is_idle(edge, tasks)],
        "earlyStopping": bool(graph.early_stopping),
        "reportResults": bool(graph.report_results),
    }
    return {"graph": document, "unchecked": bool(graph.override_graph_validation)}


def _keys(nodes: Any, task: type) -> tuple[dict[Any, str], dict[str, Any]]:
    """Node -> its name in the document, unique and printable there; and that name -> the task's own."""
    keys: dict[Any, str] = {}
    names: dict[str, Any] = {}
    taken = {"root"}
    for number, node in enumerate(nodes):
        is_task = isinstance(node, task)
        if not is_task and node == "root":
            keys[node] = "root"
            continue
        own = node.name if is_task else None
        wanted = "".join(c if c.isprintable() else "?" for c in str(own))[:_LONGEST_NAME] if is_task else f"sync/{number}"
        key, copy = wanted or "task", 2
        while key in taken:
            key, copy = f"{wanted}#{copy}", copy + 1
        taken.add(key)
        keys[node] = key
        if is_task:
            names[key] = own if isinstance(own, (str, int)) else str(own)
    return keys, names


def _edge(source: str, target: str, data: Mapping[str, Any], *, is_task: bool) -> dict[str, Any]:
    """`is_task`: its source is one, and no synchronisation point."""
    edge: dict[str, Any] = {"from": source, "to": target}
    if data.get("type", "strong") == "weak":
        edge["weak"] = True
    if data.get("traverse_on") is not None and is_task:
        edge["traverseOn"] = _TRAVERSE_ON[data["traverse_on"]]
    if data.get("counter") is not None:
        edge["limit"] = max(1, int(data["counter"]))  # it is followed before it is counted
    return edge


def _is_idle(edge: Mapping[str, Any], tasks: Mapping[str, Any]) -> bool:
    """A synchronisation point that follows itself a few times: nothing comes of it."""
    return edge["from"] == edge["to"] and "limit" in edge and not tasks.get(edge["from"])


# --- one task --------------------------------------------------------------------------------------------------------------


def _run(job: Mapping[str, Any], previous: Previous) -> tuple[dict[str, Any], bytes]:
    """The report, and the task's `returns` Result pickled."""
    cloudpickle, returns = _module("cloudpickle"), _module("returns.result")
    file = Path(job["run"])
    try:
        task = cloudpickle.loads(file.read_bytes())
    except Exception as error:
        values.print_traceback(error)
        raise Failed(f"the task cannot be unpickled: {values.raised(error)}", "NotRunnable") from error
    try:
        task.previous_steps = _steps(previous, file.parent)
        result = task.run()
        if not isinstance(result, returns.Result):
            result = returns.Success(result)
    except Exception as error:
        values.print_traceback(error)
        result = returns.Failure(values.traceback_of(error))
        report = values.failure(values.raised(error), "Exception")
    else:
        report = _told(result, returns)
    try:
        pickled = _dump(cloudpickle, result)
    except Failed as failed:
        return values.failure(f"its result cannot be kept: {failed}", failed.reason), b""
    return without_token(report), base64.b64encode(pickled)


def _told(result: Any, returns: Any) -> dict[str, Any]:
    if isinstance(result, returns.Success):
        return values.success(result.unwrap())[0]
    inner = result.failure()
    try:
        return values.failure(str(inner), "Exception")
    except Exception:
        return values.failure(f"a {type(inner).__name__} that cannot be shown", "Exception")


def _steps(previous: Previous, tasks: Path) -> dict[Any, list[Any]]:
    """What netunicorn's tasks see of earlier ones: name -> list of `returns` results."""
    names = json.loads(names_file(tasks).read_bytes())
    steps: dict[Any, list[Any]] = defaultdict(list)
    for record in previous.records:
        steps[names.get(record["task"], record["task"])].append(_result(record))
    return steps


def _result(record: Mapping[str, Any]) -> Any:
    """Of one run; what its process could not give is a Failure that says why."""
    returns = _module("returns.result")
    if "pickle" in record:
        try:
            return _module("cloudpickle").loads(base64.b64decode(record["pickle"]))
        except Exception as error:
            return returns.Failure(f"the result cannot be unpickled: {values.raised(error)}")
    if record["outcome"] == "Success":
        return returns.Success(record.get("value"))
    return returns.Failure(record.get("error", ""))


# --- the report ------------------------------------------------------------------------------------------------------------


def _report(job: Mapping[str, Any], previous: Previous) -> dict[str, Any]:
    """Writes `[Result, [log line]]`, pickled. Without `outcome` the graph could not be loaded, and there is no Result."""
    with open(job["log"], encoding="utf-8", errors="replace", newline="\n") as file:
        lines = file.readlines()
    outcome: Optional[str] = job.get("outcome")
    if outcome is None:
        content = pickle.dumps([None, lines])
    else:
        returns = _module("returns.result")
        steps = _steps(previous, Path(job["tasks"])) if job.get("tasks") else {}
        result = returns.Success(steps) if outcome == "Success" else returns.Failure(steps)
        content = _dump(_module("cloudpickle"), [result, lines])
    Path(job["report"]).write_bytes(content)
    return {"size": len(content)}


# --- what all need ---------------------------------------------------------------------------------------------------------


def names_file(tasks: Path) -> Path:
    """Node of the document -> the task's own name; beside the directory of the tasks' files."""
    return tasks.with_name("names.json")


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except Exception as error:  # a module may raise anything while it is imported
        message = f"{name} cannot be imported: {values.raised(error)}; a serialized graph needs cloudpickle and netunicorn-base"
        raise Failed(f"{message} in its environment", "GraphUnloadable") from error


def _dump(cloudpickle: Any, value: Any) -> bytes:
    try:
        content: bytes = cloudpickle.dumps(value)
    except Exception as error:
        raise Failed(f"it cannot be pickled: {values.raised(error)}", "Exception") from error
    if len(content) > values.LARGEST_VALUE:
        raise Failed(f"pickled it has {len(content)} bytes; at most {values.LARGEST_VALUE}", "ResultTooLarge")
    return content


def without_token(report: dict[str, Any]) -> dict[str, Any]:
    """The token stands in the environment of netunicorn's tasks; it must not stand in their results."""
    token = os.environ.get(ENDPOINT, "").rpartition("/x/")[2]
    if not token:
        return report
    shown: dict[str, Any] = json.loads(json.dumps(report).replace(token, "x" * len(token)))
    return shown
