"""The gap between two no-op tasks: from the last instruction of a task to the first of the next one, p50.

What is counted
- python, script: the task reads CLOCK_MONOTONIC as its first and as its last statement and gives both as its value; the gap is
  the next one's first minus this one's last. Ours: `python` names a class, `script` is the same lines as source. netunicorn's
  executor has one kind of task, a pickled object: it runs the same class, and for `script` an object that exec()s that source.
- run: the task is `date +%s%N`; the gap is from one's printed time to the next one's. So here the end of date and of its shell
  and the start of the next shell and date are counted too, on both sides (netunicorn's: an object that runs the same command).

netunicorn-executor 0.4.2 with netunicorn-base 0.4.1 comes from PyPI into a virtual environment of its own under ~/.cache, and
runs against a double of its gateway here. Both run in the same session, in turns. Median, and the spread of the rounds' medians.

    .venv/bin/python bench/task_gap.py [--rounds 3] [--tasks 40]
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import venv
from itertools import pairwise
from pathlib import Path

from aiohttp import web

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "executor"))
from executor_graphs import chain, python
from fake_gateway import FakeGateway

KINDS = ("python", "script", "run")
THEIRS = ("netunicorn-base==0.4.1", "netunicorn-executor==0.4.2")
THEIR_TASKS = 6  # a gap of theirs takes a second
STAMP = "date +%s%N"
SOURCE = "import time\nfirst = time.monotonic_ns()\nresult = [first, time.monotonic_ns()]\n"
MODULE = """
import time
class Noop:
    def run(self):
        first = time.monotonic_ns()
        return [first, time.monotonic_ns()]
"""

# Runs in their environment: prints the graph that their client would send.
MAKE_GRAPH = """
import base64, subprocess, sys, time
import cloudpickle
from netunicorn.base.pipeline import Pipeline
from netunicorn.base.task import Task
kind, count, source, stamp = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
class Noop(Task):
    def run(self):
        first = time.monotonic_ns()
        return [first, time.monotonic_ns()]
class Script(Task):
    def run(self):
        names = {}
        exec(source, names)
        return names["result"]
class Run(Task):
    def run(self):
        return subprocess.run(["/bin/sh", "-c", stamp], capture_output=True, text=True).stdout
pipeline = Pipeline()
for number in range(count):
    pipeline.then({"python": Noop, "script": Script, "run": Run}[kind](f"t{number}"))
print(base64.b64encode(cloudpickle.dumps(pipeline)).decode())
"""
# Runs in their environment: prints the values of a report.
READ_REPORT = """
import base64, json, sys
import cloudpickle
result, log = cloudpickle.loads(base64.b64decode(sys.stdin.read()))
steps = result.unwrap()
print(json.dumps([steps[f"t{number}"][0].unwrap() for number in range(len(steps))]))
"""


def gaps(kind: str, values: list) -> list[float]:
    """In milliseconds."""
    if kind == "run":
        stamps = [int(value) for value in values]
        return [(after - before) / 1e6 for before, after in pairwise(stamps)]
    return [(after[0] - before[1]) / 1e6 for before, after in pairwise(values)]


async def ours(kind: str, count: int) -> list[float]:
    task = {"python": python("noop_of_bench:Noop"), "script": {"script": SOURCE}, "run": {"run": STAMP}}[kind]
    gateway = FakeGateway()
    await gateway.start()
    token = await gateway.assign(chain(**{f"t{number}": task for number in range(count)}))
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "noop_of_bench.py").write_text(MODULE)
        settings = {
            "UNICORN_GATEWAY": gateway.url,
            "UNICORN_TOKEN": token,
            "UNICORN_SPOOL": f"{folder}/spool",
            "UNICORN_WORKDIR": folder,
        }
        await run([sys.executable, "-m", "unicorn_executor"], settings, folder)
    results = (await gateway.result(token))["results"]
    await gateway.stop()
    values = [results[f"t{number}"][0]["value"] for number in range(count)]
    return gaps(kind, [value["stdout"] for value in values] if kind == "run" else values)


async def theirs(kind: str, interpreter: Path) -> list[float]:
    report = await run_theirs(their_graph(kind, THEIR_TASKS, interpreter), interpreter)
    return gaps(kind, json.loads(output(interpreter, READ_REPORT, given=report)))


def their_graph(kind: str, tasks: int, interpreter: Path) -> str:
    """As their gateway gives it."""
    return output(interpreter, MAKE_GRAPH, kind, str(tasks), SOURCE, STAMP)


async def run_theirs(graph: str, interpreter: Path) -> str:
    """One executor of theirs; its report."""
    reports: list[dict] = []

    async def give_graph(_request):
        return web.json_response(graph)

    async def take_report(request):
        reports.append(await request.json())
        return web.json_response(None)

    app = web.Application(client_max_size=2**26)
    app.add_routes([web.get("/api/v1/executor/execution_graph", give_graph), web.post("/api/v1/executor/result", take_report)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "NETUNICORN_GATEWAY_ENDPOINT": f"http://127.0.0.1:{runner.addresses[0][1]}",
            "NETUNICORN_EXECUTOR_ID": "bench",
        }
        await run([interpreter, "-m", "netunicorn.executor"], settings, folder)
    await runner.cleanup()
    return str(reports[-1]["results"])


def output(interpreter: Path, program: str, *arguments: str, given: str = "") -> str:
    """What a program in their environment prints."""
    done = subprocess.run([interpreter, "-c", program, *arguments], input=given, check=True, capture_output=True, text=True)
    return done.stdout.strip()


async def run(command: list, settings: dict[str, str], folder: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *command,
        env={"PATH": os.environ["PATH"], **settings},
        cwd=folder,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    if await process.wait():
        raise SystemExit(f"{command} ended with {process.returncode}")


def their_interpreter() -> Path:
    """Of the virtual environment with netunicorn's executor; made when it is not there yet (half a minute)."""
    home = Path.home() / ".cache" / "netunicorn-operator" / "bench" / "-".join(THEIRS).replace("==", "-")
    interpreter = home / "bin" / "python"
    if not (home / "complete").exists():
        print("installing netunicorn-executor 0.4.2 from PyPI ...", file=sys.stderr)
        venv.create(home, with_pip=True, clear=True)
        subprocess.run([interpreter, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *THEIRS], check=True)
        (home / "complete").touch()
    return interpreter


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tasks", type=int, default=40, help="of ours in a round; of theirs 6")
    arguments = parser.parse_args()
    interpreter = their_interpreter()
    found: dict[str, tuple[list, list]] = {kind: ([], []) for kind in KINDS}
    for _ in range(arguments.rounds):
        for kind, (mine, other) in found.items():
            mine.append(statistics.median(await ours(kind, arguments.tasks)))
            other.append(statistics.median(await theirs(kind, interpreter)))
    print(f"gap between two no-op tasks, p50 of a round, median of {arguments.rounds} rounds (lowest..highest), ms")
    print(f"{'':8}{'ours':>22}{'netunicorn-executor 0.4.2':>32}{'times shorter':>16}")
    for kind, (mine, other) in found.items():
        ratio = statistics.median(other) / statistics.median(mine)
        print(f"{kind:8}{shown(mine):>22}{shown(other):>32}{ratio:>16.0f}")
    print("run: from one `date` to the next, the end and the start of shell and date counted on both sides")


def shown(medians: list[float]) -> str:
    return f"{statistics.median(medians):.2f} ({min(medians):.2f}..{max(medians):.2f})"


if __name__ == "__main__":
    asyncio.run(main())
