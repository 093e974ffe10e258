"""The unmodified executor and library from PyPI against the gateway."""

import asyncio
import json
from asyncio.subprocess import PIPE
from base64 import b64decode, b64encode
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import netunicorn_venv
import pytest
from gateway_parts import eventually, gateway_on
from v1_parts import netunicorn, outcome, pickled, serialized, unpickled, v1_agent

pytestmark = pytest.mark.database

GRAPHS = Path(__file__).parents[1] / "executor" / "client_graphs.py"
IMPORTS = """
import sys
from netunicorn.base import FlagValues, Pipeline, Task
from netunicorn.library.tasks.basic import SleepTask
from netunicorn.library.tasks.flags import AtomicIncrementFlagTask, GetFlagTask, SetFlagTask, WaitForExactFlagResultTask
"""
NAP = IMPORTS + "graph = Pipeline().then(SleepTask(0, name='nap'))"
LONG = IMPORTS + "graph = Pipeline().then(SleepTask(0, name='nap')).then(SleepTask(600, name='night'))"


async def run(gateway, operator, directory, source, *, ends_with=0, seconds=60, **more):
    """One executor of this graph, to its end."""
    content = source if isinstance(source, bytes) else await asyncio.to_thread(pickled, source)
    (executor,) = await serialized(operator, content)
    agent = await v1_agent(gateway, operator, executor)
    async with netunicorn(agent, directory, **more) as process:
        assert await process.ends(seconds) == ends_with
        return agent, process.log, await outcome(operator, executor)


async def test_a_graph_is_run_and_its_report_kept_as_it_came(gateway, operator, tmp_path):
    agent, log, found = await run(gateway, operator, tmp_path / "node", NAP)
    assert (found.row["state"], found.result["outcome"], found.final) == ("Succeeded", "Success", True)
    told = await asyncio.to_thread(unpickled, found.content)
    assert (told["outcome"], told["results"]) == ("Success", {"nap": [["Success", "0"]]})
    assert found.log == "".join(told["log"])
    assert agent.token in log
    assert agent.token not in found.log
    assert "/x/" + "x" * len(agent.token) in found.log


# --- all semantics -----------------------------------------------------------------------------------------------------------


# Runs in netunicorn's own environment, beside client_graphs.py: prints what was asked as JSON.
MANY = """
import base64, json, os, sys
import client_graphs as graphs
graphs.cloudpickle.register_pickle_by_value(graphs)
verb, given = sys.argv[1], json.load(sys.stdin)
def pickles():
    everything = {**graphs.GRAPHS, **graphs.IMPROVED}
    names = [name for name in graphs.GRAPHS if name != "reports nothing"] + given
    return {name: base64.b64encode(graphs.cloudpickle.dumps(everything[name]())).decode() for name in names}
def read():
    found = {name: graphs.cloudpickle.loads(base64.b64decode(text)) for name, text in given.items()}
    return {name: [graphs.describe(result), "".join(log)] for name, (result, log) in found.items()}
def local():
    pipes = {}
    for name, text in given.items():
        reader, writer = os.pipe()
        if os.fork() == 0:
            found = json.dumps(graphs.describe(graphs.local(graphs.cloudpickle.loads(base64.b64decode(text)))))
            os.write(writer, found.encode())
            os._exit(0)
        os.close(writer)
        pipes[name] = reader
    return {name: json.loads(os.fdopen(reader).read()) for name, reader in pipes.items()}
print("\\n" + json.dumps({"pickles": pickles, "read": read, "local": local}[verb]()))
"""


async def clients(verb: str, given: Any) -> Any:
    """The graphs that our agent runs too (tests/executor/test_serialized.py)."""
    process = await asyncio.create_subprocess_exec(
        netunicorn_venv.python(), "-c", MANY, verb, env={"PYTHONPATH": str(GRAPHS.parent)}, stdin=PIPE, stdout=PIPE, stderr=PIPE
    )
    output, errors = await process.communicate(json.dumps(given).encode())
    assert process.returncode == 0, errors.decode()
    return json.loads(output.splitlines()[-1])


# What netunicorn's own executor says of what goes wrong stands: a crash and a deadlock are successes.
WORDS = {
    "crash": ("Succeeded", ""),
    "deadlock": ("Failed", "TaskFailed"),  # a task of it failed
    "exit": ("Succeeded", ""),
    "leak": ("Succeeded", ""),
    "no graph": ("Failed", "TaskFailed"),
    "unloadable": ("Failed", "GraphUnloadable"),
    "unpicklable result": ("Succeeded", ""),
}


@pytest.mark.timeout(900)
async def test_every_graph_comes_out_as_its_executor_says(start, operator, tmp_path):
    """The same graphs give equal results in our agent."""
    gateway = await start()
    pickles = await clients("pickles", list(WORDS))
    at_once = asyncio.Semaphore(12)

    async def one(number, name):
        async with at_once:
            return await run(gateway, operator, tmp_path / str(number), b64decode(pickles[name]), seconds=600)

    came = dict(zip(pickles, await asyncio.gather(*(one(number, name) for number, name in enumerate(pickles))), strict=True))
    read = await clients("read", {name: b64encode(found.content).decode() for name, (_, _, found) in came.items()})
    local = await clients("local", {name: text for name, text in pickles.items() if name not in WORDS})
    for name, (agent, _, found) in came.items():
        result, log = read[name]
        assert found.final, name
        assert found.log == log, name
        assert agent.token.encode() not in found.content, name
        expected = WORDS.get(name) or (
            {"Success": "Succeeded", "Failure": "Failed"}[next(iter(local[name]))],
            found.row["reason"],
        )
        assert (found.row["state"], found.row["reason"]) == expected, name
        assert name in WORDS or result == local[name], name


# --- its life ----------------------------------------------------------------------------------------------------------------


async def test_it_is_held_until_its_release(start, operator, tmp_path):
    gateway = await start(netunicorn_hold=timedelta(seconds=1))
    (executor,) = await serialized(operator, await asyncio.to_thread(pickled, NAP), release_on_check_in=False)
    agent = await v1_agent(gateway, operator, executor)
    async with netunicorn(agent, tmp_path) as process:

        async def checked_in():
            return (await operator.row(executor))["state"] == "CheckedIn" and process.log.count("Status code: 204") >= 2

        await eventually(checked_in)
        await operator.release(executor)
        assert await process.ends() == 0
        assert process.log.count("Failed to receive") <= 6, "it does not ask more often than once a second"
    assert (await outcome(operator, executor)).row["state"] == "Succeeded"


async def test_its_heartbeats_bring_results_and_log_so_far(gateway, operator, tmp_path):
    (executor,) = await serialized(operator, await asyncio.to_thread(pickled, LONG))
    agent = await v1_agent(gateway, operator, executor)
    async with netunicorn(agent, tmp_path, heartbeat=1):

        async def told():
            found = await outcome(operator, executor)
            return found if found.content and b"nap" in found.content else None

        found = await eventually(told)
        assert (found.row["state"], found.final, found.result) == ("Running", False, None)
        assert (await asyncio.to_thread(unpickled, found.content))["results"] == {"nap": [["Success", "0"]]}
        assert "Successfully received the execution graph" in found.log
        before = (await operator.row(executor))["heard_at"]

        async def heard_again():
            return (await operator.row(executor))["heard_at"] > before

        await eventually(heard_again)


@pytest.mark.parametrize("why", ["cancelled", "superseded", "started twice", "gone"])
async def test_one_that_is_not_to_run_ends(start, operator, tmp_path, why):
    """It gets no graph, and does not ask for ever."""
    gateway = await start()
    (executor,) = await serialized(operator, await asyncio.to_thread(pickled, LONG), release_on_check_in=why == "started twice")
    agent = await v1_agent(gateway, operator, executor)
    async with AsyncExitStack() as stack:
        if why == "started twice":
            await stack.enter_async_context(netunicorn(agent, tmp_path / "first", heartbeat=1))

            async def reported():
                return (await outcome(operator, executor)).content

            await eventually(reported)
        process = await stack.enter_async_context(netunicorn(agent, tmp_path / "second"))
        if why != "started twice":

            async def checked_in():
                return (await operator.row(executor))["state"] == "CheckedIn"

            await eventually(checked_in)
        if why == "cancelled":
            await operator.set(executor, state="Cancelled")
        elif why == "superseded":
            await operator.set(executor, fence=2)
        elif why == "gone":
            await operator.all("DELETE FROM unicorn.executor WHERE id = $1", executor)
        assert await process.ends() == 0
        assert "EOFError" in process.log, "there was nothing to load"
        rows = await operator.all("SELECT * FROM unicorn.executor WHERE id = $1", executor)
        states = {"cancelled": ["Cancelled"], "superseded": ["CheckedIn"], "started twice": ["Running"], "gone": []}
        assert [row["state"] for row in rows] == states[why]


async def test_a_graph_in_its_directory_wins(gateway, operator, tmp_path):
    """It never asks for one, so that its first request of any kind is its check-in."""
    (tmp_path / "netunicorn.execution_graph").write_bytes(await asyncio.to_thread(pickled, NAP.replace("nap", "own")))
    _, _, found = await run(gateway, operator, tmp_path, await asyncio.to_thread(pickled, NAP))
    assert found.row["state"] == "Succeeded"
    assert found.row["checked_in_at"] is not None
    assert list((await asyncio.to_thread(unpickled, found.content))["results"]) == ["own"]


async def test_one_that_reports_nothing_just_ends(gateway, operator, tmp_path):
    """Its connector sees it; the operator decides."""
    _, _, found = await run(gateway, operator, tmp_path, NAP.replace("Pipeline()", "Pipeline(report_results=False)"))
    assert (found.row["state"], found.result, found.content) == ("Running", None, None)


async def test_a_report_outlives_an_outage_of_the_gateway(start, migrated, keys, operator, tmp_path):
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(gateway_on(migrated, keys, tmp_path))
        source = IMPORTS + "graph = Pipeline().then(SleepTask(3, name='nap'))"
        (executor,) = await serialized(operator, await asyncio.to_thread(pickled, source))
        agent = await v1_agent(first, operator, executor)
        process = await stack.enter_async_context(netunicorn(agent, tmp_path / "node"))

        async def runs():
            return "Successfully received" in process.log

        await eventually(runs)
        first.stop.set()
        await first.task

        async def tried():
            return "Exception while reporting results" in process.log

        await eventually(tried)
        second = await stack.enter_async_context(gateway_on(migrated, keys, tmp_path, executor_listen=first.url[7:]))
        assert second.url == first.url
        assert await process.ends() == 0
    assert (await outcome(operator, executor)).row["state"] == "Succeeded"


# --- amounts -----------------------------------------------------------------------------------------------------------------

BIG = (
    IMPORTS
    + """
class Talk(Task):
    def run(self):
        for number in range(100_000):
            print(f"line {number} of what a task prints, as long as such lines are")
        return "r" * 1_000_000
graph = Pipeline().then(Talk(name="talk"))
"""
)


async def test_a_megabyte_of_results_and_a_hundred_thousand_lines(gateway, operator, tmp_path):
    _, _, found = await run(gateway, operator, tmp_path, BIG, heartbeat=1)
    assert found.row["state"] == "Succeeded"
    lines = [line for line in found.log.splitlines() if line.startswith("line ")]
    assert lines == [f"line {number} of what a task prints, as long as such lines are" for number in range(100_000)]
    told = await asyncio.to_thread(unpickled, found.content)
    assert told["results"]["talk"][0][1] == repr("r" * 1_000_000)
    assert "".join(told["log"]) == found.log
    assert found.row["log_bytes"] == len(found.log.encode())


# --- flags -------------------------------------------------------------------------------------------------------------------

TOGETHER = (
    IMPORTS
    + """
tasks = [
    AtomicIncrementFlagTask("present", name="come"),
    WaitForExactFlagResultTask("present", FlagValues(int_value=8), sleep_time=0.1, attempts=300, name="all"),
    SetFlagTask("words", FlagValues(text_value="hello"), name="say"),
    GetFlagTask("words", name="hear"),
]
graph = Pipeline(tasks)
"""
)


async def test_executors_meet_by_flags(gateway, operator, tmp_path):
    executors = await serialized(operator, await asyncio.to_thread(pickled, TOGETHER), executors=8)
    async with AsyncExitStack() as stack:
        processes = []
        for number, executor in enumerate(executors):
            agent = await v1_agent(gateway, operator, executor)
            processes.append(await stack.enter_async_context(netunicorn(agent, tmp_path / str(number))))
        assert await asyncio.gather(*(process.ends(120) for process in processes)) == [0] * 8
    for executor in executors:
        found = await outcome(operator, executor)
        assert found.row["state"] == "Succeeded", found.log
        results = (await asyncio.to_thread(unpickled, found.content))["results"]
        assert results["hear"] == [["Success", "FlagValues(text_value='hello', int_value=0)"]]
