"""Tasks that behave badly, through everything: a clear failure or a stored value, and the agent lives."""

import os
import signal

import psutil
import pytest
from e2e_kit import eventually

from .conftest import nothing_is_left, running, told_once

MEGABYTES = 50


async def outcome_of(kit, notes, name, bad):
    """The entry of the bad task, after which another one has run: the agent lives."""
    edges = [{"from": "root", "to": "bad"}, {"from": "bad", "to": "after", "traverseOn": "Any"}]
    tasks = [{"name": "bad", **bad}, {"name": "after", "run": notes.add("after")}]
    deployment = {
        "name": "d",
        "nodes": {"count": 1, "connectorRef": kit.local},
        "pipeline": {"earlyStopping": False, "graph": {"tasks": tasks, "edges": edges}},
    }
    one = await kit.apply(
        {
            "apiVersion": "netunicorn.io/v1alpha1",
            "kind": "Experiment",
            "metadata": {"name": name},
            "spec": {"deployments": [deployment]},
        }
    )
    await one.ends()
    executor = (await one.executors())[0]
    assert notes.of(executor.id) == ["after"], executor
    assert executor.exit_code in (0, None)
    await told_once(one, tasks=2)
    await nothing_is_left(kit, one)
    return executor.results["bad"][0], one, executor


@pytest.mark.parametrize(
    ("name", "bad", "says"),
    [
        ("os-exit", {"script": "import os; os._exit(7)"}, "7"),
        ("killed-by-itself", {"script": "import os; os.kill(os.getpid(), 9)"}, "SIGKILL"),
        ("shell-killed", {"run": "kill -9 $$"}, "SIGKILL"),
        ("no-such-program", {"run": "no-such-program"}, "127"),
        ("recursion", {"script": "def f(): return f()\nf()"}, "RecursionError"),
        ("too-long", {"run": "sleep 60", "timeout": "1s"}, "1"),
    ],
)
async def test_a_failure_says_why(kit, notes, name, bad, says):
    entry, *_ = await outcome_of(kit, notes, name, bad)
    assert entry["outcome"] == "Failure"
    assert says in str(entry), entry


async def test_children_that_a_task_leaves_behind_end_with_it(kit, notes):
    """Even where they have left its session: nothing runs any more when the experiment has ended."""
    command = "setsid -f sleep 300; (setsid -f sh -c 'trap \"\" TERM; sleep 300'); sleep 300 & true"
    entry, *_ = await outcome_of(kit, notes, "children", {"run": command})
    assert entry["outcome"] == "Success"


async def test_a_value_that_is_not_json_is_kept_as_its_description(kit, notes):
    entry, *_ = await outcome_of(kit, notes, "not-json", {"script": "result = {1, 2, 3}"})
    assert entry["outcome"] == "Success"
    assert entry["value"]["repr"] == "{1, 2, 3}", entry


async def test_much_output_is_kept_in_full(kit, notes):
    line = "x" * 1023
    command = f"yes {line} | head -c {MEGABYTES * 1024 * 1024}"
    entry, one, executor = await outcome_of(kit, notes, "loud", {"run": command})
    assert entry["outcome"] == "Success"
    assert len(entry["value"]["stdout"]) <= 64 * 1024
    stored = sum(len(log.text) for log in await one.logs(executor.id) if log.stream == "stdout")
    assert stored == MEGABYTES * 1024 * 1024


async def test_a_task_that_is_killed_from_outside_fails_alone(kit, notes):
    one = await kit.run("victim", {"name": "sleeper", "run": "exec sleep 299"})
    await one.reaches("Running", running=1)

    async def its_pid():
        for its in (await running(one)).values():
            for process in its:
                if psutil.Process(process.pid).cmdline() == ["sleep", "299"]:
                    return process.pid
        return None

    os.kill(await eventually(its_pid, "the task runs"), signal.SIGKILL)
    status = await one.reaches("Failed")
    assert "sleeper" in status["failures"][0]["message"]
    assert "SIGKILL" in status["failures"][0]["message"]
    await told_once(one, tasks=1)
