"""Graphs as netunicorn's client makes them. Run by a Python that has its packages, never imported by the suite.

`list` and `pickle NAME…` give JSON; `local` reads {name: pickle} and tells what netunicorn's own executor makes of each; `read`
reads {name: report} and tells the same of each.
"""

import base64
import json
import os
import sys
import tempfile

import cloudpickle
from netunicorn.base import CyclePipeline, ExecutionGraph, Failure, Pipeline, Result, Success, Task
from netunicorn.library.tasks.basic import DummyTask, ShellCommand, SleepTask


class Give(Task):
    def __init__(self, value, name=None):
        super().__init__(name)
        self.value = value

    def run(self):
        return self.value


class Fail(Task):
    def run(self):
        raise ValueError("as was wanted")


class Refuse(Task):
    def run(self):
        return Failure({"why": 7})


class Chosen(Task):
    def run(self):
        return Success("chosen")


class Seen(Task):
    """What it sees of earlier tasks."""

    def run(self):
        return {name: [describe(result) for result in results] for name, results in sorted(self.previous_steps.items())}


class Missing(Task):
    def run(self):
        return list(self.previous_steps["nobody"])


class Count(Task):
    """Counts its own runs."""

    def run(self):
        return len(self.previous_steps.get(self.name, ()))


class FailFirst(Task):
    def run(self):
        if not self.previous_steps.get(self.name):
            raise RuntimeError("the first time")
        return "well"


class Remember(Task):
    """What a task does to itself is forgotten."""

    def run(self):
        self.runs = getattr(self, "runs", 0) + 1
        return self.runs


class Custom:
    def __init__(self, x):
        self.x = x

    def __eq__(self, other):
        return self.x == other.x

    def __repr__(self):
        return f"Custom({self.x})"


class Environment(Task):
    def run(self):
        return sorted(name for name in os.environ if name.startswith("NETUNICORN_") and "HEARTBEAT" not in name)


class Talk(Task):
    def run(self):
        sys.stdout.write("to stdout\n")
        sys.stderr.write("to stderr\n")


class Crash(Task):
    def run(self):
        os._exit(9)


class Exit(Task):
    def run(self):
        sys.exit(3)


class Unpicklable(Task):
    def run(self):
        return (x for x in ())


class Leak(Task):
    def run(self):
        sys.stdout.write(os.environ["NETUNICORN_GATEWAY_ENDPOINT"])
        return os.environ["NETUNICORN_GATEWAY_ENDPOINT"]


class Big(Task):
    def run(self):
        return b"x" * 1_000_000


class Chatter(Task):
    def run(self):
        for number in range(100_000):
            sys.stdout.write(f"line {number}\n")


class Flood(Task):
    def run(self):
        return os.urandom(40_000_000)


class Bomb:
    def __reduce__(self):
        return (exec, ("raise RuntimeError('boom')",))


def pipeline(*tasks, **options):
    return Pipeline(tasks, **options)


def graph(*edges, **options):
    """Edges: (from, to, attributes)."""
    made = ExecutionGraph(**options)
    for source, target, *data in edges:
        made.graph.add_edge(source, target, **(data[0] if data else {}))
    return made


def cycle(cycles, *stages):
    """Stage by stage: given them at once, it keeps an edge from root to itself as well (see IMPROVED)."""
    made = CyclePipeline(cycles)
    for stage in stages:
        made.then(stage)
    return made


def retried():
    task = FailFirst(name="again")
    return graph(("root", task), (task, "gate", {"traverse_on": "failure"}), ("gate", task, {"type": "weak", "counter": 1}))


def branches(which, name="first"):
    task = Fail(name=name) if which == "failure" else Give(1, name)
    good, bad, always = Give("good", "good"), Give("bad", "bad"), Give("any", "any")
    return graph(
        ("root", task),
        (task, good, {"traverse_on": "success"}),
        (task, bad, {"traverse_on": "failure"}),
        (task, always, {"traverse_on": "any"}),
    )


def weak():
    a, b, c = Give("a", "a"), Give("b", "b"), Seen(name="c")
    return graph(("root", a), ("root", b), (a, "join"), (b, "join"), ("join", c), (c, "root", {"type": "weak", "counter": 1}))


def unvalidated():
    task = Give(1, "reached")
    made = graph(("root", task))
    made.graph.add_node(Give(2, "unreachable"))
    made.override_graph_validation = True
    return made


def cut_off():
    made = graph(("root", Give(1, "a")))
    made.graph.add_node(Give(2, "unreachable"))
    return made


GRAPHS = {
    "empty": lambda: pipeline(),
    "one task": lambda: pipeline(DummyTask(name="dummy")),
    "stages": lambda: pipeline(Give(1, "a"), (Give(2, "b"), Give(3, "c")), Seen(name="seen")),
    "sleep": lambda: pipeline(SleepTask(0, name="sleep")),
    "shell": lambda: pipeline(ShellCommand(["echo", "x"], name="shell"), ShellCommand("exit 3", name="legacy")),
    "library values": lambda: pipeline(Give({"a": (1, {2}), "b": b"\x00"}, "v"), Seen(name="seen")),
    "values": lambda: pipeline(Give(Custom(3), "v"), Give(None, "none"), Give(float("nan"), "nan"), Give("\x00\ud800", "odd")),
    "results": lambda: pipeline(Chosen(name="chosen"), Seen(name="seen")),
    "exception": lambda: pipeline(Fail(name="fails"), Give(1, "never")),
    "exception, not stopping": lambda: pipeline(Fail(name="fails"), Seen(name="seen"), early_stopping=False),
    "a Failure": lambda: pipeline(Refuse(name="refuses"), Give(1, "never")),
    "a Failure, not stopping": lambda: pipeline(Refuse(name="refuses"), Seen(name="seen"), early_stopping=False),
    "nobody's results": lambda: pipeline(Missing(name="missing")),
    "unnamed": lambda: pipeline(Give(1), Give(2)),
    "equal names": lambda: pipeline(Give(1, "same"), Give(2, "same"), Seen(name="seen")),
    "odd names": lambda: pipeline(Give(1, "root"), Give(2, "a/b c\n"), Give(3, "é" * 300), Give(4, "sync/1")),
    "no string for a name": lambda: pipeline(Give(1, 7), Seen(name="seen")),
    "forgetful": lambda: cycle(3, Remember(name="r")),
    "cycle": lambda: cycle(4, Count(name="count")),
    "cycle of one after another": lambda: cycle(3, Count(name="a"), Count(name="b")),
    "empty cycle": lambda: CyclePipeline(3, []),
    "retry": retried,
    "branch on success": lambda: branches("success"),
    "branch on failure": lambda: branches("failure"),
    "branch of a task that is called like a synchronisation point": lambda: branches("failure", "sync/clock"),
    "validation switched off": unvalidated,
    "cannot be reached": cut_off,
    "no root": lambda: without_root(),
    "wrong traverse_on": lambda: graph(("root", task := Give(1, "a")), (task, "b", {"traverse_on": "maybe"})),
    "counter of 0": lambda: graph(("root", Give(1, "a"), {"counter": 0})),
    "strong cycle": lambda: strong_cycle(),
    "environment": lambda: pipeline(Environment(name="environment")),
    "talk": lambda: pipeline(Talk(name="talk")),
    "big": lambda: pipeline(Big(name="big")),
    "reports nothing": lambda: pipeline(Give(1, "a"), report_results=False),
    "many tasks": lambda: pipeline(*(Give(number, f"t{number}") for number in range(20))),
}
IMPROVED = {  # upstream is wrong or has no answer
    "weak edge to root": weak,
    "crash": lambda: pipeline(Give(1, "a"), Crash(name="crash"), Give(1, "never")),
    "crash, not stopping": lambda: pipeline(Crash(name="crash"), Seen(name="seen"), early_stopping=False),
    "exit": lambda: pipeline(Exit(name="exit")),
    "unpicklable result": lambda: pipeline(Unpicklable(name="gives"), Give(1, "never")),
    "deadlock": lambda: deadlock(),
    "leak": lambda: pipeline(Leak(name="leak")),
    "endless nothing": lambda: CyclePipeline(None, []),
    "unloadable": lambda: Bomb(),
    "no graph": lambda: {"not": "a graph"},
    "chatter": lambda: pipeline(Chatter(name="chatter")),
    "flood": lambda: pipeline(Flood(name="a"), Flood(name="b")),
    "long": lambda: pipeline(Give(1, "a"), SleepTask(600, name="sleep")),
    "cycle with parallel tasks": lambda: cycle(3, (Give(1, "a"), SleepTask(0.2, name="slow")), Count(name="b")),
    "cycle given its tasks at once": lambda: CyclePipeline(3, [Count(name="a"), Count(name="b")]),
}


def without_root():
    made = graph(("root", Give(1, "a")))
    made.graph.remove_node("root")
    return made


def strong_cycle():
    a, b = Give(1, "a"), Give(2, "b")
    return graph(("root", a), (a, b), (b, a))


def deadlock():
    a, b = Give(1, "a"), Fail(name="b")
    return graph(("root", a), ("root", b), (a, "join"), (b, "join", {"traverse_on": "success"}), early_stopping=False)


def describe(value):
    """The same for equal results of both executors, as JSON."""
    if isinstance(value, Result):
        inner = value.unwrap() if isinstance(value, Success) else value.failure()
        if isinstance(value, Failure) and isinstance(inner, str) and "Traceback" in inner:
            inner = inner.strip().splitlines()[-1]
        return {type(value).__name__: describe(inner)}
    if isinstance(value, dict):
        return {str(key): describe(part) for key, part in value.items()}
    if isinstance(value, bytes) and len(value) > 100:
        return f"{len(value)} bytes"
    if isinstance(value, (list, int, str, type(None))):
        return [describe(part) for part in value] if isinstance(value, list) else repr(value)
    return repr(value)


def local(made):
    """What netunicorn's own executor makes of it: the Result."""
    from netunicorn.executor import get_local_executor

    os.environ.update(dict.fromkeys(("NETUNICORN_GATEWAY_ENDPOINT", "NETUNICORN_EXECUTOR_ID", "NETUNICORN_EXPERIMENT_ID"), "x"))
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        executor = get_local_executor(made)
        executor()
        return executor.execution_graph_results


def apart(given):
    """Each in a process of its own, some at a time: netunicorn's executor sleeps most of the time."""
    with tempfile.TemporaryDirectory() as directory:
        files = {name: os.path.join(directory, str(number)) for number, name in enumerate(given)}
        running = 0
        for name, pickled in given.items():
            if running == 12:
                os.wait()
                running -= 1
            running += 1
            if os.fork() == 0:
                try:
                    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
                    found = describe(local(cloudpickle.loads(base64.b64decode(pickled))))
                    with open(files[name], "w") as file:
                        json.dump(found, file)
                finally:
                    os._exit(0)
        while running:
            os.wait()
            running -= 1
        return {name: json.load(open(file)) for name, file in files.items()}


def read(report):
    result, log = cloudpickle.loads(base64.b64decode(report))
    return {"result": describe(result), "log": log}


def main():
    verb, *names = sys.argv[1:]
    everything = {**GRAPHS, **IMPROVED}
    if verb == "list":
        json.dump([list(GRAPHS), list(IMPROVED)], sys.stdout)
    elif verb == "pickle":
        json.dump({name: base64.b64encode(cloudpickle.dumps(everything[name]())).decode() for name in names}, sys.stdout)
    elif verb == "local":
        json.dump(apart(json.load(sys.stdin)), sys.stdout)
    else:
        json.dump({name: read(report) for name, report in json.load(sys.stdin).items()}, sys.stdout)


if __name__ == "__main__":
    main()
