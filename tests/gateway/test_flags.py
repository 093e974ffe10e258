"""Flags and barriers, also over two gateways."""

import asyncio

import pytest
from unicorn_gateway.executor_api import limits

pytestmark = pytest.mark.database


async def team(operator, *gateways, size=2):
    """Executors of one experiment that run, spread over these gateways."""
    executors = await operator.experiment(size)
    agents = [gateways[n % len(gateways)].agent(executor) for n, executor in enumerate(executors)]
    for agent in agents:
        assert (await agent.check_in()).body["state"] == "Released"
    return agents


def put(agent, name, run=1, operation=1, **body):
    return agent.call("PUT", f"/v2/flags/{name}", json={"run": run, "operation": operation, **body})


def post(agent, name, run=1, operation=1, **body):
    return agent.call("POST", f"/v2/flags/{name}", json={"run": run, "operation": operation, **body})


def met(agent, name, run=1, operation=1, wait=20):
    return agent.call("GET", f"/v2/flags/{name}/barrier?wait={wait}&run={run}&operation={operation}")


async def test_a_flag_is_shared_by_the_experiment_only(gateway, operator):
    one, two = await team(operator, gateway)
    (stranger,) = await team(operator, gateway, size=1)
    assert (await one.call("GET", "/v2/flags/f")).body == {"name": "f", "text": None, "integer": 0, "version": 0}
    written = {"name": "f", "text": "a", "integer": 0, "version": 1}
    assert (await put(one, "f", text="a")).body == written
    assert (await two.call("GET", "/v2/flags/f")).body == written
    assert (await stranger.call("GET", "/v2/flags/f")).body["version"] == 0
    assert (await put(two, "f", integer=-5)).body == {"name": "f", "text": "a", "integer": -5, "version": 2}
    assert (await post(two, "f", operation=2, add=7)).body["integer"] == 2


async def test_names_may_be_anything_printable(gateway, operator):
    (agent,) = await team(operator, gateway, size=1)
    assert (await put(agent, "a%20%C3%BC%2F%25", integer=1)).body["name"] == "a ü/%"
    for name in ("%00", "x" * 129, "a%0Ab"):
        answer = await put(agent, name, integer=1)
        assert (answer.status, answer.reason) == (400, "Malformed")


async def test_a_write_is_applied_once_and_a_repeat_gets_the_first_answer(start, operator):
    one, two = await start(), await start()
    (agent,) = await team(operator, one, size=1)
    same = two.agent(await operator.one("SELECT id FROM unicorn.executor"), instance=agent.instance)
    answers = await asyncio.gather(*(post(who, "n", add=1) for who in (agent, same) * 5))
    assert {(answer.status, answer.body["integer"], answer.body["version"]) for answer in answers} == {(200, 1, 1)}
    await post(agent, "n", operation=2, add=1)
    assert (await post(same, "n", add=1)).body["integer"] == 1, "the first answer"
    assert (await agent.call("GET", "/v2/flags/n")).body["integer"] == 2


async def test_adding_at_once_loses_nothing(start, operator):
    agents = await team(operator, await start(), await start(), size=8)
    await asyncio.gather(*(post(agent, "n", operation=n, add=1) for agent in agents for n in range(1, 6)))
    assert (await agents[0].call("GET", "/v2/flags/n")).body == {"name": "n", "text": None, "integer": 40, "version": 40}


async def test_compare_and_set(gateway, operator):
    one, two = await team(operator, gateway)
    first = await asyncio.gather(put(one, "lock", text="one", ifVersion=0), put(two, "lock", text="two", ifVersion=0))
    assert sorted(answer.status for answer in first) == [200, 409]
    lost = next(answer for answer in first if answer.status == 409)
    won = next(answer for answer in first if answer.status == 200)
    assert (lost.reason, lost.body["flag"]) == ("Conflict", won.body)
    assert (await put(one, "lock", operation=2, text="x", ifVersion=7)).status == 409
    assert (await put(one, "lock", operation=3, text="x", ifVersion=1)).body["version"] == 2
    assert (await put(one, "lock", operation=2, text="x", ifVersion=7)).status == 409, "a repeat gets the first answer"
    assert (await put(one, "new", operation=4, text="x", ifVersion=3)).body["flag"]["version"] == 0


async def test_64_bits(gateway, operator):
    (agent,) = await team(operator, gateway, size=1)
    assert (await put(agent, "n", integer=2**63 - 1)).body["integer"] == 2**63 - 1
    answer = await post(agent, "n", operation=2, add=1)
    assert (answer.status, answer.reason) == (422, "OutOfRange")
    assert (await put(agent, "n", operation=3, integer=-(2**63))).body["integer"] == -(2**63)
    assert (await post(agent, "n", operation=4, add=-1)).status == 422
    for value in (2**63, -(2**63) - 1):
        assert (await put(agent, "n", operation=5, integer=value)).status == 422
        assert (await post(agent, "n", operation=5, add=value)).status == 422
    assert (await put(agent, "n", operation=5, text="ok")).body["version"] == 3


async def test_limits(gateway, operator, monkeypatch):
    monkeypatch.setattr(limits, "FLAGS", 2)
    (agent,) = await team(operator, gateway, size=1)
    assert (await put(agent, "a", text="ü" * 32768)).status == 200
    answer = await put(agent, "b", operation=2, text="ü" * 32769)
    assert (answer.status, answer.reason) == (413, "TooLarge")
    assert (await put(agent, "b", operation=2, text="x\0y")).body["text"] == "x�y"
    answer = await put(agent, "c", operation=3, integer=1)
    assert (answer.status, answer.reason) == (422, "TooManyFlags")
    assert (await put(agent, "a", operation=3, integer=1)).status == 200
    for body in ({}, {"integer": 1.5}, {"integer": True}, {"text": 1}):
        assert (await put(agent, "a", operation=9, **body)).status == 400
    assert (await post(agent, "a", operation=9)).status == 400
    assert (await post(agent, "a", operation=9, add=1, barrier=True)).status == 400


async def test_waiting_hears_of_a_write_at_another_gateway(start, operator):
    one, two = await team(operator, await start(), await start())
    waiting = asyncio.create_task(one.call("GET", "/v2/flags/f?wait=30&version=0"))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    began = asyncio.get_running_loop().time()
    await put(two, "f", integer=1)
    assert (await waiting).body["version"] == 1
    assert asyncio.get_running_loop().time() - began < 2
    assert (await one.call("GET", "/v2/flags/f?wait=30&version=0")).body["version"] == 1, "it is above already"
    assert (await one.call("GET", "/v2/flags/f?wait=1&version=1")).body["version"] == 1, "after the time, as it is"


async def test_a_barrier_opens_when_the_last_arrives(start, operator):
    one, two, three = await team(operator, await start(), await start(), size=3)
    assert (await post(one, "b", barrier=True)).body == {"open": False, "arrived": 1, "members": 3, "version": 1}
    assert (await post(two, "b", barrier=True)).body["arrived"] == 2
    waiting = [asyncio.create_task(met(agent, "b")) for agent in (one, two)]
    await asyncio.sleep(0.2)
    assert not any(task.done() for task in waiting)
    assert (await post(three, "b", barrier=True)).body["open"] is True
    for task in waiting:
        assert (await task).body == {"open": True, "arrived": 3, "members": 3, "version": 1}
    assert (await post(three, "b", barrier=True)).body == {"open": True, "arrived": 3, "members": 3, "version": 1}, "a repeat"


async def test_the_nth_arrival_belongs_to_the_nth_meeting(gateway, operator):
    one, two = await team(operator, gateway)
    await asyncio.gather(post(one, "b", run=1, barrier=True), post(two, "b", run=4, barrier=True))
    assert (await met(one, "b", run=1)).body["open"] is True
    second = await post(one, "b", run=2, barrier=True)
    assert second.body == {"open": False, "arrived": 1, "members": 2, "version": 2}
    assert (await met(one, "b", run=1)).body["open"] is True, "the first meeting stays open"
    assert (await post(two, "b", run=5, barrier=True)).body == {"open": True, "arrived": 2, "members": 2, "version": 2}
    answer = await met(one, "b", run=77)
    assert (answer.status, answer.reason) == (404, "NotFound")


@pytest.mark.parametrize("how", ["lost", "finished", "failed at rendering"])
async def test_a_member_that_leaves_is_not_waited_for(start, operator, how):
    one, two = await team(operator, await start(), await start())
    await post(one, "b", barrier=True)
    waiting = asyncio.create_task(met(one, "b"))
    await asyncio.sleep(0.2)
    began = asyncio.get_running_loop().time()
    other = await operator.one("SELECT id FROM unicorn.executor WHERE instance = $1", two.instance)
    if how == "lost":
        await operator.set(other, state="Lost")
    elif how == "finished":
        await two.finish()
    else:
        await operator.set(other, state="Failed")
    assert (await waiting).body == {"open": True, "arrived": 1, "members": 1, "version": 1}
    assert asyncio.get_running_loop().time() - began < 2.5, "by notification"


async def test_one_that_is_not_released_is_no_member(gateway, operator):
    one, two = await operator.experiment(2)
    agent = gateway.agent(one)
    await agent.check_in()
    await operator.set(two, release_on_check_in=False)
    await gateway.agent(two).check_in(wait=0)
    assert (await post(agent, "b", barrier=True)).body["open"] is True


async def test_many_meet(start, operator):
    agents = await team(operator, await start(), await start(), size=40)

    async def meet(agent):
        answer = await post(agent, "b", barrier=True)
        return answer if answer.body["open"] else await met(agent, "b")

    answers = await asyncio.gather(*(meet(agent) for agent in agents))
    assert {(a.body["open"], a.body["members"]) for a in answers} == {(True, 40)}


async def test_a_superseded_one_writes_nothing(gateway, operator):
    (agent,) = await team(operator, gateway, size=1)
    executor = await operator.one("SELECT id FROM unicorn.executor")
    await operator.set(executor, instance="f" * 32)
    answer = await put(agent, "f", integer=1)
    assert (answer.status, answer.reason) == (410, "InstanceSuperseded")
    assert await operator.one("SELECT count(*) FROM unicorn.flag") == 0
