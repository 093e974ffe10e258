"""Who is let in by v1: every route of the table refuses what is not its own executor's."""

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import jwt
import pytest
from gateway_parts import eventually, signed
from unicorn_core import tokens
from unicorn_gateway.executor_api import limits
from unicorn_gateway.executor_api.routes import ROUTES
from unicorn_store import graphs
from v1_parts import V1Agent, outcome, serialized, v1_agent

pytestmark = pytest.mark.database
GUARDED = [route for route in ROUTES if route.token_in_path]
RESULT = "/api/v1/executor/result"


def forged(key, executor, *, headers=None, **more):
    claims = {"sub": str(executor), "aud": tokens.AUDIENCE, "exp": datetime.now(UTC) + timedelta(hours=1), "fence": 1, **more}
    return jwt.encode(claims, key.key, algorithm="EdDSA", headers=headers or {"kid": key.kid})


async def call(agent: V1Agent, route, **other):
    """A request that nothing is wrong with but, perhaps, whose it is."""
    ids = {"executor": str(agent.executor), "experiment": str(agent.experiment), **other}
    path = route.path.removeprefix("/x/{token}").replace("{experiment}", ids["experiment"]).replace("{name}", "x")
    bodies = {"result": {"executor_id": ids["executor"], "results": "", "state": 1}, "x": {"int_value": 1}}
    body = bodies.get(path.rstrip("/").rpartition("/")[2]) if route.method == "POST" else None
    return await agent.call(route.method, path, params={"executor_id": ids["executor"]}, **({"json": body} if body else {}))


@pytest.fixture
async def hasty(start):
    """A gateway that holds nothing for long."""
    return await start(netunicorn_hold=timedelta(seconds=0.05))


@pytest.fixture
async def agent(hasty, operator):
    (executor,) = await serialized(operator, b"graph")
    return await v1_agent(hasty, operator, executor)


def test_every_route_is_there_in_both_spellings():
    paths = {(route.method, route.path) for route in GUARDED}
    assert len(GUARDED) >= 16
    assert all((method, path + "/") in paths for method, path in paths if not path.endswith("/"))


@pytest.mark.parametrize("route", GUARDED, ids=lambda route: route.name)
async def test_without_a_valid_token_nothing_is_answered(hasty, operator, agent, route):
    mine, foreign, executor = hasty.key, tokens.new_key(), agent.executor
    bad = {
        "no token": "x.y.z",
        "expired": signed(mine, executor, expires_in=timedelta(seconds=-1)),
        "signed by a stranger": signed(foreign, executor),
        "signed by a stranger under our kid": forged(foreign, executor, headers={"kid": mine.kid}),
        "for somebody else": forged(mine, executor, aud="unicorn-user"),
        "unsigned": jwt.encode({"sub": str(executor)}, None, algorithm="none", headers={"kid": mine.kid}),
        "without a fence": forged(mine, executor, fence=None),
        "no executor": forged(mine, "me"),
        "huge": "x" * 20_000,
    }
    for why, token in bad.items():
        agent.token = token
        answer = await call(agent, route)
        assert (answer.status, answer.reason) == (401, "Unauthenticated"), why
        assert token not in json.dumps(answer.body), why
    assert (await operator.row(executor))["state"] == "Starting"


@pytest.mark.parametrize("route", GUARDED, ids=lambda route: route.name)
async def test_a_foreign_or_replayed_token_does_nothing(hasty, operator, agent, route):
    """Another executor's ids with its own token; then a token of an earlier start, and one of an executor that is not there."""
    (other,) = await serialized(operator, b"another graph")
    foreign = await v1_agent(hasty, operator, other)
    if "health" not in route.path:
        answer = await call(agent, route, executor=str(other), experiment=str(foreign.experiment))
        assert (answer.status, answer.reason) == (403, "Forbidden")
    assert (await outcome(operator, other)).row["state"] == "Starting"
    assert await operator.one("SELECT count(*) FROM unicorn.flag") == 0

    await operator.set(agent.executor, fence=2)
    stranger = V1Agent(hasty.http, hasty.url, signed(hasty.key, unknown := uuid4()), unknown, agent.experiment)
    for replayed in (agent, stranger):
        answer = await call(replayed, route)
        if "flag" in route.path:
            assert answer.status in (404, 410)
        elif "graph" in route.path or "pipeline" in route.path:
            assert (answer.status, answer.body) == (200, b""), "it ends"
        elif "result" in route.path:
            assert (answer.status, answer.body) == (200, None), "it is not sent again"
    assert await operator.one("SELECT count(*) FROM unicorn.executor_report") == 0
    assert await operator.one("SELECT count(*) FROM unicorn.flag") == 0
    assert (await outcome(operator, agent.executor)).row["instance"] in (None, "fence-1")


async def test_an_executor_of_v2_and_one_of_v1_exclude_each_other(hasty, operator, agent):
    v2 = hasty.agent(agent.executor)
    assert (await v2.check_in()).status == 200
    assert (await agent.graph()).body == b""
    assert (await agent.report(b"")).body is None
    (second,) = await serialized(operator, b"graph")
    theirs = await v1_agent(hasty, operator, second)
    assert (await theirs.graph()).status == 200
    assert (await hasty.agent(second).check_in()).reason == "InstanceSuperseded"


# --- what is held ------------------------------------------------------------------------------------------------------------


async def timed(request):
    began = time.monotonic()
    return await request, time.monotonic() - began


async def test_what_would_be_sent_again_at_once_is_held(start, operator):
    gateway = await start(netunicorn_hold=timedelta(seconds=1))
    (executor,) = await serialized(operator, b"graph", release_on_check_in=False)
    agent = await v1_agent(gateway, operator, executor)
    bad = V1Agent(gateway.http, gateway.url, "x.y.z", executor, agent.experiment)
    held = {
        "check-in, not released": agent.graph(),
        "check-in, bad token": bad.graph(),
        "check-in without an id": agent.call("GET", "/api/v1/executor/execution_graph"),
        "final report, bad token": bad.report(b""),
        "final report, no JSON": agent.call("POST", RESULT, data=b"{"),
        "final report, no JSON, other spelling": agent.call("POST", RESULT + "/", data=b'{"state": 2}'),
    }
    at_once = {
        "heartbeat": agent.report(b"", state=1),
        "heartbeat, bad token": bad.report(b"", state=1),
        "heartbeat, foreign": agent.report(b"", state=1, executor_id=str(uuid4())),
        "flag": agent.flag("GET", "never"),
        "flag, bad token": bad.flag("GET", "never"),
    }
    names = [*held, *at_once]
    answers = await asyncio.gather(*(timed(request) for request in (*held.values(), *at_once.values())))
    found = {name: (answer.status, seconds >= 1) for name, (answer, seconds) in zip(names, answers, strict=True)}
    assert found == {
        "check-in, not released": (204, True),
        "check-in, bad token": (401, True),
        "check-in without an id": (422, True),
        "final report, bad token": (401, True),
        "final report, no JSON": (422, True),
        "final report, no JSON, other spelling": (422, False),
        "heartbeat": (200, False),
        "heartbeat, bad token": (401, False),
        "heartbeat, foreign": (403, False),
        "flag": (404, False),
        "flag, bad token": (401, False),
    }


async def test_under_overload_only_what_would_be_sent_again_at_once_is_held(start, operator, monkeypatch):
    gateway = await start(netunicorn_hold=timedelta(seconds=4))
    (executor,) = await serialized(operator, b"graph", release_on_check_in=False)
    agent = await v1_agent(gateway, operator, executor)
    monkeypatch.setitem(gateway.settings.__dict__, "requests_in_flight", -1)
    requests = (agent.report(b"", state=1), agent.report(b"", state=2), agent.graph())
    answers = await asyncio.gather(*(timed(request) for request in requests))
    assert [(answer.status, seconds >= 4) for answer, seconds in answers] == [(503, False), (503, True), (503, True)]


async def test_who_has_lost_the_prefix_of_its_urls_is_held_as_strangers_are(start):
    """Else an executor whose endpoint somebody wrote by hand asks 800 times a second."""
    gateway = await start(netunicorn_hold=timedelta(seconds=4))
    paths = {
        ("GET", "/api/v1/executor/execution_graph"): True,
        ("GET", "/api/v1/executor/pipeline"): True,
        ("POST", "/api/v1/executor/result"): True,
        ("POST", "/api/v1/executor/result/"): False,  # a heartbeat
        ("GET", "/api/v1/experiment/x/flag/y"): False,
        ("GET", "/nothing"): False,
    }

    async def ask(method, path):
        async with gateway.http.request(method, gateway.url + path) as response:
            return response.status

    answers = await asyncio.gather(*(timed(ask(*each)) for each in paths))
    assert [(status, seconds >= 4) for status, seconds in answers] == [(404, held) for held in paths.values()]


async def test_a_process_that_stops_holds_nobody(start, operator):
    gateway = await start(netunicorn_hold=timedelta(seconds=60))
    (executor,) = await serialized(operator, b"graph", release_on_check_in=False)
    agent = await v1_agent(gateway, operator, executor)
    bad = V1Agent(gateway.http, gateway.url, "x.y.z", executor, agent.experiment)
    waiting = [asyncio.create_task(request) for request in (agent.graph(), bad.graph(), bad.report(b""))]

    async def checked_in():
        return (await operator.row(executor))["state"] == "CheckedIn"

    await eventually(checked_in)
    gateway.stop.set()
    async with asyncio.timeout(20):
        assert [answer.status for answer in await asyncio.gather(*waiting)] == [204, 401, 401]


async def test_whoever_is_too_fast_waits(start, operator):
    gateway = await start(requests_per_second=20, request_burst=5)
    (executor,) = await serialized(operator, b"graph")
    agent = await v1_agent(gateway, operator, executor)
    answers, seconds = await timed(asyncio.gather(*(agent.flag("POST", "f", "/increment") for _ in range(25))))
    assert {answer.status for answer in answers} == {200}
    assert seconds > 0.5
    assert (await agent.flag("GET", "f")).body == {"text_value": None, "int_value": 25}


async def test_strangers_are_held_in_bounded_numbers(start, operator, monkeypatch):
    monkeypatch.setattr(limits, "HELD_STRANGERS", 2)
    gateway = await start(netunicorn_hold=timedelta(seconds=1))
    (executor,) = await serialized(operator, b"graph", release_on_check_in=False)
    agent = await v1_agent(gateway, operator, executor)
    bad = V1Agent(gateway.http, gateway.url, "x.y.z", executor, agent.experiment)
    answers = await asyncio.gather(*(timed(bad.graph()) for _ in range(5)), *(timed(agent.graph()) for _ in range(3)))
    assert [answer.status for answer, _ in answers] == [401] * 5 + [204] * 3
    assert sorted(seconds >= 1 for _, seconds in answers) == [False] * 3 + [True] * 5


async def test_no_token_is_logged(hasty, agent, capsys, monkeypatch):
    with monkeypatch.context() as broken:
        broken.setattr(graphs, "read_graph_of", None)  # a fault of the gateway
        assert (await agent.graph()).status == 500
    await agent.graph()
    await agent.report(b"", state=1)
    await agent.flag("POST", "f", "/increment")
    await agent.call("GET", "/no/such/route")
    told = capsys.readouterr()
    assert "no/such" not in told.out + told.err
    assert "a request failed" in told.out
    assert agent.token not in told.out + told.err
    assert agent.token.split(".")[1] not in told.out + told.err
