"""What tasks of each kind give, and what their ends mean."""

import json
import sys

import pytest
from executor_graphs import chain, parallel, python

NOTE = """
print('noting')
result = {'said': previous['hello'][-1]['value']['stdout'], 'index': executor['index']}
"""

MODULE = """
import os, subprocess, threading, time

class Task:
    previous_steps = {}
    def __init__(self, add):
        self.add = add
    def run(self):
        return self.previous_steps['one'][-1]['value'] + self.add

class Callable:
    def __call__(self):
        return 'called'

class Point:
    def __init__(self, x):
        self.x = x
    def __repr__(self):
        return f'Point({self.x})'

def make_point():
    return Point(7)

def later():
    threading.Thread(target=lambda: (time.sleep(0.2), print('after the end'))).start()
    return 1
"""


@pytest.fixture
def module(workdir):
    """tools_of_test.py in the tasks' working directory."""
    (workdir / "tools_of_test.py").write_text(MODULE)


async def test_run_script_and_python_hand_values_on(start):
    agent = await start(
        chain(
            hello={"run": "echo hello; echo oops >&2"},
            note={"script": NOTE},
            tell=python("json:dumps", {"a": 1}, sort_keys=True),
        )
    )
    result = await agent.result()
    assert result["outcome"] == "Success"
    assert result["results"] == {
        "hello": [{"outcome": "Success", "value": {"exitCode": 0, "stdout": "hello\n", "stderr": "oops\n"}}],
        "note": [{"outcome": "Success", "value": {"said": "hello\n", "index": 0}}],
        "tell": [{"outcome": "Success", "value": '{"a": 1}'}],
    }
    assert await agent.printed("hello") == "hello\n"
    assert await agent.printed("hello", "stderr") == "oops\n"
    assert await agent.printed("note") == "noting\n"


async def test_parallel_tasks_run_together(start):
    meet = "import time\nfrom pathlib import Path\nPath('{0}').touch()\nwhile not Path('{1}').exists(): time.sleep(0.01)\n"
    agent = await start(parallel(a={"script": meet.format("a", "b")}, b={"script": meet.format("b", "a")}))
    assert (await agent.result())["outcome"] == "Success"


@pytest.mark.parametrize(
    ("task", "reason", "error", "because"),
    [
        ({"run": "exit 2"}, "NonZeroExit", "exit code 2", "the exit code decides"),
        ({"run": "no-such-command"}, "NonZeroExit", "exit code 127", "a shell says it so"),
        ({"run": "kill -9 $$"}, "Killed", "killed by SIGKILL", "a signal ended it"),
        ({"script": "raise ValueError('bad')"}, "Exception", "ValueError: bad", "an exception is a failure"),
        ({"script": "result ="}, "Exception", "SyntaxError: invalid syntax", "so is what cannot be compiled"),
        ({"script": "import sys; sys.exit(3)"}, "NonZeroExit", "exit code 3", "leaving with a code"),
        (
            {"script": "import os; os._exit(0)"},
            "Crashed",
            "its process ended with exit code 0 before the task did",
            "no result, no success",
        ),
        ({"script": "import os; os._exit(3)"}, "Crashed", "its process ended with exit code 3 before the task did", "os._exit"),
        ({"script": "import os; os.kill(os.getpid(), 9)"}, "Killed", "killed by SIGKILL", "kill -9 of the task's process"),
        ({"script": "import ctypes; ctypes.string_at(0)"}, "Killed", "killed by SIGSEGV", "a crash in C"),
        ({"script": "raise RuntimeError('\\udc80')"}, "Exception", "RuntimeError: \\udc80", "an error that UTF-8 cannot carry"),
        (python("no_such_module:f"), "NotRunnable", "no_such_module:f: no_such_module cannot be imported", "a missing module"),
        (python("json:no.such"), "NotRunnable", "json:no.such: there is no no in json", "a missing name"),
        (python("json:__name__"), "NotRunnable", "json:__name__ is neither a class nor a function", "not callable"),
        (
            python("json:loads", "{"),
            "Exception",
            "json.decoder.JSONDecodeError: Expecting property name",
            "a function that raises",
        ),
    ],
)
async def test_failures(start, task, reason, error, because):
    agent = await start(chain(it=task, never={"run": "true"}))
    result = await agent.result()
    assert (result["outcome"], result["reason"]) == ("Failure", "TaskFailed"), because
    assert result["message"].startswith("task it failed: ")
    assert list(result["results"]) == ["it"], "early stopping"
    (entry,) = result["results"]["it"]
    assert entry["outcome"] == "Failure"
    assert entry["reason"] == reason, because
    assert error in entry["error"], because


async def test_a_traceback_is_logged_without_our_own_frames(start):
    agent = await start(chain(it={"script": "def f():\n    raise ValueError('bad')\nf()\n"}))
    await agent.result()
    printed = await agent.printed("it", "stderr")
    assert "line 2, in f\n    raise ValueError('bad')\nValueError: bad" in printed
    assert "unicorn_executor" not in printed


async def test_values_that_are_not_json_are_shown_and_handed_on_as_they_are(start, module):
    check = """
value = {task: runs[-1]['value'] for task, runs in previous.items()}
result = [sorted(value['set']), value['point'].x, type(value['tuple']).__name__, value['lambda'][:9]]
"""
    agent = await start(
        chain(
            set={"script": "result = {3, 1}"},
            point=python("tools_of_test:make_point"),
            tuple={"script": "result = (1, 2)"},
            nan={"script": "result = float('nan')"},
            **{"lambda": {"script": "result = lambda: 1"}},
            check={"script": check},
        )
    )
    results = (await agent.result())["results"]
    assert results["set"] == [{"outcome": "Success", "value": {"repr": "{1, 3}"}, "notJson": True}]
    assert results["point"][0]["value"] == {"repr": "Point(7)"}
    assert results["tuple"] == [{"outcome": "Success", "value": [1, 2]}]
    assert results["nan"][0]["value"] == {"repr": "nan"}
    assert results["check"][0]["value"] == [[1, 3], 7, "tuple", "<function"]
    (event,) = await agent.events("TaskFinished", task="set")
    assert event["notJson"] is True
    assert "pickle" not in event


async def test_python_objects(start, module):
    agent = await start(
        chain(
            one={"script": "result = 1"},
            two=python("tools_of_test:Task", 2),
            three=python("tools_of_test:Callable"),
            four=python("tools_of_test:later"),
        )
    )
    results = (await agent.result())["results"]
    assert results["two"][0]["value"] == 3
    assert results["three"][0]["value"] == "called"
    assert await agent.printed("four") == "after the end\n", "a task ends when its threads have"


async def test_large_values_travel_as_blobs(start):
    agent = await start(
        chain(big={"script": "result = 'x' * 6_000_000"}, length={"script": "result = len(previous['big'][-1]['value'])"})
    )
    result = await agent.result()
    assert result["results"]["length"][0]["value"] == 6_000_000
    assert len(result["results"]["big"][0]["value"]) == 6_000_000
    (event,) = await agent.events("TaskFinished", task="big")
    assert len(event["value"]) == 6_000_000


async def test_no_request_is_larger_than_the_limits(start, faults):
    agent = await start(chain(big={"script": "print('x' * 3_000_000)\nresult = 'x' * 6_000_000"}))
    assert (await agent.result())["outcome"] == "Success"
    for request in faults.requests:
        assert request.bytes <= (4 * 1024 * 1024 + 1024 if "/blobs/" in request.path else 1024 * 1024)


async def test_a_task_sees_its_four_variables_and_no_secret(start):
    show = "import os, json\nresult = [dict(os.environ), open('/proc/%d/environ' % os.getppid()).read()]"
    agent = await start(
        chain(shell={"run": "env"}, script={"script": show}), environment={"UNICORN_TOKEN": "secret-token", "LANG": "C"}
    )
    results = (await agent.result())["results"]
    ours = {"UNICORN_TASK", "UNICORN_RUN", "UNICORN_EXECUTOR_ID", "UNICORN_EXECUTOR_INDEX"}
    shell = dict(line.split("=", 1) for line in results["shell"][0]["value"]["stdout"].splitlines())
    assert {name for name in shell if name.startswith("UNICORN")} == ours
    script, of_worker = results["script"][0]["value"]
    assert {name for name in script if name.startswith("UNICORN")} == ours
    assert script["UNICORN_TASK"] == "script"
    everything = json.dumps(await agent.gateway.events(agent.token)) + of_worker + agent.errors.read_text()
    assert "secret-token" not in everything
    assert agent.token not in everything


async def test_report_results_false_reports_the_outcome_alone(start):
    agent = await start({**chain(a={"run": "true"}), "reportResults": False})
    result = await agent.result()
    assert result["outcome"] == "Success"
    assert "results" not in result


async def test_a_graph_that_cannot_run_is_reported(start):
    graph = chain(a={"run": "true"})
    graph["edges"].append({"from": "a", "to": "a"})
    result = await (await start(graph)).result()
    assert (result["outcome"], result["reason"]) == ("Failure", "GraphInvalid")
    assert result["message"].startswith("edges[1]: closes the cycle a -> a")


async def test_a_cycle_gives_a_result_for_each_run(start):
    graph = chain(a={"script": "result = len(previous.get('a', []))"}, end={})
    graph["edges"].append({"from": "end", "to": "root", "weak": True, "limit": 2})
    result = await (await start(graph)).result()
    assert [entry["value"] for entry in result["results"]["a"]] == [0, 1, 2]


async def test_what_a_task_leaves_in_the_background_ends_with_the_graph(start, workdir):
    leave = "(trap 'echo ending; exit' TERM; echo started; : > up; while :; do sleep 0.05; done) & echo $! > pid; exit 0"
    use = "while ! [ -e up ]; do sleep 0.05; done; kill -0 $(cat pid) && echo there"
    agent = await start(chain(leave={"run": leave}, use={"run": use}))
    result = await agent.result()
    assert result["results"]["use"][0]["value"]["stdout"] == "there\n", "a later task can use what an earlier one has started"
    assert await agent.printed("leave") == "started\nending\n"


SLOW_LOOK = """
import time
from unicorn_executor import __main__, processes
look = processes.table
processes.table = lambda: time.sleep(1) or look()
__main__.run()
"""


async def test_last_words_are_kept_of_what_ends_while_the_agent_looks(start):
    background = "trap 'sleep 0.4; echo ending; exit' TERM; : > up; while :; do sleep 0.05; done"
    leave = f"({background}) & while ! [ -e up ]; do sleep 0.05; done"
    agent = await start(chain(leave={"run": leave}), command=[sys.executable, "-c", SLOW_LOOK])
    await agent.result()
    assert await agent.printed("leave") == "ending\n"


async def test_a_fault_of_the_agent_is_reported_as_such(start):
    agent = await start(chain(a={"run": "sleep 600", "timeoutSeconds": "soon"}))
    result = await agent.result()
    assert (result["outcome"], result["reason"]) == ("Failure", "AgentError")
    assert "soon" in result["message"]


FORKS = [
    ("ends", "time.sleep(0.1); sys.exit(0)"),
    ("ends with a code", "sys.exit(3)"),
    ("raises", "raise ValueError('only in the child')"),
    ("goes on to the end of the script", "result = 'the child'"),
]


@pytest.mark.parametrize(("what", "child"), FORKS, ids=[row[0] for row in FORKS])
async def test_a_fork_of_a_task_is_not_the_task(start, what, child):
    fork = f"import os, sys, time\nresult = 'the parent'\nif os.fork() == 0:\n    {child}\n"
    source = fork + "else:\n    os.wait()\n    time.sleep(0.2)\n"
    result = await (await start(chain(a={"script": source}))).result()
    assert result["results"]["a"] == [{"outcome": "Success", "value": "the parent"}], what


async def test_deep_values(start):
    deep = "result = []\nfor _ in range({}): result = [result]"
    agent = await start(chain(fits={"script": deep.format(199)}, deep={"script": deep.format(250)}, on={"script": "result = 1"}))
    results = (await agent.result())["results"]
    assert json.dumps(results["fits"][0]["value"]) == "[" * 200 + "]" * 200
    assert results["deep"][0]["value"] == {"repr": "[" * 251 + "]" * 251}
    assert results["deep"][0]["notJson"] is True


async def test_the_token_stays_out_of_what_netunicorns_tasks_tell(start, workdir):
    package = workdir / "netunicorn"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "tasks.py").write_text(
        "import os\ndef tell(fails):\n    endpoint = os.environ['NETUNICORN_GATEWAY_ENDPOINT']\n    print(endpoint)\n"
        "    if fails:\n        raise RuntimeError('no way to ' + endpoint)\n    return [endpoint]\n"
    )
    graph = chain(a=python("netunicorn.tasks:tell", False), b=python("netunicorn.tasks:tell", True))
    agent = await start(graph)
    result = await agent.result()
    told = json.dumps([result, await agent.events()])
    assert "/x/xxx" in await agent.printed("a")
    assert agent.token not in told
    assert "no way to" in result["results"]["b"][0]["error"]
