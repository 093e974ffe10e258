"""Documents that are no graphs, and graphs that cannot run: where the fault is and what to do."""

import pytest
from unicorn_graph import GraphError, Problem, parse, problems, to_document

DOCUMENT = {
    "tasks": {"ping": {"run": "ping -c 3 10.0.0.1", "timeoutSeconds": 30.0}, "join": {}},
    "edges": [{"from": "root", "to": "ping"}, {"from": "ping", "to": "join", "traverseOn": "Any", "weak": False, "limit": 3}],
    "earlyStopping": False,
    "reportResults": True,
}


def test_a_document_survives_the_round_trip():
    graph = parse(DOCUMENT)
    assert graph.nodes == ("root", "ping", "join")
    assert graph.is_task("ping")
    assert not graph.is_task("join")
    assert not graph.is_task("root")
    assert parse(to_document(graph)) == graph


@pytest.mark.parametrize(
    ("document", "path", "because"),
    [
        ([], "", "a graph is an object"),
        ({"tasks": []}, "tasks", "tasks are keyed by name"),
        ({"tasks": {"a": "ls"}}, "tasks.a", "a task is an object"),
        ({"edges": {}}, "edges", "edges are a list"),
        ({"edges": [{"from": "root"}]}, "edges[0].to", "both ends are needed"),
        ({"edges": [{"from": "root", "to": "a", "traverseOn": "success"}]}, "edges[0].traverseOn", "values are CamelCase"),
        ({"edges": [{"from": "root", "to": "a", "limit": "3"}]}, "edges[0].limit", "a limit is a number"),
        ({"edges": [{"from": "root", "to": "a", "limit": True}]}, "edges[0].limit", "true is no number"),
        ({"edges": [{"from": "root", "to": "a", "type": "weak"}]}, "edges[0].type", "an unknown field is a mistake, not a wish"),
        ({"earlyStopping": "yes"}, "earlyStopping", "a boolean"),
    ],
)
def test_shapes_that_are_refused(document, path, because):
    with pytest.raises(GraphError) as refused:
        parse(document)
    assert refused.value.path == path, because


def graph_of(*edges, tasks=("a", "b"), points=("J",)):
    document = {"tasks": {**{t: {"run": "true"} for t in tasks}, **{p: {} for p in points}}, "edges": [*edges]}
    return parse(document)


def edge(source, target, **fields):
    return {"from": source, "to": target, **fields}


CONNECTED = (edge("root", "a"), edge("a", "b"), edge("b", "J"))


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        (graph_of(*CONNECTED), []),
        (graph_of(*CONNECTED, edge("J", "a", weak=True)), []),
        (graph_of(*CONNECTED[:2]), [("tasks.J", "cannot be reached from `root`: add an edge to it, or remove it")]),
        (
            graph_of(*CONNECTED[:2], edge("b", "J", weak=True)),
            [("tasks.J", "can be reached over weak edges only: make one of the edges on a path to it strong")],
        ),
        (
            graph_of(*CONNECTED, edge("J", "a")),
            [("edges[3]", "closes the cycle a -> b -> J -> a, whose tasks would wait for each other: set `weak: true` on it")],
        ),
        (
            graph_of(*CONNECTED, edge("J", "J", weak=True, limit=3)),
            [("edges[3]", "closes the cycle J -> J, in which nothing runs: put a task into it, or remove the edge")],
        ),
        (graph_of(*CONNECTED, edge("a", "x")), [("edges[3].to", "there is no task `x`: add it to tasks, or correct the name")]),
        (
            graph_of(*CONNECTED, edge("a", "J", limit=0)),
            [("edges[3].limit", "is 0: must be at least 1; leave it out for no limit")],
        ),
        (
            graph_of(edge("root", "J", traverseOn="Any"), *CONNECTED),
            [("edges[0].traverseOn", "`root` is no task and has no outcome: leave traverseOn out")],
        ),
        (graph_of(*CONNECTED, edge("a", "b", weak=True)), [("edges[3]", "a second edge from `a` to `b`: keep one of them")]),
    ],
)
def test_problems_and_what_to_do(graph, expected):
    assert problems(graph) == [Problem(*row) for row in expected]


def test_a_task_is_of_one_kind_and_root_of_none():
    graph = parse({"tasks": {"a": {"run": "x", "script": "y"}, "root": {"run": "x"}}, "edges": [edge("root", "a")]})
    assert [problem.path for problem in problems(graph)] == ["tasks.a", "tasks.root"]
