"""Runs a graph: a pure state machine, fed with the ends of task runs. The rules in words: docs/execution-graphs.md.

1. A node becomes *due* when an edge to it is followed. Root is due at the start. Due is a flag, not a count.
2. A due node *starts* when it is not running, each node with a strong edge to it has finished in the present round, and
   nothing downstream of it (over strong edges) is running or could start. So rounds of a cycle never overlap: what is left
   of a round goes first.
3. When a node starts again, a new round begins downstream of it: there nothing counts as finished or due any more.
4. A synchronisation point finishes at once and follows all of its edges. A task follows those whose `traverse_on` fits
   its outcome.
5. An edge with a limit is removed when it has been followed that often. A removed edge is no prerequisite any more.
6. With early stopping, the run stops when a task fails and follows no edge: nothing starts any more, what runs may finish.
7. The run is done when nothing runs and nothing can start. A node that is due then is a deadlock.
8. The outcome is Failure when any task run failed, at a deadlock and when cancelled.

Deterministic: the same calls in the same order give the same runs with the same numbers, so that an agent can replay its journal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Optional

from unicorn_graph.model import ROOT, Edge, Graph

SUCCESS = "Success"
FAILURE = "Failure"


class TaskRun(NamedTuple):
    number: int  # counts the runs of this graph from 1
    task: str


class Outcome(NamedTuple):
    outcome: str  # Success | Failure
    reason: Optional[str] = None  # TaskFailed | Deadlock | Cancelled
    message: str = ""


class Scheduler:
    """One run of one valid graph (`validation.problems` found none). Not thread-safe."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._order = {node: index for index, node in enumerate(graph.nodes)}
        self._out: dict[str, list[Edge]] = {node: [] for node in graph.nodes}
        self._strong_in: dict[str, list[Edge]] = {node: [] for node in graph.nodes}
        for edge in graph.edges:
            self._out[edge.source].append(edge)
            if not edge.weak:
                self._strong_in[edge.target].append(edge)
        self._followed: dict[Edge, int] = {}
        self._due: set[str] = set()
        self._finished: set[str] = set()  # in the present round
        self._began: set[str] = set()  # ever
        self._running: dict[int, str] = {}
        self._runs = 0
        self._stopped = False
        self._cancelled = False
        self._first_failure: Optional[str] = None

    def start(self) -> list[TaskRun]:
        """The first task runs. To be called once."""
        self._due.add(ROOT)
        return self._settle()

    def finished(self, run: int, outcome: str) -> list[TaskRun]:
        """Takes the end of a task run (Success | Failure); gives the runs that begin now. KeyError: no such run is running."""
        task = self._running.pop(run)
        self._finished.add(task)
        if outcome == FAILURE and self._first_failure is None:
            self._first_failure = task
        if self._stopped or self._cancelled:
            return []
        followed = self._follow(task, outcome)
        if outcome == FAILURE and self._graph.early_stopping and not followed:
            self._stopped = True
            return []
        return self._settle()

    def cancel(self) -> None:
        """Nothing starts any more; the run is done when what runs has finished."""
        if not self.is_done:
            self._cancelled = True

    @property
    def running(self) -> Mapping[int, str]:
        """Run number -> task."""
        return dict(self._running)

    @property
    def is_done(self) -> bool:
        """Nothing runs; what could start was started by the last call."""
        return not self._running

    @property
    def stalled(self) -> Mapping[str, tuple[str, ...]]:
        """At a deadlock: each node that is due, with the prerequisites that did not finish. Else empty."""
        if self._running or self._stopped or self._cancelled:
            return {}
        return {node: tuple(self._missing(node)) for node in sorted(self._due, key=self._order.__getitem__)}

    @property
    def outcome(self) -> Optional[Outcome]:
        """None until the run is done."""
        if not self.is_done:
            return None
        if self._cancelled:
            return Outcome(FAILURE, "Cancelled", "the run was cancelled")
        if self._first_failure is not None:
            return Outcome(FAILURE, "TaskFailed", f"task {self._first_failure} failed")
        stalled = self.stalled
        if stalled:
            waits = "; ".join(f"{node} waits for {', '.join(missing)}" for node, missing in stalled.items())
            return Outcome(FAILURE, "Deadlock", f"nothing can run any more: {waits}, and that will not run")
        return Outcome(SUCCESS)

    def _settle(self) -> list[TaskRun]:
        """Starts what can start, until nothing can."""
        begun: list[TaskRun] = []
        while True:
            node = self._next()
            if node is None:
                return begun
            self._begin_round(node)
            if self._graph.is_task(node):
                self._runs += 1
                self._running[self._runs] = node
                begun.append(TaskRun(self._runs, node))
            else:
                self._finished.add(node)
                self._follow(node, None)

    def _next(self) -> Optional[str]:
        """The first node, in the document's order, that rule 2 lets start."""
        running = set(self._running.values())
        ready = [node for node in self._due if node not in running and not self._missing(node)]
        busy = running.union(ready)
        for node in sorted(ready, key=self._order.__getitem__):
            # A node that begins for the first time has nothing downstream that ran: no need to look.
            if node not in self._began or busy.isdisjoint(self._downstream(node)):
                return node
        return None

    def _begin_round(self, node: str) -> None:
        if node in self._began:
            downstream = self._downstream(node)
            self._finished -= downstream
            self._due -= downstream
        self._began.add(node)
        self._finished.discard(node)
        self._due.discard(node)

    def _follow(self, node: str, outcome: Optional[str]) -> bool:
        """Follows the edges of a finished node; whether there was one. `outcome` is None for a synchronisation point."""
        fitting = [edge for edge in self._out[node] if self._is_left(edge) and self._fits(edge, outcome)]
        for edge in fitting:
            self._followed[edge] = self._followed.get(edge, 0) + 1
            self._due.add(edge.target)
        return bool(fitting)

    def _fits(self, edge: Edge, outcome: Optional[str]) -> bool:
        if outcome is None:
            return True
        traverse_on = edge.traverse_on or (SUCCESS if self._graph.early_stopping else "Any")
        return traverse_on in ("Any", outcome)

    def _is_left(self, edge: Edge) -> bool:
        return edge.limit is None or self._followed.get(edge, 0) < edge.limit

    def _missing(self, node: str) -> list[str]:
        """Its prerequisites that have not finished in the present round."""
        return [edge.source for edge in self._strong_in[node] if edge.source not in self._finished and self._is_left(edge)]

    def _downstream(self, node: str) -> set[str]:
        """What can be reached from it over strong edges that are left; not itself (strong edges close no cycle)."""
        found: set[str] = set()
        todo = [node]
        while todo:
            for edge in self._out[todo.pop()]:
                if not edge.weak and self._is_left(edge) and edge.target not in found:
                    found.add(edge.target)
                    todo.append(edge.target)
        return found
