"""Timeouts, retries, cancels, signals: what ends, and that nothing is left of it."""

import signal
import time

import pytest
from conftest import living, reaches
from executor_graphs import chain, parallel

# Starts a child, a grandchild in a session of its own, and one whose parent has gone; each notes its pid and ignores TERM.
FAMILY = """
import os, signal, subprocess, sys, time
body = '''
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(os.getpid(), file=open('pids', 'a'), flush=True)
time.sleep(600)
'''
start = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', sys.argv[1]], start_new_session=True)"
subprocess.Popen([sys.executable, '-c', body])
subprocess.Popen([sys.executable, '-c', body], start_new_session=True)
subprocess.Popen([sys.executable, '-c', start, body])
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    print(os.getpid(), file=open('pids', 'a'), flush=True)
    time.sleep(600)
time.sleep(600)
"""
FAMILY_SIZE = 4


async def family(workdir):
    """The pids, once all are there."""

    async def look():
        pids = (workdir / "pids").read_text().split() if (workdir / "pids").exists() else []
        return [int(pid) for pid in pids] if len(pids) == FAMILY_SIZE else None

    return await reaches(look)


@pytest.mark.parametrize("kind", ["script", "run"])
async def test_a_timeout_ends_the_whole_tree(start, workdir, kind):
    (workdir / "family.py").write_text(FAMILY)
    task = {"script": FAMILY} if kind == "script" else {"run": "echo begun; python3 family.py"}
    agent = await start(parallel(it={**task, "timeoutSeconds": 4.0}, other={"run": "sleep 10; echo fine"}))
    pids = await family(workdir)
    (event,) = await agent.sees("TaskFinished", task="it")
    assert (event["reason"], event["error"]) == ("Timeout", "timed out after 4 s")
    assert living(pids) == [], "also those that ignore TERM, have a session of their own, or lost their parent"
    if kind == "run":
        assert event["value"]["stdout"] == "begun\n", "what it had printed is kept"
    result = await agent.result()
    assert result["results"]["other"][0]["value"]["stdout"] == "fine\n", "the other task is not touched"


async def test_a_task_may_end_itself_within_the_grace(start):
    agent = await start(
        chain(it={"run": "trap 'echo cleaned; exit 0' TERM; echo x; while :; do sleep 0.05; done", "timeoutSeconds": 1.0})
    )
    began = time.monotonic()
    result = await agent.result()
    assert time.monotonic() - began < 5
    assert result["results"]["it"][0]["reason"] == "Timeout"
    assert result["results"]["it"][0]["value"]["stdout"] == "x\ncleaned\n"


async def test_retry_numbers_its_tries_and_the_last_one_counts(start, workdir):
    again = "n=$(cat n 2>/dev/null || echo 0); n=$((n+1)); echo $n > n; echo try $n; test $n -ge 3"
    agent = await start(
        chain(it={"run": again, "retry": {"limit": 5, "backoffSeconds": 0.05}}, see={"script": "result = previous['it']"})
    )
    result = await agent.result()
    assert result["outcome"] == "Success", "a try that failed is no failure of the run"
    assert [(e["try"], e["run"], e["outcome"]) for e in await agent.events("TaskFinished", task="it")] == [
        (1, 1, "Failure"),
        (2, 1, "Failure"),
        (3, 1, "Success"),
    ]
    assert len(result["results"]["it"]) == len(result["results"]["see"][0]["value"]) == 1


async def test_retry_ends_at_its_limit(start):
    agent = await start(chain(it={"run": "exit 4", "retry": {"limit": 2, "backoffSeconds": 0.0}}))
    assert (await agent.result())["outcome"] == "Failure"
    assert len(await agent.events("TaskStarted", task="it")) == 3


async def test_a_timeout_holds_for_each_try(start):
    agent = await start(chain(it={"run": "sleep 60", "timeoutSeconds": 0.2, "retry": {"limit": 1, "backoffSeconds": 0.0}}))
    await agent.result()
    assert [event["reason"] for event in await agent.events("TaskFinished")] == ["Timeout", "Timeout"]


async def test_cancel_ends_everything_and_says_so(start, gateway, workdir):
    agent = await start(
        parallel(
            tree={"script": FAMILY},
            waiting={"run": "exit 1", "retry": {"limit": 9, "backoffSeconds": 600.0}},
            meeting={"flag": {"wait": "never", "integer": 5}},
        ),
        keep_alive=4.0,
    )
    pids = await family(workdir)
    await agent.sees("TaskFinished", task="waiting")
    await gateway.cancel(agent.token)
    result = await agent.result()
    assert (result["outcome"], result["reason"]) == ("Failure", "Cancelled")
    assert {task: entries[0]["reason"] for task, entries in result["results"].items()} == {
        "tree": "Cancelled",
        "meeting": "Cancelled",
        "waiting": "NonZeroExit",
    }
    assert living(pids) == []


# Its first thread ends, another goes on: the kernel shows a zombie.
HEADLESS = """
import ctypes, os, threading, time
threading.Thread(target=time.sleep, args=[600]).start()
print(os.getpid(), file=open('headless', 'w'), flush=True)
ctypes.CDLL(None).pthread_exit(None)
"""


async def test_a_process_whose_first_thread_has_ended_is_ended_too(start, workdir):
    (workdir / "headless.py").write_text(HEADLESS)
    until = "until grep -q zombie /proc/$(cat headless)/status; do sleep 0.05; done"
    result = await (await start(chain(a={"run": f"python3 headless.py & {until}"}))).result()
    assert result["outcome"] == "Success"
    assert living([int((workdir / "headless").read_text())]) == []


async def test_cancelled_before_release_there_is_no_result(start, gateway):
    agent = await start(chain(a={"run": "true"}), released=False)
    await gateway.cancel(agent.token)
    assert await agent.ends() == 0
    assert await gateway.result(agent.token) is None


async def test_a_signal_interrupts_and_a_restart_goes_on(start, workdir):
    graph = chain(a={"run": "echo a >> ran"}, b={"run": "echo b >> ran; exec sleep 600"}, c={"run": "echo c >> ran"})
    agent = await start({**graph, "earlyStopping": False})
    await agent.sees("TaskStarted", task="b")
    agent.process.send_signal(signal.SIGTERM)
    assert await agent.ends() == 6
    (event,) = await agent.events("TaskFinished", task="b")
    assert event["reason"] == "Interrupted", "told before it ended"
    second = await start(token=agent.token, spool=agent.spool)
    result = await second.result()
    assert [entry["reason"] for entry in result["results"]["b"]] == ["Interrupted"]
    assert (workdir / "ran").read_text() == "a\nb\nc\n", "nothing ran twice"


async def test_a_signal_while_waiting_for_release_ends_at_once(start):
    agent = await start(chain(a={"run": "true"}), released=False)
    await reaches(lambda: agent.said("asking"))
    agent.process.send_signal(signal.SIGTERM)
    assert await agent.ends() == 6
