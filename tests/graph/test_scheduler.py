"""Each rule of docs/execution-graphs.md as a row: a graph, how its runs end, and the order in which they start."""

import pytest
from unicorn_graph import Edge, Graph, Scheduler, problems


def graph(*edges, tasks="", early_stopping=True):
    """Lower-case names are tasks, upper-case ones synchronisation points."""
    names = dict.fromkeys(node for edge in edges for node in (edge.source, edge.target) if node != "root")
    built = Graph({name: {"run": "true"} if name.islower() else {} for name in names}, edges, early_stopping)
    assert problems(built) == []
    return built


def strong(source, target, on=None, limit=None):
    return Edge(source, target, on, weak=False, limit=limit)


def weak(source, target, on=None, limit=None):
    return Edge(source, target, on, weak=True, limit=limit)


def play(graph, ends):
    """`ends`: "a+ b-" = the running run of a succeeds, then that of b fails. Gives what starts at each step, and the outcome."""
    scheduler = Scheduler(graph)
    steps = [scheduler.start()]
    for end in ends.split():
        (run,) = [number for number, task in scheduler.running.items() if task == end[:-1]]
        steps.append(scheduler.finished(run, "Success" if end[-1] == "+" else "Failure"))
    outcome = scheduler.outcome
    return " | ".join(" ".join(run.task for run in step) for step in steps), outcome and (outcome.reason or outcome.outcome)


PIPELINE = (strong("root", "a"), strong("root", "b"), strong("a", "J"), strong("b", "J"), strong("J", "c"), strong("c", "K"))
RETRY = (strong("root", "a"), weak("a", "a", "Failure", 2), strong("a", "b"))


@pytest.mark.parametrize(
    ("graph", "ends", "starts", "outcome", "because"),
    [
        (graph(strong("root", "J")), "", "", "Success", "a graph without tasks is done at once"),
        (graph(*PIPELINE), "a+ b+ c+", "a b |  | c | ", "Success", "a stage waits for the one before"),
        (graph(*PIPELINE), "a+ b+", "a b |  | c", None, "not done while something runs"),
        (graph(*PIPELINE), "a- b+", "a b |  | ", "TaskFailed", "early stopping: what runs may finish, nothing new starts"),
        (graph(*PIPELINE, early_stopping=False), "a- b+ c+", "a b |  | c | ", "TaskFailed", "without it the run goes on"),
        (
            graph(*PIPELINE, weak("K", "root", limit=1)),
            "b+ a+ c+ b+ a+ c+",
            "a b |  | c | a b |  | c | ",
            "Success",
            "cycles=2; the join of round 2 waits for its slower branch again",
        ),
        (
            graph(
                strong("root", "a"),
                strong("a", "b"),
                strong("root", "c"),
                strong("c", "D"),
                strong("b", "D"),
                weak("D", "root", limit=1),
            ),
            "c+ a+ b+ c+ a+ b+",
            "a c |  | b | a c |  | b | ",
            "Success",
            "the join waits for a branch that has not even begun in round 2",
        ),
        (graph(*RETRY), "a- a- a+ b+", "a | a | a | b | ", "TaskFailed", "a failure that was recovered from still counts"),
        (graph(*RETRY), "a- a- a-", "a | a | a | ", "TaskFailed", "the edge is used up: no edge can be followed, the run stops"),
        (
            graph(strong("root", "a"), strong("a", "b"), strong("a", "c", "Failure"), weak("c", "b")),
            "a- c+ b+",
            "a | c | b | ",
            "TaskFailed",
            "repair: a strong edge of a failed task is a prerequisite that is met",
        ),
        (
            graph(strong("root", "a"), strong("a", "b"), strong("a", "c", "Failure"), strong("b", "D"), strong("c", "D")),
            "a+ b+",
            "a | b | ",
            "Deadlock",
            "c will not run, so D waits for ever",
        ),
        (
            graph(strong("root", "a"), strong("a", "b", "Failure")),
            "a+",
            "a | ",
            "Success",
            "an edge that is not followed is no fault",
        ),
        (graph(strong("root", "a"), strong("a", "b", "Any")), "a- b+", "a | b | ", "TaskFailed", "Any goes on after a failure"),
        (
            graph(strong("root", "a"), weak("a", "a", limit=2), strong("a", "b")),
            "a+ b+ a+ b+ a+ b+",
            "a | b | a | b | a | b | ",
            "Success",
            "rounds never overlap: b of a round runs before a of the next",
        ),
        (
            graph(strong("root", "a"), strong("a", "B"), weak("B", "a", limit=1), strong("B", "c"), strong("c", "d")),
            "a+ c+ d+ a+ c+ d+",
            "a | c | d | a | c | d | ",
            "Success",
            "the tail of a round runs to its end before the next round",
        ),
        (
            graph(strong("root", "a"), strong("a", "b", limit=1), strong("a", "D"), strong("b", "D"), weak("D", "a", limit=1)),
            "a+ b+ a+",
            "a | b | a | ",
            "Success",
            "an edge that is used up holds nobody in round 2",
        ),
        (
            graph(strong("root", "a"), strong("root", "b"), strong("a", "c"), weak("b", "c")),
            "a+ b+ c+ c+",
            "a b | c |  | c | ",
            "Success",
            "due while it runs: it runs again afterwards",
        ),
        (
            graph(strong("root", "a"), strong("a", "c"), strong("root", "c")),
            "a+ c+",
            "a | c | ",
            "Success",
            "a prerequisite from root is met",
        ),
    ],
)
def test_what_starts_when(graph, ends, starts, outcome, because):
    assert play(graph, ends) == (starts, outcome), because


def test_a_deadlock_says_what_waits_for_what():
    scheduler = Scheduler(
        graph(strong("root", "a"), strong("a", "b"), strong("a", "c", "Failure"), strong("b", "D"), strong("c", "D"))
    )
    for _ in range(2):
        (run,) = scheduler.running or [run.number for run in scheduler.start()]
        scheduler.finished(run, "Success")
    assert scheduler.stalled == {"D": ("c",)}
    assert scheduler.outcome.message == "nothing can run any more: D waits for c, and that will not run"


def test_after_a_cancel_nothing_starts_and_the_outcome_says_so():
    scheduler = Scheduler(graph(*PIPELINE))
    scheduler.start()
    scheduler.cancel()
    assert scheduler.finished(1, "Success") == []
    assert not scheduler.is_done
    assert scheduler.finished(2, "Success") == []
    assert scheduler.outcome.reason == "Cancelled"


def test_cancel_after_the_end_changes_nothing():
    scheduler = Scheduler(graph(strong("root", "J")))
    scheduler.start()
    scheduler.cancel()
    assert scheduler.outcome.outcome == "Success"


def test_an_unknown_run_is_refused():
    scheduler = Scheduler(graph(*PIPELINE))
    scheduler.start()
    with pytest.raises(KeyError):
        scheduler.finished(7, "Success")
