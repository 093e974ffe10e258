"""The rules of docs/execution-graphs.md, through the real agent: what runs, how often, and how it ends."""

import pytest


def task(source="result = len(previous)"):
    return {"script": source}


def edge(source, target, on=None, *, weak=False, limit=None):
    made = {"from": source, "to": target}
    if on:
        made["traverseOn"] = on
    if weak:
        made["weak"] = True
    if limit:
        made["limit"] = limit
    return made


FAILS = task("raise ValueError('as was wanted')")
# Fails the first time it runs.
FAILS_ONCE = task("if 'it' not in previous: raise ValueError('the first time')")

GRAPHS = [
    # name, tasks, edges, early stopping, how often each runs, outcome, reason, what the message holds
    (
        "a join that one side does not lead to is a deadlock",
        {"a": task(), "b": FAILS, "join": {}, "end": task()},
        [
            edge("root", "a"),
            edge("root", "b"),
            edge("b", "b2", "Success"),
            edge("a", "join"),
            edge("b2", "join"),
            edge("join", "end"),
        ],
        False,
        {"a": 1, "b": 1},
        "TaskFailed",
        "task b failed",
    ),
    (
        "a deadlock without a failure",
        {"a": task(), "never": task(), "join": {}, "end": task()},
        [edge("root", "a"), edge("a", "never", "Failure"), edge("a", "join"), edge("never", "join"), edge("join", "end")],
        False,
        {"a": 1},
        "Deadlock",
        "join waits for never",
    ),
    (
        "a Failure edge leads on, a Success edge does not",
        {"it": FAILS, "repair": task(), "next": task()},
        [edge("root", "it"), edge("it", "repair", "Failure"), edge("it", "next", "Success")],
        True,
        {"it": 1, "repair": 1},
        "TaskFailed",
        "as was wanted",
    ),
    (
        "a crash is a failure, with its edges",
        {"it": task("import os; os._exit(9)"), "repair": task(), "next": task()},
        [edge("root", "it"), edge("it", "repair", "Failure"), edge("it", "next", "Success")],
        True,
        {"it": 1, "repair": 1},
        "TaskFailed",
        "exit code 9",
    ),
    (
        "repaired over a weak edge",
        {"check": FAILS, "repair": task(), "work": task()},
        [edge("root", "check"), edge("check", "work"), edge("check", "repair", "Failure"), edge("repair", "work", weak=True)],
        True,
        {"check": 1, "repair": 1, "work": 1},
        "TaskFailed",
        "task check failed",
    ),
    (
        "tried again over a weak Failure edge",
        {"it": FAILS_ONCE, "next": task()},
        [
            edge("root", "it"),
            edge("it", "again", "Failure"),
            edge("again", "it", weak=True, limit=2),
            edge("it", "next", "Success"),
        ],
        True,
        {"it": 2, "next": 1},
        "TaskFailed",
        "the first time",
    ),
    (
        "a cycle, and a join in each round",
        {"a": task(), "b": task("import time; time.sleep(0.1)"), "join": {}, "end": task()},
        [edge("root", s) for s in "ab"]
        + [edge(s, "join") for s in "ab"]
        + [edge("join", "end"), edge("end", "root", weak=True, limit=2)],
        True,
        {"a": 3, "b": 3, "end": 3},
        None,
        "",
    ),
    (
        "early stopping lets what runs end",
        {"slow": task("import time; time.sleep(0.5)"), "it": FAILS, "after": task()},
        [edge("root", "slow"), edge("root", "it"), edge("slow", "after")],
        True,
        {"slow": 1, "it": 1},
        "TaskFailed",
        "task it failed",
    ),
]


@pytest.mark.parametrize(("name", "tasks", "edges", "early", "runs", "reason", "says"), GRAPHS, ids=[row[0] for row in GRAPHS])
async def test_what_runs_and_how_it_ends(start, name, tasks, edges, early, runs, reason, says):
    points = {end: {} for one in edges for end in (one["from"], one["to"]) if end != "root" and end not in tasks}
    agent = await start({"tasks": {**tasks, **points}, "edges": edges, "earlyStopping": early, "reportResults": True})
    result = await agent.result()
    assert {task: len(entries) for task, entries in result["results"].items()} == runs, name
    assert (result["outcome"], result.get("reason")) == ("Failure" if reason else "Success", reason)
    assert says in result.get("message", "")
    events = await agent.events("TaskFinished")
    assert len(events) == sum(runs.values())
