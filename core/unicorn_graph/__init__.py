"""Execution-graph semantics: what may run, when, and what the run amounts to.

Standard library only and importable by Python 3.9: the agent carries this package onto the nodes.
`model` is the document, `validation` says what is wrong with one, `scheduler` runs one. The rules: docs/execution-graphs.md.
"""

from unicorn_graph.model import ROOT, TASK_KINDS, Edge, Graph, GraphError, parse, to_document
from unicorn_graph.scheduler import Outcome, Scheduler, TaskRun
from unicorn_graph.validation import Problem, problems

__all__ = [
    "ROOT",
    "TASK_KINDS",
    "Edge",
    "Graph",
    "GraphError",
    "Outcome",
    "Problem",
    "Scheduler",
    "TaskRun",
    "parse",
    "problems",
    "to_document",
]
