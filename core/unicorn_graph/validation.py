"""What is wrong with a graph, each problem with its path and what to do. No problem = the scheduler can run it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from unicorn_graph.model import ROOT, TASK_KINDS, Edge, Graph


class Problem(NamedTuple):
    path: str  # relative to the graph, like `edges[3].to`
    message: str


def problems(graph: Graph, *, unchecked: bool = False) -> list[Problem]:
    """All problems, in the document's order; those of the graph as a whole only when its parts are right.

    `unchecked`: its author does not want it checked: only what would never come to an end.
    """
    if unchecked:
        return list(_idle_cycle(graph))
    found = [*_task_problems(graph), *_edge_problems(graph)]
    return found or [*_unreachable(graph), *_strong_cycle(graph), *_idle_cycle(graph)]


def _task_problems(graph: Graph) -> Iterable[Problem]:
    for name, task in graph.tasks.items():
        kinds = [kind for kind in TASK_KINDS if kind in task]
        if name == ROOT and kinds:
            yield Problem(f"tasks.{name}", "`root` is where every graph begins and runs nothing: give the task another name")
        elif len(kinds) > 1:
            yield Problem(f"tasks.{name}", f"has {' and '.join(kinds)}: a task is one of them, make two tasks of it")


def _edge_problems(graph: Graph) -> Iterable[Problem]:
    nodes = set(graph.nodes)
    seen: set[tuple[str, str]] = set()
    for index, edge in enumerate(graph.edges):
        path = f"edges[{index}]"
        for end, node in (("from", edge.source), ("to", edge.target)):
            if node not in nodes:
                yield Problem(f"{path}.{end}", f"there is no task `{node}`: add it to tasks, or correct the name")
        if edge.limit is not None and edge.limit <= 0:
            yield Problem(f"{path}.limit", f"is {edge.limit}: must be at least 1; leave it out for no limit")
        if edge.traverse_on is not None and edge.source in nodes and not graph.is_task(edge.source):
            yield Problem(f"{path}.traverseOn", f"`{edge.source}` is no task and has no outcome: leave traverseOn out")
        if (edge.source, edge.target) in seen:
            yield Problem(path, f"a second edge from `{edge.source}` to `{edge.target}`: keep one of them")
        seen.add((edge.source, edge.target))


def _unreachable(graph: Graph) -> Iterable[Problem]:
    by_any = _reached(graph.edges)
    by_strong = _reached(edge for edge in graph.edges if not edge.weak)
    for node in graph.nodes:
        if node not in by_any:
            yield Problem(f"tasks.{node}", "cannot be reached from `root`: add an edge to it, or remove it")
        elif node not in by_strong:
            yield Problem(f"tasks.{node}", "can be reached over weak edges only: make one of the edges on a path to it strong")


def _strong_cycle(graph: Graph) -> Iterable[Problem]:
    """Reported at the edge that closes the cycle."""
    cycle = _find_cycle(graph.nodes, [(i, edge) for i, edge in enumerate(graph.edges) if not edge.weak])
    if cycle:
        index, nodes = cycle
        yield Problem(
            f"edges[{index}]",
            f"closes the cycle {' -> '.join(nodes)}, whose tasks would wait for each other: set `weak: true` on it",
        )


def _idle_cycle(graph: Graph) -> Iterable[Problem]:
    """A cycle of synchronisation points alone would turn without ever running anything."""
    idle = [(i, edge) for i, edge in enumerate(graph.edges) if not graph.is_task(edge.source) and not graph.is_task(edge.target)]
    if not any(edge.weak for _, edge in idle):
        return
    cycle = _find_cycle(graph.nodes, idle)
    if cycle:
        index, nodes = cycle
        yield Problem(
            f"edges[{index}]",
            f"closes the cycle {' -> '.join(nodes)}, in which nothing runs: put a task into it, or remove the edge",
        )


def _reached(edges: Iterable[Edge]) -> set[str]:
    successors: dict[str, list[str]] = {}
    for edge in edges:
        successors.setdefault(edge.source, []).append(edge.target)
    reached, todo = {ROOT}, [ROOT]
    while todo:
        for target in successors.get(todo.pop(), ()):
            if target not in reached:
                reached.add(target)
                todo.append(target)
    return reached


def _find_cycle(nodes: Iterable[str], edges: Iterable[tuple[int, Edge]]) -> tuple[int, list[str]] | None:
    """The index of the closing edge and the cycle's nodes (first = last), or None. Depth first, without recursion."""
    outgoing: dict[str, list[tuple[int, str]]] = {}
    for index, edge in edges:
        outgoing.setdefault(edge.source, []).append((index, edge.target))
    done: set[str] = set()
    for start in nodes:
        path: list[str] = []
        todo = [(start, iter(outgoing.get(start, ())))]
        if start in done:
            continue
        path.append(start)
        while todo:
            node, rest = todo[-1]
            step = next(rest, None)
            if step is None:
                done.add(node)
                todo.pop()
                path.pop()
                continue
            index, target = step
            if target in path:
                return index, [*path[path.index(target) :], target]
            if target not in done:
                path.append(target)
                todo.append((target, iter(outgoing.get(target, ()))))
    return None
