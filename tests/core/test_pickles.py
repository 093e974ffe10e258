"""Reading pickles without loading them: what the released packages write, what is broken, and what is hostile."""

import base64
import json
import pickle
import subprocess

import netunicorn_venv
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unicorn_core.pickles import OPCODES, read_report, reads_report_results

LOG = ["a\n", "\n", "\n", "x" * 300 + "\n", "ü\n", "no end"]
WRITER = f"""
import base64, json, types
from collections import defaultdict
import cloudpickle
from netunicorn.base import ExecutionGraph, Pipeline, CyclePipeline, Task
from netunicorn.library.tasks.basic import SleepTask
from returns.result import Failure, Success

LOG = {LOG!r}
results = defaultdict(list)
results["t"] += [Success(3), Failure("\\n"), Success(LOG[0])]

class Mine(Pipeline):
    def __init__(self, *, report_results=False):
        super().__init__(report_results=report_results)
        self.also = {{"report_results": not report_results}}

class Talkative(Task):
    def __init__(self, report_results):
        super().__init__()
        self.report_results = report_results
    def run(self):
        return None

def changed():
    graph = Pipeline().then([SleepTask(1), SleepTask(2)])
    graph.report_results = False
    return graph

written = {{
    "success": [Success(results), LOG],
    "failure": [Failure(results), LOG],
    "empty failure": [Failure({{}}), []],
    "one line": [Success({{}}), ["one\\n"]],
    "many lines": [Success({{}}), [f"{{n}}\\n" for n in range(2500)]],
    "unloadable": [None, LOG],
    "not picklable": [TypeError("cannot pickle"), LOG],
    "a class": [Task, LOG],
    "log is a tuple": [Success({{}}), tuple(LOG)],
    "graph": ExecutionGraph(),
    "graph, not reporting": ExecutionGraph(report_results=False),
    "pipeline": Pipeline().then(SleepTask(1)),
    "pipeline, not reporting": Pipeline(report_results=False).then(SleepTask(1)),
    "cycle, not reporting": CyclePipeline(cycles=3, report_results=False),
    "changed": changed(),
    "class of a notebook": Mine(),
    "class of a notebook, reporting": Mine(report_results=True),
    "talkative task": Pipeline().then(Talkative(False)),
    "talkative task, not reporting": Pipeline(report_results=False).then(Talkative(True)),
}}
print(json.dumps({{name: base64.b64encode(cloudpickle.dumps(value)).decode() for name, value in written.items()}}))
"""


@pytest.fixture(scope="module")
def written() -> dict[str, bytes]:
    """Pickles as the released packages write them."""
    done = subprocess.run([netunicorn_venv.python(), "-c", WRITER], check=True, capture_output=True, text=True)
    return {name: base64.b64decode(text) for name, text in json.loads(done.stdout).items()}


@pytest.mark.parametrize(
    ("name", "outcome", "reason", "log"),
    [
        ("success", "Success", "", LOG),
        ("failure", "Failure", "TaskFailed", LOG),
        ("empty failure", "Failure", "TaskFailed", []),
        ("one line", "Success", "", ["one\n"]),
        ("many lines", "Success", "", [f"{n}\n" for n in range(2500)]),  # the pickler writes lists in thousands
        ("unloadable", "Failure", "GraphUnloadable", LOG),
        ("not picklable", "Failure", "UnreadableReport", LOG),
        ("a class", "Failure", "UnreadableReport", LOG),
        ("log is a tuple", "Success", "", None),
    ],
)
def test_reports_as_the_executor_writes_them(written, name, outcome, reason, log):
    read = read_report(written[name])
    assert (read.outcome, read.reason, read.log) == (outcome, reason, log)


@pytest.mark.parametrize(
    ("name", "reports"),
    [
        ("graph", True),
        ("graph, not reporting", False),
        ("pipeline", True),
        ("pipeline, not reporting", False),
        ("cycle, not reporting", False),
        ("changed", False),
        ("class of a notebook", False),
        ("class of a notebook, reporting", True),
        ("talkative task", True),
        ("talkative task, not reporting", False),
    ],
)
def test_whether_a_graph_reports(written, name, reports):
    assert reads_report_results(written[name]) is reports


class Trap:
    """Loading it is an error."""

    def __reduce__(self):
        return pytest.fail, ("a pickle was loaded",)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b".",
        b"].",
        b"](.",
        b"\x80\x05N.",
        b"garbage",
        b"\xff" * 100,
        pickle.dumps({}),
        pickle.dumps([]),
        pickle.dumps(["Success", LOG]),
        pickle.dumps([Trap(), LOG]),
        pickle.dumps([Trap, LOG], protocol=2),
        b"](\x8c\x0ereturns.result\x8c\x07Success.",  # names it, and makes nothing of it
        b"](\x8d" + b"\xff" * 8,  # a string of 2^64 bytes
        pickle.dumps({b"key": bytearray(3), 3: 4}),
        b"](I" + b"9" * 100_000 + b"\n.",
    ],
)
def test_what_is_no_report_is_unreadable(content):
    assert (read_report(content).outcome, read_report(content).reason) == ("Failure", "UnreadableReport")
    assert reads_report_results(content) is True


def test_nothing_is_read_for_ever():
    endless = pickle.dumps([None, [0] * OPCODES, LOG])
    assert read_report(endless).reason == "GraphUnloadable", "what was read before the limit stands"
    assert read_report(endless).log is None
    assert reads_report_results(endless) is True


def test_a_report_that_was_cut_off_has_an_outcome_and_no_log(written):
    read = read_report(written["success"][:-3])
    assert (read.outcome, read.log) == ("Success", None)


@given(st.binary(max_size=200), st.integers(0, 600))
def test_any_bytes_are_answered(noise, at):
    genuine = pickle.dumps([None, LOG])
    for content in (noise, genuine[:at] + noise + genuine[at:]):
        assert read_report(content).outcome in ("Success", "Failure")
        assert reads_report_results(content) in (True, False)
