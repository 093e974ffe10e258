"""The agent, its worker or a task's process is killed; a second agent appears."""

import os
import signal

import psutil
from conftest import living, reaches
from executor_graphs import chain, parallel


def worker_of(agent):
    (worker,) = psutil.Process(agent.pid).children()
    return worker.pid


def is_worker(pid):
    """A worker leads its session; its spare does not."""
    try:
        return os.getsid(pid) == pid and "unicorn_executor.worker" in " ".join(psutil.Process(pid).cmdline())
    except (ProcessLookupError, psutil.Error):
        return False


async def pid_file(workdir, name="pid"):
    async def look():
        path = workdir / name
        return path.exists() and path.read_text().strip()

    return int(await reaches(look))


NOTE_PID = "import os, time\nopen('pid.new', 'w').write(str(os.getpid()))\nos.rename('pid.new', 'pid')\n"


async def test_a_killed_task_is_its_own_failure(start, workdir):
    agent = await start({**chain(it={"script": NOTE_PID + "time.sleep(600)"}, after={"run": "echo on"}), "earlyStopping": False})
    os.kill(await pid_file(workdir), signal.SIGKILL)
    result = await agent.result()
    assert result["results"]["it"][0]["error"] == "killed by SIGKILL"
    assert result["results"]["after"][0]["outcome"] == "Success", "the agent lives"


async def test_the_workers_death_harms_no_task(start, workdir):
    until = "\nwhile not os.path.exists('go'): time.sleep(0.02)\n"
    agent = await start(
        parallel(
            script={"script": NOTE_PID + until + "result = 5"},
            run={"run": "echo first; while ! test -e go; do sleep 0.02; done; echo done"},
            doomed={"script": NOTE_PID.replace("pid", "doomed").replace("getdoomed", "getpid") + "time.sleep(600)"},
        )
        | {"earlyStopping": False}
    )
    await pid_file(workdir)
    doomed = await pid_file(workdir, "doomed")
    await agent.sees("Log", task="run")
    before = worker_of(agent)
    os.kill(before, signal.SIGKILL)

    async def another():
        children = [child.pid for child in psutil.Process(agent.pid).children()]
        return any(child != before and is_worker(child) for child in living(children))

    await reaches(another)
    os.kill(doomed, signal.SIGKILL)
    await agent.sees("TaskFinished", task="doomed")
    (workdir / "go").touch()
    result = await agent.result()
    assert result["results"]["script"] == [{"outcome": "Success", "value": 5}]
    assert result["results"]["run"][0]["value"]["stdout"] == "first\ndone\n"
    assert result["results"]["doomed"][0]["reason"] == "Killed"


async def test_a_worker_killed_between_tasks_is_replaced(start, workdir):
    graph = chain(
        a={"script": "import os; os.kill(os.getppid(), 9); result = 1"}, b={"script": "result = previous['a'][-1]['value'] + 1"}
    )
    result = await (await start(graph)).result()
    assert result["results"]["b"] == [{"outcome": "Success", "value": 2}], "the new worker knows what came before"


async def test_a_killed_agent_repeats_nothing(start, workdir):
    agent = await start(
        {
            **chain(
                a={"script": "open('ran', 'a').write('a')\nresult = {1, 2}"},
                b={"script": "open('ran', 'a').write('b')\n" + NOTE_PID + "time.sleep(600)"},
                c={"script": "open('ran', 'a').write('c')\nresult = [previous['b'][0]['outcome'], *previous['a'][0]['value']]"},
            ),
            "earlyStopping": False,
        }
    )
    task = await pid_file(workdir)
    os.kill(agent.pid, signal.SIGKILL)
    assert await agent.ends() == -signal.SIGKILL
    second = await start(token=agent.token, spool=agent.spool)
    result = await second.result()
    assert (workdir / "ran").read_text() == "abc"
    assert not living([task]), "what the killed agent ran is gone"
    assert result["results"]["b"] == [
        {"outcome": "Failure", "error": "the agent was restarted while it ran", "reason": "Interrupted"}
    ]
    assert result["results"]["c"][0]["value"] == ["Failure", 1, 2]
    events = await agent.events("TaskStarted")
    assert [event["task"] for event in events] == ["a", "b", "c"]
    assert len(await agent.events("TaskFinished")) == 3


async def test_an_agent_killed_again_and_again_gets_to_the_end(start, gateway, workdir):
    names = [f"t{number}" for number in range(30)]
    graph = {**chain(**{name: {"run": f"echo {name} >> ran; sleep 0.05"} for name in names}), "earlyStopping": False}
    agent = await start(graph)
    token, spool = agent.token, agent.spool
    for count in (3, 9, 10, 17, 24):

        async def so_many(count=count):
            return len(await gateway.events(token)) >= count * 2

        await reaches(so_many)
        os.kill(agent.pid, signal.SIGKILL)
        await agent.ends()
        agent = await start(token=token, spool=spool)
    result = await agent.result()
    done = [name for name in names if result["results"][name][0]["outcome"] == "Success"]
    ran = (workdir / "ran").read_text().split()
    assert ran == [name for name in names if name in ran], "each at most once, in order"
    assert set(done) <= set(ran)
    assert len(done) >= len(names) - 5, "only what ran when the agent was killed is interrupted"
    runs = [(event["kind"], event["run"]) for event in await gateway.events(token) if event["kind"].startswith("Task")]
    assert runs == [(kind, run) for run in range(1, 31) for kind in ("TaskStarted", "TaskFinished")], (
        "nothing lost, nothing doubled"
    )


async def test_killed_between_the_queue_and_the_journal_nothing_runs_twice(start, gateway, workdir):
    graph = chain(a={"run": "echo a >> ran; while ! test -e go; do sleep 0.02; done"}, b={"run": "echo b >> ran; exec sleep 600"})
    agent = await start({**graph, "earlyStopping": False})
    await agent.sees("TaskStarted", task="a")
    await gateway.cut()
    (workdir / "go").touch()
    journal = agent.spool / "journal.jsonl"

    async def b_runs():
        return (workdir / "ran").exists() and "b" in (workdir / "ran").read_text()

    await reaches(b_runs)
    os.kill(agent.pid, signal.SIGKILL)
    await agent.ends()
    lines = journal.read_text().splitlines(keepends=True)
    assert '"TaskStarted","task":"b"' in lines[-1]
    journal.write_text("".join(lines[:-2]))  # neither the end of a nor the start of b got there
    await gateway.restore()
    result = await (await start(token=agent.token, spool=agent.spool)).result()
    assert (workdir / "ran").read_text() == "a\nb\n"
    assert [entry["outcome"] for entry in result["results"]["a"]] == ["Success"]
    assert [entry["reason"] for entry in result["results"]["b"]] == ["Interrupted"]


async def test_restarted_after_the_end_there_is_nothing_to_do(start, workdir):
    agent = await start(chain(a={"run": "echo x >> ran"}))
    await agent.result()
    second = await start(token=agent.token, spool=agent.spool)
    assert await second.ends() == 0
    assert (workdir / "ran").read_text() == "x\n"


async def test_killed_before_the_result_was_sent_it_is_sent_after_the_restart(start, gateway, workdir):
    agent = await start(chain(a={"run": "echo x >> ran; while ! test -e go; do sleep 0.02; done"}))
    await agent.sees("TaskStarted")
    await gateway.cut()
    (workdir / "go").touch()
    await reaches(lambda: agent.said("the graph ended"))
    os.kill(agent.pid, signal.SIGKILL)
    await agent.ends()
    await gateway.restore()
    second = await start(token=agent.token, spool=agent.spool)
    assert (await second.result())["outcome"] == "Success"
    assert (workdir / "ran").read_text() == "x\n"
    assert len(await second.events("TaskFinished")) == 1


async def test_a_second_agent_on_the_same_spool_ends_at_once(start, workdir):
    agent = await start(chain(a={"run": "while ! test -e go; do sleep 0.02; done"}))
    await agent.sees("TaskStarted")
    second = await start(token=agent.token, spool=agent.spool)
    assert await second.ends() == 5
    (workdir / "go").touch()
    assert (await agent.result())["outcome"] == "Success"


async def test_another_instance_is_superseded(start, workdir):
    agent = await start(chain(a={"run": "echo x >> ran; while ! test -e go; do sleep 0.02; done"}))
    await agent.sees("TaskStarted")
    second = await start(token=agent.token)
    assert await second.ends() == 4
    (workdir / "go").touch()
    assert (await agent.result())["outcome"] == "Success"
    assert (workdir / "ran").read_text() == "x\n"


async def test_a_foreign_token_is_refused(start, gateway):
    agent = await start(token="not-known")
    assert await agent.ends() == 3


async def test_a_spool_belongs_to_one_executor(start, gateway):
    agent = await start(chain(a={"run": "true"}))
    await agent.result()
    (agent.spool / "instance").unlink()
    second = await start(chain(a={"run": "true"}), spool=agent.spool)
    assert await second.ends() == 1
    assert "give this one its own" in second.errors.read_text()
