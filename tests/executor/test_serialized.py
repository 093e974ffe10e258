"""Graphs of netunicorn's client, run by our agent with the released packages: what its own executor makes of them, or better."""

import asyncio
import base64
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

import netunicorn_venv
import pytest
from conftest import reaches

SCRIPT = Path(__file__).with_name("client_graphs.py")


class Clients:
    """netunicorn's packages in their own environment."""

    def __init__(self) -> None:
        self.python = netunicorn_venv.python()
        self.right, self.improved = json.loads(self._run("list"))
        pickled = json.loads(self._run("pickle", *self.right, *self.improved))
        self.pickles: Mapping[str, bytes] = {name: base64.b64decode(text) for name, text in pickled.items()}

    def local(self, *names: str):
        """What netunicorn's own executor makes of them, by name."""
        return self._tell("local", {name: self.pickles[name] for name in names})

    def read(self, report: bytes):
        """`{"result", "log"}` as its client reads them."""
        return self.read_all({"it": report})["it"]

    def read_all(self, reports: Mapping[str, bytes]):
        return self._tell("read", reports)

    def _tell(self, verb: str, given: Mapping[str, bytes]):
        encoded = {name: base64.b64encode(content).decode() for name, content in given.items()}
        return json.loads(self._run(verb, given=json.dumps(encoded).encode()))

    def made(self, source: str) -> bytes:
        return subprocess.run([self.python, "-c", source], check=True, stdout=subprocess.PIPE).stdout

    def _run(self, *arguments: str, given: bytes = b"") -> str:
        command = [self.python, SCRIPT, *arguments]
        return subprocess.run(command, input=given, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout.decode()


@pytest.fixture(scope="session")
def clients() -> Clients:
    return Clients()


@pytest.fixture
async def run(clients, gateway, start, zipapp):
    """`await run(name)` gives an agent, started by a Python that has netunicorn's packages."""

    async def run(name, **assignment):
        token = await gateway.assign_serialized(clients.pickles[name], **assignment)
        return await start(token=token, command=[clients.python, str(zipapp)])

    return run


async def reported(agent):
    """The final report as v2 has it, and the bytes for netunicorn's client."""
    result = await agent.result(seconds=60)
    report = await agent.gateway.report(agent.token)
    assert report is not None, result
    assert report.final
    return result, report.content


async def ended(agent, clients):
    """The final report as v2 has it, and as netunicorn's client reads it."""
    result, content = await reported(agent)
    return result, clients.read(content)


RIGHT = """
    empty; one task; stages; sleep; shell; library values; values; results; exception; exception, not stopping; a Failure;
    a Failure, not stopping; nobody's results; unnamed; equal names; odd names; no string for a name; forgetful; cycle;
    cycle of one after another; empty cycle; retry; branch on success; branch on failure;
    branch of a task that is called like a synchronisation point;
    validation switched off; cannot be reached; no root; wrong traverse_on; counter of 0; strong cycle; environment; talk; big;
    many tasks
"""
NAMES = [" ".join(name.split()) for name in RIGHT.split(";")]


async def test_equal_to_netunicorns_own_executor(run, clients):
    expected = asyncio.create_task(asyncio.to_thread(clients.local, *NAMES))
    few = asyncio.Semaphore(3)

    async def outcome(name):
        async with few:
            return await reported(await run(name))

    found = dict(zip(NAMES, await asyncio.gather(*map(outcome, NAMES)), strict=True))
    theirs = await expected
    read = clients.read_all({name: content for name, (_, content) in found.items()})
    assert {name: read[name]["result"] for name in NAMES} == theirs
    assert {name: result["outcome"] for name, (result, _) in found.items()} == {name: next(iter(theirs[name])) for name in NAMES}


def test_no_graph_is_left_out(clients):
    assert set(clients.right) == {*NAMES, "reports nothing"}


# --- where netunicorn's own executor is wrong, or has no answer ------------------------------------------------------------


IMPROVED = [
    # graph, reason, the message holds, what the client reads
    ("crash", "TaskFailed", "exit code 9", {"Failure": {"a": [1], "crash": ["its process ended with exit code 9"]}}),
    ("crash, not stopping", "TaskFailed", "exit code 9", {"Failure": {"crash": ["exit code 9"], "seen": ["crash"]}}),
    ("exit", "TaskFailed", "exit code 3", {"Failure": {"exit": ["exit code 3"]}}),
    ("unpicklable result", "TaskFailed", "cannot be pickled", {"Failure": {"gives": ["its result cannot be kept"]}}),
    ("deadlock", "TaskFailed", "b failed", {"Failure": {"a": [1], "b": ["as was wanted"]}}),
    ("endless nothing", "GraphInvalid", "in which nothing runs", {"Failure": {}}),
    ("unloadable", "GraphUnloadable", "RuntimeError: boom", None),
    ("no graph", "GraphInvalid", "is not valid", {"Failure": {}}),
]


@pytest.mark.parametrize(("name", "reason", "says", "expected"), IMPROVED, ids=[row[0] for row in IMPROVED])
async def test_failures_are_failures(run, clients, name, reason, says, expected):
    result, read = await ended(await run(name), clients)
    assert (result["outcome"], result["reason"]) == ("Failure", reason)
    assert says in result["message"]
    if expected is None:
        assert read["result"] == "None"
        return
    ((kind, tasks),) = expected.items()
    found = read["result"][kind]
    assert set(found) == set(tasks)
    for task, wanted in tasks.items():
        assert len(found[task]) == len(wanted)
        assert all(str(part) in str(shown) for part, shown in zip(wanted, found[task], strict=True))


async def test_a_graphs_second_round_waits_as_its_first(run, clients):
    """Netunicorn's own executor counts a and b as finished from the first round on, and starts c for each of them."""
    _, read = await ended(await run("weak edge to root"), clients)
    assert {task: len(runs) for task, runs in read["result"]["Success"].items()} == {"a": 2, "b": 2, "c": 2}


async def test_a_cycles_parallel_tasks_are_waited_for_in_each_round(run, clients):
    """Netunicorn's own executor starts b while the slow one runs, from the second round on."""
    _, read = await ended(agent := await run("cycle with parallel tasks"), clients)
    assert {task: len(runs) for task, runs in read["result"]["Success"].items()} == {"a": 3, "slow": 3, "b": 3}
    order = [event["task"] for event in await agent.events("TaskFinished")]
    assert [sorted(order[at : at + 3]) for at in (0, 3, 6)] == [["a", "b", "slow"]] * 3


async def test_a_cycle_given_its_tasks_at_once_runs_each_once_a_round(run, clients):
    """Netunicorn's own executor starts a three times over in the first round, and loses the runs that are still going by then."""
    _, read = await ended(agent := await run("cycle given its tasks at once"), clients)
    assert read["result"]["Success"] == {task: [{"Success": str(number)} for number in range(3)] for task in "ab"}
    assert [event["task"] for event in await agent.events("TaskStarted")] == ["a", "b"] * 3


async def test_the_ordinary_records_beside_the_report(run, clients):
    agent = await run("talk")
    result, read = await ended(agent, clients)
    assert result["results"] == {"talk": [{"outcome": "Success", "value": None}]}
    assert await agent.printed("talk") == "to stdout\n"
    assert await agent.printed("talk", "stderr") == "to stderr\n"
    assert {"to stdout\n", "to stderr\n"} <= set(read["log"])
    assert any("the graph ended: Success" in line for line in read["log"])


async def test_nothing_is_reported_where_the_graph_says_so(run, clients):
    agent = await run("reports nothing")
    assert await agent.result() == {"outcome": "Success", "lastSequence": len(await agent.events())}
    assert await agent.gateway.report(agent.token) is None


async def test_the_token_leaks_nowhere(run, clients):
    agent = await run("leak")
    result, read = await ended(agent, clients)
    everything = json.dumps([result, read, await agent.events()])
    assert agent.token not in everything
    assert "/x/" + "x" * len(agent.token) in everything
    report = await agent.gateway.report(agent.token)
    assert agent.token.encode() not in report.content


async def test_cancel_keeps_what_there_is(run, clients):
    agent = await run("long", keep_alive=4.0)
    await agent.sees("TaskStarted", task="sleep")
    await agent.gateway.cancel(agent.token)
    result, read = await ended(agent, clients)
    assert (result["outcome"], result["reason"]) == ("Failure", "Cancelled")
    assert read["result"]["Failure"]["a"] == [{"Success": "1"}]


async def test_results_so_far(run, clients):
    agent = await run("long")

    async def told():
        report = await agent.gateway.report(agent.token)
        return report and clients.read(report.content)["result"] == {"Success": {"a": [{"Success": "1"}]}} and not report.final

    await reaches(told, 40)


async def test_a_restarted_agent_goes_on(run, start, clients, zipapp):
    agent = await run("long")
    await agent.sees("TaskStarted", task="sleep")
    agent.process.kill()
    await agent.ends()
    again = await start(token=agent.token, spool=agent.spool, command=[clients.python, str(zipapp)])
    result, read = await ended(again, clients)
    assert result["reason"] == "TaskFailed"
    assert read["result"]["Failure"]["a"] == [{"Success": "1"}]
    assert "restarted" in str(read["result"]["Failure"]["sleep"])
    assert len(await again.events("TaskStarted", task="a")) == 1


async def test_without_netunicorns_packages(start, gateway, clients):
    agent = await start(token=await gateway.assign_serialized(clients.pickles["one task"]))
    result, read = await ended(agent, clients)
    assert result["reason"] == "GraphUnloadable"
    assert "cloudpickle cannot be imported" in result["message"]
    assert "needs cloudpickle and netunicorn-base in its environment" in result["message"]
    assert read["result"] == "None"


FLAGS = """
import cloudpickle, sys
from netunicorn.base import FlagValues, Pipeline
from netunicorn.library.tasks.flags import AtomicIncrementFlagTask, GetFlagTask, SetFlagTask, WaitForExactFlagResultTask
cloudpickle.dump(Pipeline([
    SetFlagTask("f", FlagValues(text_value="x", int_value=4), name="set"),
    AtomicIncrementFlagTask("f", name="add"),
    WaitForExactFlagResultTask("f", FlagValues(text_value="x", int_value=5), sleep_time=0.05, attempts=100, name="wait"),
    GetFlagTask("f", name="get"),
]), sys.stdout.buffer)
"""


async def test_the_librarys_flag_tasks(start, gateway, clients, zipapp):
    pickle = clients.made(FLAGS)
    command = [clients.python, str(zipapp)]
    agent = await start(token=await gateway.assign_serialized(pickle), command=command)
    _, read = await ended(agent, clients)
    assert read["result"]["Success"]["get"] == [{"Success": "FlagValues(text_value='x', int_value=5)"}]
    # The same library from a graph of ours.
    task = {"python": {"object": "netunicorn.library.tasks.flags:AtomicIncrementFlagTask", "args": ["g"]}}
    agent = await start({"tasks": {"add": task}, "edges": [{"from": "root", "to": "add"}]}, command=command)
    assert (await agent.result())["outcome"] == "Success"


async def test_a_hundred_thousand_lines(run, clients):
    agent = await run("chatter")
    _, read = await ended(agent, clients)
    printed = [line for line in read["log"] if line.startswith("line ")]
    assert printed == [f"line {number}\n" for number in range(100_000)]
    assert await agent.printed("chatter") == "".join(printed)


async def test_what_is_too_large_for_a_report(run):
    """Each result is kept, together they are over what the gateway takes."""
    agent = await run("flood")
    result = await agent.result(seconds=120)
    assert (result["outcome"], result["reason"]) == ("Failure", "ResultTooLarge")
    assert "at most 67108864" in result["message"]
    assert set(result["results"]) == {"a", "b"}
