"""What the demo prints: lines where there is no terminal, and nothing of what executors sent as anything but text."""

import io
from uuid import UUID

import pytest
from rich.console import Console
from unicorn_core.resources.experiment import Phase
from unicorn_devcluster.demo import display
from unicorn_devcluster.demo.running import View
from unicorn_store.records import ExecutorRecord, ProgressRecord

UID = UUID(int=1)


def view(seconds, phase, counts=None, finished=0, **status):
    executors = [ProgressRecord(UID, "d", 0, "local-0", "Running", finished, ("work",))]
    return View("hello", UID, seconds, phase, {"executors": counts or {}, **status}, executors)


def printed(terminal, *views):
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=100)
    with display.progress(console) as progress:
        for each in views:
            progress.show(each)
    return file.getvalue()


def test_without_a_terminal_there_is_a_line_for_each_change_and_no_escape_sequence():
    views = [
        view(0.0, Phase.PENDING),
        view(0.2, Phase.RUNNING, {"total": 3, "running": 3}),
        view(0.4, Phase.RUNNING, {"total": 3, "running": 3}),
        view(0.6, Phase.RUNNING, {"total": 3, "running": 3}, finished=2),
        view(0.8, Phase.SUCCEEDED, {"total": 3, "succeeded": 3}, finished=2, reason="Completed"),
    ]
    lines = printed(False, *views).splitlines()
    assert lines == [
        "   0.0 s  Pending",
        "   0.2 s  Running; 3 executors: 3 running",
        "   0.6 s  Running; 3 executors: 3 running; 2 task runs done",
        "   0.8 s  Succeeded; 3 executors: 3 succeeded; Completed; 2 task runs done",
    ]


def test_on_a_terminal_there_is_a_table():
    conditions = [{"type": "Allocated", "status": "True"}, {"type": "Failed", "status": "False"}]
    shown = printed(True, view(1.0, Phase.RUNNING, {"total": 1, "running": 1}, conditions=conditions))
    assert "\x1b[" in shown
    for part in ("Allocated", "d/0", "local-0", "work"):
        assert part in shown
    assert "Failed" not in shown, "only conditions that hold"


@pytest.mark.parametrize(
    ("run", "line", "because"),
    [
        (
            {"outcome": "Success", "value": {"exitCode": 0, "stdout": "a\nb\n", "stderr": "x"}},
            "a | b",
            "a command: what it printed",
        ),
        ({"outcome": "Success", "value": {"b": 1}}, '{"b": 1}', "anything else: JSON"),
        ({"outcome": "Success"}, "null", "no value"),
        (
            {"outcome": "Failure", "error": "exit code 3", "value": {"exitCode": 3, "stdout": "", "stderr": "why\n"}},
            "Failure: exit code 3  why",
            "a failed command: what it complained about",
        ),
        ({"outcome": "Failure", "error": "killed"}, "Failure: killed", "a failure without a value"),
        ({"outcome": "Success", "value": "\x1b[31m[bold]"}, '"\\u001b[31m[bold]"', "no control characters, no markup"),
        ({"outcome": "Success", "value": "x" * 200}, '"' + "x" * 98 + "…", "long values are cut"),
    ],
)
def test_outcome(run, line, because):
    assert display.outcome(run) == line, because


def test_results_are_text_whatever_they_hold():
    results = {
        "[red]t": [{"outcome": "Success", "value": {"exitCode": 0, "stdout": "\x1b]0;title\x07[link=x]", "stderr": ""}}] * 2
    }
    executor = ExecutorRecord(UID, "d", 0, "n", "Succeeded", "", "", None, None, 0, 3, 9, "Success", results)
    file = io.StringIO()
    display.show_results(Console(file=file), [executor])
    assert "\x1b" not in file.getvalue()
    assert "[red]t  " in file.getvalue()
    assert "[link=x]  (the last of 2 runs)" in file.getvalue()
