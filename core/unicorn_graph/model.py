"""The execution graph as a value, and its JSON document (docs/executor-protocol.md, "The graph").

`parse` checks shapes only; whether the graph makes sense is `validation.problems`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Optional

ROOT = "root"
TASK_KINDS = ("run", "python", "script", "flag", "serialized")  # the last one within the agent only
TRAVERSE_ON = ("Success", "Failure", "Any")

_GRAPH_FIELDS = frozenset({"tasks", "edges", "earlyStopping", "reportResults"})
_EDGE_FIELDS = frozenset({"from", "to", "traverseOn", "weak", "limit"})


class GraphError(ValueError):
    """The document has not the shape of a graph. `path` is relative to it, like `edges[3].to`."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.path = path
        self.message = message


class Edge(NamedTuple):
    source: str
    target: str
    traverse_on: Optional[str] = None  # Success | Failure | Any; None: Success with early stopping, else Any
    weak: bool = False
    limit: Optional[int] = None  # how often it may be followed; None: no limit


class Graph(NamedTuple):
    """`tasks`: name -> specification; one without a kind (`TASK_KINDS`) is a synchronisation point. `root` is implied."""

    tasks: Mapping[str, Mapping[str, Any]]
    edges: tuple[Edge, ...] = ()
    early_stopping: bool = True
    report_results: bool = True

    @property
    def nodes(self) -> tuple[str, ...]:
        """Root first, then in the document's order."""
        return (ROOT, *(name for name in self.tasks if name != ROOT))

    def is_task(self, node: str) -> bool:
        return any(kind in self.tasks.get(node, {}) for kind in TASK_KINDS)


def parse(document: Any) -> Graph:
    """The graph of a JSON document. Raises GraphError where its shape is wrong."""
    _require(isinstance(document, Mapping), "", "a graph is an object with `tasks` and `edges`")
    _refuse_unknown(document, _GRAPH_FIELDS, "")
    tasks = document.get("tasks", {})
    _require(isinstance(tasks, Mapping), "tasks", "must be an object: task name -> task")
    for name, task in tasks.items():
        _require(isinstance(task, Mapping), f"tasks.{name}", "a task is an object; `{}` is a synchronisation point")
    edges = document.get("edges", [])
    _require(isinstance(edges, (list, tuple)), "edges", "must be a list")
    return Graph(
        tasks={str(name): dict(task) for name, task in tasks.items()},
        edges=tuple(_edge(edge, f"edges[{index}]") for index, edge in enumerate(edges)),
        early_stopping=_boolean(document, "earlyStopping", "", True),
        report_results=_boolean(document, "reportResults", "", True),
    )


def to_document(graph: Graph) -> dict[str, Any]:
    """The JSON document of a graph; fields at their defaults are left out of the edges."""
    return {
        "tasks": {name: dict(task) for name, task in graph.tasks.items()},
        "edges": [_edge_document(edge) for edge in graph.edges],
        "earlyStopping": graph.early_stopping,
        "reportResults": graph.report_results,
    }


def _edge(document: Any, path: str) -> Edge:
    _require(isinstance(document, Mapping), path, "an edge is an object with `from` and `to`")
    _refuse_unknown(document, _EDGE_FIELDS, f"{path}.")
    for end in ("from", "to"):
        _require(isinstance(document.get(end), str), f"{path}.{end}", "must name a task")
    traverse_on = document.get("traverseOn")
    _require(traverse_on is None or traverse_on in TRAVERSE_ON, f"{path}.traverseOn", f"must be one of {', '.join(TRAVERSE_ON)}")
    limit = document.get("limit")
    _require(limit is None or (isinstance(limit, int) and not isinstance(limit, bool)), f"{path}.limit", "must be an integer")
    return Edge(document["from"], document["to"], traverse_on, _boolean(document, "weak", f"{path}.", False), limit)


def _edge_document(edge: Edge) -> dict[str, Any]:
    document: dict[str, Any] = {"from": edge.source, "to": edge.target}
    if edge.traverse_on is not None:
        document["traverseOn"] = edge.traverse_on
    if edge.weak:
        document["weak"] = True
    if edge.limit is not None:
        document["limit"] = edge.limit
    return document


def _boolean(document: Mapping[str, Any], field: str, prefix: str, default: bool) -> bool:
    value = document.get(field, default)
    _require(isinstance(value, bool), f"{prefix}{field}", "must be true or false")
    return bool(value)


def _refuse_unknown(document: Mapping[str, Any], known: frozenset[str], prefix: str) -> None:
    for field in document:
        _require(field in known, f"{prefix}{field}", f"unknown field; known are {', '.join(sorted(known))}")


def _require(condition: bool, path: str, message: str) -> None:
    if not condition:
        raise GraphError(path, message)
