"""What is particular to processes on this machine."""

import ast
import asyncio
import contextlib
import hashlib
import os
import signal
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from unicorn_connectors.agent_file import AgentFiles, AgentSource
from unicorn_connectors.local import LocalConfig, processes
from unicorn_core.connector import Done, Exited, Failed, Gateway, Running, Runtime, Unknown
from unicorn_core.errors import Broken

GRACE = timedelta(seconds=5)
TOKEN = "header.SECRET-TOKEN.signature"  # of the suite's orders
AS_ROOT = os.geteuid() == 0


async def only(outcomes):
    (outcome,) = (await outcomes).values()
    return outcome


async def seen(connector, order):
    return (await connector.observe([order.handle.node]))[order.handle.node.name].executors.get(order.handle.executor)


async def ready(local, order, until, file="ready"):
    await until((local.home(order.handle.executor) / file).exists)


async def test_ten_agents_start_in_no_time(local, connect):
    connector, orders = connect(local), [local.order() for _ in range(10)]
    await connector.prepare(orders)
    begin = time.process_time()  # other work on the machine is not what this is about
    outcomes = await connector.start(orders)
    took = time.process_time() - begin
    assert set(outcomes.values()) == {Done()}
    assert took < 0.3, took


async def test_its_world_is_clean(local, connect, until, monkeypatch):
    monkeypatch.setenv("OPERATORS_OWN", "SECRET")
    connector = connect(local)
    order = local.order(runtime=Runtime({"STUB": "environment", "COLOUR": "red", "UNICORN_GATEWAY": "http://evil"}))
    await connector.start([order])
    await ready(local, order, until)
    home = local.home(order.handle.executor)
    environment, user, group, groups, directory, umask = ast.literal_eval((home / "environment").read_text())
    assert "OPERATORS_OWN" not in environment
    assert environment["COLOUR"] == "red"
    assert environment["UNICORN_GATEWAY"] == order.gateway.endpoint
    assert "SECRET" not in str(environment)
    assert Path(environment["UNICORN_TOKEN_FILE"]).read_text() == order.token
    assert Path(directory) == home / "work"
    assert umask == 0o077
    if AS_ROOT:
        assert user == group >= 1_000_000_000
        assert groups in ([], [user])


@pytest.mark.skipif(not AS_ROOT, reason="without root all executors are the same user")
async def test_executors_are_closed_to_each_other_and_cannot_change_their_records(local, connect, until):
    connector, order, other = connect(local), local.order(), local.order()
    await connector.start([order, other])
    for one in (order, other):
        await ready(local, one, until)
    path, user = local.home(order.handle.executor).parent, local.home(order.handle.executor).stat().st_uid
    assert user != local.home(other.handle.executor).stat().st_uid
    assert (path.stat().st_uid, path.stat().st_mode & 0o777) == (0, 0o711)
    assert path.joinpath("home").stat().st_mode & 0o777 == 0o700
    for name in ("token", "record.json", "status", "log", "lock"):
        assert path.joinpath(name).stat().st_mode & 0o777 == 0o600, name
        assert path.joinpath(name).stat().st_uid == (user if name == "token" else 0), name


async def test_stop_kills_what_ignores_it_and_what_left_its_session(local, connect, until):
    connector, order = connect(local), local.order(stub="stubborn")
    await connector.start([order])
    await ready(local, order, until)
    before = processes.of_executors([order.handle.executor])[order.handle.executor]
    assert len(before) == 4  # the wrapper, the agent, two children
    assert await only(connector.stop([order.handle], timedelta(seconds=0.2))) == Done()
    assert not [process for process in before if processes._read(process.pid) == process]


async def test_what_an_agent_leaves_running_is_killed_before_its_end_is_told(local, connect, until):
    news = []
    connector, order = connect(local, notify=news.append), local.order(stub="leave")
    await connector.start([order])
    await until(lambda: news)
    assert await seen(connector, order) == Exited(0)
    assert not await local.alive(order.handle.executor)


async def test_an_agent_whose_first_thread_has_ended_runs_and_can_be_stopped(local, connect, until):
    connector, order = connect(local), local.order(stub="headless")
    await connector.start([order])

    def is_headless():
        found = processes.of_executors([order.handle.executor])[order.handle.executor]
        with contextlib.suppress(FileNotFoundError):  # one may end meanwhile
            return any("(zombie)" in Path(f"/proc/{process.pid}/status").read_text() for process in found)

    await until(is_headless)
    assert isinstance(await seen(connector, order), Running)
    assert await only(connector.stop([order.handle], timedelta(seconds=0.2))) == Done()
    assert not await local.alive(order.handle.executor)


async def test_left_overs_are_killed_by_a_look_too(local, connect, until):
    connector, order = connect(local), local.order(stub="leave")
    await connector.start([order])
    await connector.close()
    directory = connector._directory(order.handle)
    await until(lambda: directory.status().code is not None)
    assert await seen(connect(local), order) == Exited(0)
    assert not await local.alive(order.handle.executor)


@pytest.mark.parametrize(("code", "reason"), [(0, ""), (1, "AgentFault"), (3, "AgentRefused"), (4, "Superseded")])
async def test_exit_codes_have_reasons(local, connect, until, code, reason):
    news = []
    connector, order = connect(local, notify=news.append), local.order(stub=f"exit:{code}")
    await connector.start([order])
    await until(lambda: news)
    assert await seen(connector, order) == Exited(code, reason)


async def test_an_agent_killed_with_its_wrapper_has_no_code(local, connect, until):
    news = []
    connector, order = connect(local, notify=news.append), local.order()
    await connector.start([order])
    await ready(local, order, until)
    pid = connector._directory(order.handle).status().pid
    os.killpg(pid, signal.SIGKILL)
    await until(lambda: news)
    assert await seen(connector, order) == Exited(None, "Killed")


async def test_an_agent_whose_wrapper_was_killed_goes_on_and_can_be_stopped(local, connect, until):
    connector, order = connect(local), local.order()
    await connector.start([order])
    await ready(local, order, until)
    pid = connector._directory(order.handle).status().pid
    os.kill(pid, signal.SIGKILL)
    await until(lambda: processes._read(pid) is None)
    assert await seen(connector, order) == Running()
    assert await only(connector.start([order])) == Done("was started before")
    assert await only(connector.stop([order.handle], GRACE)) == Done()
    assert await local.starts(order.handle.executor) == 1


async def test_a_starter_killed_before_its_agent_ran_is_made_good(local, connect):
    connector, order = connect(local), local.order()
    await connector.prepare([order])
    os.close(connector._directory(order.handle).open_status(fence=1))  # what is left of such a start
    assert await seen(connector, order) is None
    assert await only(connector.start([order])) == Done()
    assert await local.starts(order.handle.executor) == 1


async def test_executors_outlive_the_process_that_started_them(local, connect, until):
    order = local.order()
    program = (
        "import asyncio, sys, uuid\n"
        "from unicorn_connectors.local import LocalConfig, LocalConnector\n"
        "from unicorn_core.connector import *\n"
        f"context = ConnectorContext('local', 'default', 'uid', LocalConfig(), state_directory={str(local.directory)!r})\n"
        f"handle = Handle(uuid.UUID({str(order.handle.executor)!r}), Node('local-0'), 'default', 'e', 1)\n"
        "order = Order(handle, 'e', Gateway('http://127.0.0.1:9'), token='t')\n"
        "async def main():\n"
        f"    connector = LocalConnector(context, {str(Path(__file__).with_name('stub_agent.py'))!r})\n"
        "    print(await connector.start([order]), flush=True)\n"
        "    await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    starter = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    assert b"Done" in await starter.stdout.readline()
    starter.kill()
    await starter.wait()
    news = []
    connector = connect(local, notify=news.append)
    assert await seen(connector, order) == Running()
    assert await only(connector.start([order])) == Done("was started before")
    await local.exit(order, 143)
    await until(lambda: news)
    assert await seen(connector, order) == Exited(143, "Killed")


async def test_shell_commands_run_once_in_the_working_directory_as_the_executor(local, connect):
    connector = connect(local)
    order = local.order(
        shell_commands=("echo one >> trace", "id -u >> trace; echo $COLOUR >> trace"), runtime=Runtime({"COLOUR": "red"})
    )
    assert await only(connector.prepare([order])) == Done()
    assert isinstance(await only(connector.prepare([order])), Done)
    trace = local.home(order.handle.executor) / "work" / "trace"
    assert trace.read_text().split() == ["one", str(trace.stat().st_uid), "red"]
    if AS_ROOT:
        assert trace.stat().st_uid != 0


async def test_a_failing_shell_command_says_what_it_said(local, connect):
    connector = connect(local)
    order = local.order(shell_commands=("true", "echo no such package; exit 7", "touch never"))
    outcome = await only(connector.prepare([order]))
    assert (type(outcome), outcome.reason) == (Failed, "CommandFailed")
    assert "ended with 7: no such package" in outcome.message
    assert not (local.home(order.handle.executor) / "work" / "never").exists()


async def test_an_interrupted_preparation_begins_again_alone(local, connect, until):
    connector = connect(local)
    order = local.order(shell_commands=("echo x >> trace", "test $(wc -l < trace) -ge 2 || sleep 600"))
    call = asyncio.ensure_future(connector.prepare([order]))
    await until((local.home(order.handle.executor) / "work" / "trace").exists)
    call.cancel()
    await asyncio.wait([call])
    assert await only(connector.prepare([order])) == Done()
    assert not await local.alive(order.handle.executor)


async def test_stop_ends_a_preparation_and_what_comes_after_is_refused(local, connect, until):
    connector, other = connect(local), connect(local)
    order = local.order(shell_commands=("touch trace; sleep 600",))
    call = asyncio.ensure_future(connector.prepare([order]))
    await until((local.home(order.handle.executor) / "work" / "trace").exists)
    assert await only(other.stop([order.handle], GRACE)) == Done()
    assert isinstance(await only(call), Failed)
    outcome = await only(connector.start([order]))
    assert (type(outcome), outcome.reason) == (Failed, "Superseded")


async def test_links_in_its_home_lead_us_nowhere(local, connect, until, tmp_path):
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "kept").touch()
    connector = connect(local)
    order = local.order(shell_commands=(f"cd ..; rm -rf spool; ln -s {victim} spool; ln -s {victim} evil",))
    assert await only(connector.prepare([order])) == Done()
    assert await only(connector.start([order])) == Done()
    await local.starts(order.handle.executor)
    assert await only(connector.stop([order.handle], GRACE)) == Done()
    assert await only(connector.cleanup([order.handle])) == Done()
    assert (victim / "kept").exists()
    assert victim.stat().st_uid == os.geteuid()
    assert not local.home(order.handle.executor).parent.exists()


async def test_a_python_that_is_not_there(local, connect, until):
    news = []
    connector = connect(local, notify=news.append, python="/no/such/python3")
    health = await connector.check()
    assert (health.healthy, health.reason) == (False, "PythonMissing")
    order = local.order()
    await connector.start([order])
    await until(lambda: news)
    exited = await seen(connector, order)
    assert (exited.code, exited.reason) == (127, "PythonMissing")
    assert "/no/such/python3" in exited.message


@pytest.mark.skipif(not AS_ROOT, reason="only root runs executors as somebody else")
async def test_a_state_directory_that_others_cannot_reach_is_unhealthy(local, connect):
    local.directory.chmod(0o700)
    health = await connect(local).check()
    assert (health.healthy, health.reason) == (False, "DirectoryClosed")
    assert str(local.directory) in health.message


def test_node_names():
    assert LocalConfig(nodes=2).names() == ["local-0", "local-1"]
    assert LocalConfig(nodes=["a", "b"]).names() == ["a", "b"]


# --- the agent's file ----------------------------------------------------------------------------------------------------


@pytest.fixture
async def gateway():
    async def agent(request):
        return web.Response(body=b"print()")

    application = web.Application()
    application.router.add_get("/executor.pyz", agent)
    server = TestServer(application)
    await server.start_server()
    yield str(server.make_url("")).rstrip("/")
    await server.close()


async def test_the_agent_is_fetched_and_checked_and_kept(gateway, tmp_path):
    wanted = hashlib.sha256(b"print()").hexdigest()
    agents = AgentFiles(tmp_path / "agents", AgentSource())
    path = await agents.path(Gateway(gateway, agent_sha256=wanted))
    assert path.read_bytes() == b"print()"
    assert path.stat().st_mode & 0o777 == 0o644
    assert await agents.path(Gateway("http://127.0.0.1:9", agent_sha256=wanted)) == path
    with pytest.raises(Broken, match="has SHA-256"):
        await agents.path(Gateway(gateway, agent_sha256="0" * 64))


async def test_a_given_agent_that_is_another_one_is_not_used(gateway, tmp_path):
    given = tmp_path / "agent.pyz"
    given.write_bytes(b"import evil")
    agents = AgentFiles(tmp_path / "agents", AgentSource(str(given)))
    wanted = hashlib.sha256(b"print()").hexdigest()
    assert (await agents.path(Gateway(gateway, agent_sha256=wanted))).read_bytes() == b"print()"
    assert (await agents.path(Gateway(gateway))).read_bytes() == b"import evil"


async def test_no_agent_is_unknown_not_failed(local, connect):
    outcome = await only(connect(local).start([local.order(gateway=Gateway("http://127.0.0.1:9", agent_sha256="0" * 64))]))
    assert (type(outcome), outcome.reason) == (Unknown, "AgentNotAvailable")


async def test_netunicorns_executor_is_told_where_and_who_it_is(local_netunicorn, connect, until):
    """By its environment, which users cannot override; the token stands in nothing that others read."""
    connector = connect(local_netunicorn)
    theirs = {"NETUNICORN_EXECUTOR_ID": "another", "NETUNICORN_GATEWAY_ENDPOINT": "http://elsewhere", "MINE": "kept"}
    order = local_netunicorn.order(runtime=Runtime(theirs), keep_alive=timedelta(seconds=20))
    assert await only(connector.prepare([order])) == Done()
    assert await only(connector.start([order])) == Done()
    executor = order.handle.executor
    await until(lambda: "Current directory" in local_netunicorn.log(executor))
    (process,) = [
        process
        for process in processes.of_executors([executor])[executor]
        if b"netunicorn" in Path(f"/proc/{process.pid}/cmdline").read_bytes() and process.pid != process.group
    ]
    entries = Path(f"/proc/{process.pid}/environ").read_bytes().decode().split("\0")
    environment = dict(entry.split("=", 1) for entry in entries if entry)
    assert {name: environment.get(name) for name in (*theirs, "NETUNICORN_EXPERIMENT_ID")} == {
        "NETUNICORN_EXECUTOR_ID": str(executor),
        "NETUNICORN_GATEWAY_ENDPOINT": f"http://127.0.0.1:9/x/{TOKEN}",
        "NETUNICORN_EXPERIMENT_ID": order.handle.experiment_uid,
        "MINE": "kept",
    }
    assert environment["NETUNICORN_EXECUTOR_HEARTBEAT_SECONDS"] == "5"
    assert TOKEN in local_netunicorn.log(executor), "its own log, which the gateway redacts"
    assert TOKEN.encode() not in Path(f"/proc/{process.pid}/cmdline").read_bytes()
    said = (local_netunicorn.directory / "uid" / str(executor) / "log").read_text()
    assert "/x/" + "x" * len(TOKEN) in said
    assert TOKEN not in said


async def test_a_node_without_netunicorn(local, connect, until):
    connector, order = connect(local), local.order(agent="Netunicorn")
    await only(connector.prepare([order]))
    await only(connector.start([order]))

    async def exited():
        found = (await connector.observe([order.handle.node]))[order.handle.node.name].executors[order.handle.executor]
        return found if isinstance(found, Exited) else None

    found = await until(exited)
    assert found.code == 1
    assert "netunicorn" in found.message


async def test_a_damaged_directory_is_the_outcome_of_its_executor_alone(local, connect):
    """A start, a stop and a cleanup of others go on."""
    connector, damaged, closed, whole = connect(local), local.order(), local.order(), local.order()
    orders = [damaged, closed, whole]
    assert set((await connector.prepare(orders)).values()) == {Done()}
    path = local.home(damaged.handle.executor).parent
    (path / "record.json").write_text("{")
    closed_path = local.home(closed.handle.executor).parent / "record.json"
    closed_path.unlink()
    closed_path.mkdir()
    handles = [order.handle for order in orders]
    for outcomes in (await connector.start(orders), await connector.stop(handles, GRACE)):
        assert outcomes[whole.handle.executor] == Done()
        for order in (damaged, closed):
            found = outcomes[order.handle.executor]
            assert isinstance(found, Unknown), found
            assert found.reason == "DirectoryBroken"
    cleaned = await connector.cleanup(handles)
    assert cleaned[whole.handle.executor] == Done()
    assert cleaned[closed.handle.executor].reason == "DirectoryBroken", "what is no file of ours stays"


async def test_what_no_process_can_be_given_fails_its_executor(local, connect):
    connector = connect(local)
    bad, good = local.order(runtime=Runtime({"X": "a\0b"})), local.order()
    outcomes = await connector.start([bad, good])
    assert outcomes[good.handle.executor] == Done()
    assert outcomes[bad.handle.executor] == Failed("StartFailed", outcomes[bad.handle.executor].message)
    prepared = local.order(runtime=Runtime({"X": "a\0b"}), shell_commands=("true",))
    assert (await only(connector.prepare([prepared]))).reason == "CommandFailed"
