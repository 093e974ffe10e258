"""Random graphs, random ends in random order: the scheduler and the naive model agree at every step, and promises hold."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from naive_model import NaiveModel
from unicorn_graph import Edge, Graph, Scheduler, parse, problems, to_document

STEPS = 40  # an endless cycle is cut here


@st.composite
def graphs(draw):
    """Valid graphs: a strong backbone that reaches everything, more strong edges that go forward, weak edges that go anywhere."""
    size = draw(st.integers(1, 7))
    names = [f"n{number}" for number in range(size)]
    tasks = {name: {"run": "true"} if draw(st.integers(0, 3)) else {} for name in names}
    nodes = ["root", *names]
    pairs = {}
    for position, name in enumerate(names):
        pairs[draw(st.sampled_from(nodes[: position + 1])), name] = False
    for _ in range(draw(st.integers(0, 5))):
        source, target = draw(st.integers(0, size)), draw(st.integers(0, size))
        if source < target:
            pairs.setdefault((nodes[source], nodes[target]), False)
    for _ in range(draw(st.integers(0, 4))):
        pairs.setdefault((draw(st.sampled_from(nodes)), draw(st.sampled_from(nodes))), True)
    edges = tuple(
        Edge(
            source,
            target,
            draw(st.sampled_from([None, None, "Success", "Failure", "Any"])) if tasks.get(source) else None,
            weak,
            draw(st.sampled_from([None, None, 1, 2])),
        )
        for (source, target), weak in draw(st.permutations(sorted(pairs.items())))
    )
    graph = Graph(tasks, edges, draw(st.booleans()))
    # A cycle of synchronisation points alone is refused; its weak edges are left out.
    while any("nothing runs" in problem.message for problem in problems(graph)):
        (problem,) = problems(graph)
        index = int(problem.path.removeprefix("edges[").removesuffix("]"))
        ring = problem.message.split("cycle ")[1].split(",")[0].split(" -> ")
        around = set(pairwise(ring))
        weak = next(i for i, e in enumerate(graph.edges) if e.weak and (i == index or (e.source, e.target) in around))
        graph = Graph(tasks, graph.edges[:weak] + graph.edges[weak + 1 :], graph.early_stopping)
    assert problems(graph) == []
    return graph


@settings(max_examples=300, deadline=None)
@given(graphs(), st.data())
def test_the_scheduler_does_what_the_rules_say(graph, data):
    scheduler, naive = Scheduler(graph), NaiveModel(graph)
    begun = scheduler.start()
    assert [run.task for run in begun] == naive.begin()
    numbers = [run.number for run in begun]
    for _ in range(STEPS):
        if scheduler.is_done:
            break
        check_promises(graph, scheduler, naive)
        number = data.draw(st.sampled_from(sorted(scheduler.running)), label="ends")
        outcome = data.draw(st.sampled_from(["Success", "Success", "Failure"]), label="outcome")
        if data.draw(st.integers(0, 30), label="cancel at 0") == 0:
            scheduler.cancel()
            naive.cancelled = True
        task = scheduler.running[number]
        begun = scheduler.finished(number, outcome)
        assert [run.task for run in begun] == naive.end(task, outcome)
        numbers += [run.number for run in begun]
    assert numbers == list(range(1, len(numbers) + 1)), "runs are numbered without a gap"
    assert set(scheduler.running.values()) == naive.running()
    if scheduler.is_done:
        assert (scheduler.outcome.outcome, scheduler.outcome.reason) == naive.verdict()
        assert bool(scheduler.stalled) == any(naive.is_due(node) for node in graph.nodes) or naive.stopped or naive.cancelled
    else:
        assert scheduler.outcome is None
        assert naive.verdict() is None


def check_promises(graph, scheduler, naive):
    """What a reader of the page may rely on, whatever the rules in detail."""
    running = list(scheduler.running.values())
    assert len(running) == len(set(running)), "a task never runs twice at the same time"
    for index, edge in enumerate(graph.edges):
        if not edge.weak and naive.left(index):
            assert not {edge.source, edge.target} <= set(running), f"{edge.target} runs while its prerequisite {edge.source} does"


@settings(max_examples=100, deadline=None)
@given(graphs())
def test_documents_survive_the_round_trip(graph):
    assert parse(to_document(graph)) == graph


@settings(max_examples=100, deadline=None)
@given(graphs(), st.data())
def test_the_same_ends_give_the_same_runs(graph, data):
    """What a restarted agent relies on when it replays its journal."""
    first, second = Scheduler(graph), Scheduler(graph)
    assert first.start() == second.start()
    for _ in range(STEPS):
        if first.is_done:
            break
        number = data.draw(st.sampled_from(sorted(first.running)))
        outcome = data.draw(st.sampled_from(["Success", "Failure"]))
        assert first.finished(number, outcome) == second.finished(number, outcome)
    assert first.outcome == second.outcome
