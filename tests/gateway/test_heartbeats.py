"""Heartbeats: one statement a tick, whatever their number; reception; what happens while PostgreSQL is away."""

import asyncio
import hashlib
import time
from datetime import UTC, datetime

import asyncpg
import pytest
from gateway_parts import eventually
from unicorn_devcluster.postgres import Postgres

pytestmark = pytest.mark.database


async def checked_in(gateway, operator, count=1):
    agents = [gateway.agent(executor) for executor in await operator.experiment(count)]
    await asyncio.gather(*(agent.check_in() for agent in agents))
    return agents


async def test_a_tick_is_one_statement(gateway, operator, monkeypatch):
    agents = await checked_in(gateway, operator, 50)
    for agent in agents:
        assert (await agent.send(1)).status == 200
    statements = []
    for name in ("execute", "executemany", "fetch", "fetchrow", "fetchval"):
        monkeypatch.setattr(asyncpg.Connection, name, noted(getattr(asyncpg.Connection, name), statements))
    began = time.monotonic()
    for _ in range(20):
        answers = await asyncio.gather(*(agent.send(1) for agent in agents))
        assert {answer.status for answer in answers} == {200}
    ticks = [query for query in statements if "unnest" in query]
    others = [query for query in statements if "unnest" not in query and "pg_catalog" not in query]
    assert len(ticks) <= 2 + time.monotonic() - began, "1 000 heartbeats, a statement a second"
    assert not others, "a heartbeat costs none of its own"

    async def heard():
        return not await operator.one("SELECT count(*) FROM unicorn.executor WHERE heard_at < checked_in_at + interval '1 us'")

    await eventually(heard)


def noted(method, statements):
    async def call(self, query, *arguments, **more):
        statements.append(query)
        return await method(self, query, *arguments, **more)

    return call


async def test_a_heartbeat_is_written_by_the_next_tick(gateway, operator):
    (agent,) = await checked_in(gateway, operator)
    before = await operator.one("SELECT heard_at FROM unicorn.executor")
    await agent.send(1)

    async def heard():
        return (await operator.one("SELECT heard_at FROM unicorn.executor")) > before

    await eventually(heard, 10)


DIGEST = hashlib.sha256(b"x").hexdigest()
WHATEVER = [
    ("a look at a blob", "HEAD", f"/v2/executor/blobs/{DIGEST}", None),
    ("a part of a blob", "PUT", f"/v2/executor/blobs/{DIGEST}?offset=0&size=1", b"x"),
    ("a report of a serialized graph", "PUT", "/v2/executor/report", b"x"),
    ("the graph", "GET", "/v2/executor/graph", None),
    ("a flag", "GET", "/v2/flags/f", None),
]


@pytest.mark.parametrize(("what", "method", "path", "body"), WHATEVER, ids=[row[0] for row in WHATEVER])
async def test_whatever_an_executor_sends_it_is_heard(gateway, operator, what, method, path, body):
    (agent,) = await checked_in(gateway, operator)
    async with operator.store.connection() as connection:
        await connection.execute("UPDATE unicorn.executor SET heard_at = '2000-01-01'")
    await agent.call(method, path, data=body)

    async def heard():
        return (await operator.one("SELECT heard_at FROM unicorn.executor")).year > 2000

    await eventually(heard, 10)


async def test_another_instance_is_not_kept_alive(gateway, operator):
    """A heartbeat that was accepted from memory does not reach a row that was claimed by another instance meanwhile."""
    (agent,) = await checked_in(gateway, operator)
    async with operator.store.connection() as connection:
        await connection.execute("UPDATE unicorn.executor SET instance = repeat('f', 32), heard_at = '2000-01-01'")
    await agent.send(1)

    async def superseded():
        return (await agent.send(1)).status == 410

    await eventually(superseded, 10)
    assert (await operator.one("SELECT heard_at FROM unicorn.executor")).year == 2000


async def test_reception_restored_is_noted_after_an_outage_only(gateway, operator):
    async def ticked():
        return await operator.one("SELECT last_tick_at > $1 FROM unicorn.reception", started)

    started = datetime.now(UTC)
    await eventually(ticked, 10)
    steady = await operator.one("SELECT restored_at FROM unicorn.reception")
    started = datetime.now(UTC)
    await eventually(ticked, 10)
    assert await operator.one("SELECT restored_at FROM unicorn.reception") == steady
    async with operator.store.connection() as connection:
        await connection.execute("UPDATE unicorn.reception SET last_tick_at = now() - interval '6 s'")

    async def restored():
        return await operator.one("SELECT restored_at > $1 FROM unicorn.reception", steady)

    await eventually(restored, 10)


async def test_postgres_restarted_in_the_middle_loses_nothing(postgres: Postgres, gateway, operator):
    agents = await checked_in(gateway, operator, 5)
    sent, stopped, refused = [0] * 5, asyncio.Event(), set()

    async def report(number):
        position = 1
        while not stopped.is_set() or position < 20:
            event = {"kind": "LogDropped", "wall": 1, "mono": 1, "chunks": position, "bytes": 0}
            answer = await agents[number].send(position, event)
            if answer.status == 200:
                assert answer.body["stored"] == position
                position += 1
            else:
                assert (answer.status, answer.reason) == (503, "Unavailable")
                assert int(answer.headers["Retry-After"]) >= 1
                refused.add(number)
                await asyncio.sleep(0.05)
        sent[number] = position - 1

    async def restart():
        await asyncio.sleep(0.5)
        try:
            await asyncio.to_thread(postgres.stop)
            await asyncio.sleep(0.5)
        finally:
            await asyncio.shield(asyncio.to_thread(Postgres.start, postgres.directory))
        stopped.set()

    waiting = asyncio.create_task(agents[0].call("GET", "/v2/flags/f?wait=1&version=5"))
    await asyncio.gather(restart(), *(report(number) for number in range(5)))
    assert refused, "it was away"
    assert (await waiting).status in (200, 503)
    of_agent = "SELECT seq FROM unicorn.event JOIN unicorn.executor x ON x.id = executor_id WHERE instance = $1 ORDER BY seq"
    for number, agent in enumerate(agents):
        stored = await operator.all(of_agent, agent.instance)
        assert [row["seq"] for row in stored] == list(range(1, sent[number] + 1))

    async def well():
        async with gateway.http.get(gateway.url + "/readyz") as response:
            return response.status == 200

    await eventually(well)
    # News come again, too.
    (waiter,) = await operator.experiment(release_on_check_in=False)
    agent = gateway.agent(waiter)
    asking = asyncio.create_task(agent.check_in(wait=20))
    await asyncio.sleep(0.3)
    await operator.release(waiter)
    assert (await asking).body["state"] == "Released"


async def test_away_means_503_and_heartbeats_are_not_acknowledged(postgres: Postgres, gateway, operator):
    (agent,) = await checked_in(gateway, operator)
    await asyncio.to_thread(postgres.stop)
    try:

        async def refused():
            return (await agent.send(1)).status == 503

        await eventually(refused, 15)
        async with gateway.http.get(gateway.url + "/readyz") as response:
            assert response.status == 503
            assert (await response.json())["reason"] == "Unavailable"
        async with gateway.http.get(gateway.url + "/healthz") as response:
            assert response.status == 200
        for answer in (await agent.check_in(wait=0), await agent.finish(), await agent.call("GET", "/v2/flags/x")):
            assert (answer.status, answer.reason) == (503, "Unavailable")
    finally:
        await asyncio.to_thread(Postgres.start, postgres.directory)

    async def accepted():
        return (await agent.send(1)).status == 200

    await eventually(accepted)
