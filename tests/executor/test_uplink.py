"""Events on their way: cuts, refusals, gaps, floods, heartbeats."""

import asyncio
import itertools
import os
import time

from conftest import reaches
from executor_graphs import chain
from fake_gateway import kinds

LINES = 'import sys\nfor i in range({0}): print(f"{{i:09}} " + "x" * {1})\n'


async def test_a_cut_network_delays_and_loses_nothing(start, gateway, workdir):
    agent = await start(chain(a={"run": "echo one; while ! test -e go; do sleep 0.02; done; echo two"}, b={"run": "echo three"}))
    await agent.sees("Log", task="a")
    await gateway.cut()
    (workdir / "go").touch()
    await reaches(lambda: agent.said("the graph ended"))
    await asyncio.sleep(1)  # several tries fail
    await gateway.restore()
    assert (await agent.result())["outcome"] == "Success"
    assert await agent.printed("a") == "one\ntwo\n"
    assert await agent.printed("b") == "three\n"
    assert kinds(await agent.events())["TaskFinished"] == 2


async def test_a_gateway_that_is_not_there_yet_is_waited_for(start, gateway):
    await gateway.cut()
    agent = await start(chain(a={"run": "true"}))
    await reaches(lambda: agent.said("asking"))
    await gateway.restore()
    assert (await agent.result())["outcome"] == "Success"


async def test_overload_is_waited_out(start, faults):
    faults.answer(503, "Unavailable", times=2, headers={"Retry-After": "1"})
    faults.answer(429, "TooManyRequests", times=1, headers={"Retry-After": "0"})
    faults.answer(500, "Broken")
    agent = await start(chain(a={"run": "echo x"}))
    assert (await agent.result())["outcome"] == "Success"
    assert await agent.printed("a") == "x\n"


async def test_an_answer_that_was_lost_doubles_nothing(start, faults):
    faults.lose_answers(3)
    agent = await start(chain(**{f"t{i}": {"run": f"echo {i}"} for i in range(10)}))
    assert (await agent.result())["outcome"] == "Success"
    assert kinds(await agent.events()) == {
        "TaskStarted": 10,
        "TaskFinished": 10,
        "Log": 10 + len(await agent.events("Log", stream="agent")),
    }


async def test_a_gateway_that_lost_events_gets_the_rest_and_the_result(start, faults, gateway, workdir):
    agent = await start(chain(a={"run": "echo x"}, b={"run": "while ! test -e go; do sleep 0.02; done"}))
    await agent.sees("TaskStarted", task="b")
    faults.lose_events(agent.token, keep=2)
    (workdir / "go").touch()
    result = await agent.result()
    assert sorted(result["results"]) == ["a", "b"]
    assert await agent.events("TaskFinished", task="b")


async def test_a_malformed_event_is_dropped_alone(start, faults, gateway):
    def picky(request):
        return any("poison" in event.get("text", "") or event.get("value") == "poison" for event in request["events"])

    faults.refuse(picky)
    agent = await start(
        chain(a={"run": "echo fine; sleep 0.4; echo poison; sleep 0.4; echo better"}, b={"script": "result = 'poison'"})
    )
    assert (await agent.result())["outcome"] == "Success"
    assert await agent.printed("a") == "fine\nbetter\n"
    (event,) = await agent.events("TaskFinished", task="b")
    assert event["value"] == {"repr": "<refused by the gateway: 400 Malformed>"}
    assert kinds(await agent.events())["TaskFinished"] == 2


async def test_50_mb_of_prints(start):
    agent = await start(chain(a={"script": LINES.format(500_000, 90)}, b={"script": "result = 1"}))
    result = await agent.result(90)
    assert result["outcome"] == "Success"
    printed = await agent.printed("a")
    assert len(printed) == 500_000 * 101
    assert printed.splitlines()[123_456] == f"{123_456:09} " + "x" * 90
    assert result["results"]["b"][0]["value"] == 1


async def test_a_heartbeat_after_a_megabyte_of_log_is_small(start, faults, workdir):
    agent = await start(
        chain(a={"script": LINES.format(10_000, 90) + "import os, time\nwhile not os.path.exists('go'): time.sleep(0.02)"}),
        keep_alive=4.0,
    )

    async def heartbeats():
        found = [request for request in faults.requests if request.body and request.body.get("events") == []]
        return found if len(found) >= 2 else None

    found = await reaches(heartbeats)
    assert len(await agent.printed("a")) == 1_010_000
    assert max(request.bytes for request in found) <= 600
    (workdir / "go").touch()
    assert (await agent.result())["outcome"] == "Success"


async def test_bytes_that_are_no_text(start):
    write = "import os\nos.write(1, b'caf\\xc3')\nos.write(1, b'\\xa9 \\xff\\n')"
    agent = await start(chain(a={"script": write}, b={"run": "printf '\\377'"}))
    result = await agent.result()
    assert await agent.printed("a") == "café \ufffd\n"
    assert result["results"]["b"][0]["value"]["stdout"] == "\ufffd"


async def test_stamps_and_numbers(start):
    agent = await start(chain(a={"run": "echo x"}))
    await agent.result()
    events = [event for event in await agent.events() if event["kind"] != "Log"]
    with open("/proc/sys/kernel/random/boot_id") as file:  # noqa: ASYNC230
        boot = file.read().strip()
    assert {event["boot"] for event in events} == {boot}
    monos = [event["mono"] for event in events]
    assert monos == sorted(monos)
    assert all(abs(event["wall"] - os.stat(agent.errors).st_mtime) < 60 for event in events)


async def test_it_is_heard_while_blobs_are_uploaded_and_until_the_result_is_stored(start, faults):
    """Each part of a blob takes longer than two heartbeats."""
    faults.slow_blobs(2.5)
    agent = await start(chain(a={"script": "result = 'x' * 1_200_000"}), keep_alive=4.0)
    assert (await agent.result())["outcome"] == "Success"
    silences = [after - before for before, after in itertools.pairwise([*faults.heard, time.monotonic()])]
    assert max(silences) < 4.0


async def test_where_every_event_is_refused_the_result_gets_through(start, faults, gateway):
    faults.refuse(lambda request: bool(request["events"]))
    agent = await start(chain(a={"script": "result = 'x'"}))
    result = await agent.result(60)
    assert result["results"]["a"][0]["value"] == "x"
    assert result["lastSequence"] == 0
    assert await agent.said("an event was dropped")
    assert sum(request.path.endswith("/events") for request in faults.requests) < 40, "each a few times, and not for ever"
