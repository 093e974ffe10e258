"""What the fake can do beyond the contract: it obeys tests, and its executors can speak with a gateway."""

import asyncio
import uuid
from datetime import timedelta

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from unicorn_connectors import fake
from unicorn_core.connector import (
    ConnectorContext,
    Done,
    Exited,
    Failed,
    Gateway,
    Handle,
    Node,
    Order,
    Unknown,
    Unobservable,
    Unreachable,
)
from unicorn_core.errors import Broken


@pytest.fixture
async def make():
    names = []

    def create(notify=None, **config):
        name = f"world-{uuid.uuid4()}"
        names.append(name)
        context = ConnectorContext("c", "default", "uid", fake.FakeConfig(world=name, **config), notify=notify)
        return fake.TYPE.create(context)

    yield create
    for name in names:
        await fake.forget(name)


def an_order(node="fake-0", endpoint="http://127.0.0.1:1"):
    return Order(Handle(uuid.uuid4(), Node(node), "default", "e", 1), "e/1/d/0", Gateway(endpoint), token="T")


async def test_it_offers_devices_and_a_pool(make):
    found = await make(nodes=2, elastic=50, capacity=3).discover()
    assert [(node.name, node.capacity, node.elastic_max) for node in found] == [
        ("fake-0", 3, None),
        ("fake-1", 3, None),
        ("fake-pool", 1, 50),
    ]


async def test_a_fault_is_answered_as_often_as_asked_and_only_where_asked(make):
    connector = make(nodes=2)
    connector.world.fail("start", Failed("Burnt"), node="fake-1", times=1)
    here, there = an_order("fake-0"), an_order("fake-1")
    first = await connector.start([here, there])
    assert (first[here.handle.executor], first[there.handle.executor]) == (Done(), Failed("Burnt"))
    assert (await connector.start([there])) == {there.handle.executor: Done()}


async def test_an_unknown_outcome_may_have_taken_effect(make):
    connector, order = make(), an_order()
    connector.world.fail("start", Unknown(), takes_effect=True)
    assert (await connector.start([order])) == {order.handle.executor: Unknown()}
    assert isinstance((await connector.start([order]))[order.handle.executor], Done)
    assert connector.world.starts[order.handle.executor] == 1


async def test_a_verb_can_raise(make):
    connector = make()
    connector.world.fail("observe", Broken("no"))
    with pytest.raises(Broken):
        await connector.observe([])
    assert await connector.observe([]) == {}


async def test_nodes_can_be_unreachable_or_unobservable(make):
    connector, order = make(nodes=2), an_order("fake-0")
    connector.world.unreachable.add("fake-0")
    connector.world.unobservable.add("fake-1")
    assert isinstance((await connector.start([order]))[order.handle.executor], Unknown)
    assert isinstance((await connector.stop([order.handle], timedelta()))[order.handle.executor], Unknown)
    seen = await connector.observe([Node("fake-0"), Node("fake-1")])
    assert isinstance(seen["fake-0"], Unreachable)
    assert isinstance(seen["fake-1"], Unobservable)


async def test_an_executor_that_ends_is_news(make):
    news, order = [], an_order()
    connector = make(notify=news.append)
    await connector.start([order])
    connector.world.exit(order.handle.executor, 137, "OOMKilled")
    assert news == [order.handle.executor]
    assert (await connector.observe([Node("fake-0")]))["fake-0"].executors == {order.handle.executor: Exited(137, "OOMKilled")}


async def test_its_agent_checks_in_waits_for_its_release_and_reports(make):
    answers = [
        web.json_response({}, status=503, headers={"Retry-After": "0"}),
        web.json_response({"state": "Waiting"}),
        web.json_response({"state": "Released", "nextSequence": 1}),
    ]
    results, instances = [], set()

    async def assignment(request):
        assert request.headers["Authorization"] == "Bearer T"
        instances.add(request.headers["Unicorn-Instance"])
        return answers.pop(0)

    async def result(request):
        results.append(await request.json())
        return web.json_response({"state": "Succeeded"})

    application = web.Application()
    application.router.add_get("/v2/executor/assignment", assignment)
    application.router.add_put("/v2/executor/result", result)
    server = TestServer(application)
    await server.start_server()
    ended = asyncio.Event()
    order = an_order(endpoint=str(server.make_url("")).rstrip("/"))
    connector = make(agent="NoOp", notify=lambda _: ended.set())
    await connector.start([order])
    await asyncio.wait_for(ended.wait(), 10)
    await server.close()
    assert results == [{"outcome": "Success", "lastSequence": 0, "results": {}}]
    assert len(instances) == 1
    assert (await connector.observe([Node("fake-0")]))["fake-0"].executors == {order.handle.executor: Exited(0)}
