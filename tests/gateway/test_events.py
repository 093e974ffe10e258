"""Events: stored once and in order whatever is repeated or raced; quotas; lateness; what PostgreSQL cannot store."""

import asyncio
import io
import json
import random
from datetime import UTC, datetime

import pytest
from gateway_parts import eventually
from unicorn_gateway.executor_api import limits

pytestmark = pytest.mark.database
MOMENT = {"wall": 1790000000.5, "mono": 12.25}


def log(text="x", **more):
    return {"kind": "Log", "task": "t", "run": 1, "stream": "stdout", "text": text, **MOMENT, **more}


def finished(value=None, **more):
    return {"kind": "TaskFinished", "task": "t", "run": 1, "try": 1, "outcome": "Success", "value": value, **MOMENT, **more}


@pytest.fixture
async def agent(gateway, operator):
    (executor,) = await operator.experiment()
    agent = gateway.agent(executor)
    await agent.check_in()
    return agent


async def test_a_gap_stores_nothing_and_says_where_to_go_on(agent, operator):
    await agent.send(1, log())
    answer = await agent.send(3, log())
    assert (answer.status, answer.reason, answer.body["expected"]) == (409, "SequenceGap", 2)
    answer = await agent.send(3)
    assert (answer.status, answer.body["expected"]) == (409, 2)
    assert await operator.one("SELECT count(*) FROM unicorn.log_chunk") == 1


async def test_repeats_are_acknowledged_and_the_new_part_is_stored(agent, operator):
    await agent.send(1, log("1"), log("2"))
    assert (await agent.send(1, log("1"), log("2"))).body["stored"] == 2
    assert (await agent.send(2, log("other 2"), log("3"))).body["stored"] == 3
    texts = [row["content"] for row in await operator.all("SELECT content FROM unicorn.log_chunk ORDER BY seq")]
    assert texts == ["1", "2", "3"]


async def test_racing_repeats_at_two_gateways_lose_and_double_nothing(start, operator):
    one, two = await start(), await start()
    (executor,) = await operator.experiment()
    first = one.agent(executor)
    second = two.agent(executor, instance=first.instance)
    await first.check_in()
    chance, count = random.Random(7), 60

    async def send_all(agent):
        position = 1
        while position <= count:
            size = chance.randint(1, 5)
            events = [log(str(n)) for n in range(position, min(position + size, count + 1))]
            answer = await agent.send(position, *events)
            assert answer.status == 200, answer.body
            position = answer.body["stored"] + 1

    await asyncio.gather(*(send_all(agent) for agent in (first, second, first, second)))
    stored = await operator.all("SELECT seq, content FROM unicorn.log_chunk ORDER BY seq")
    assert [(row["seq"], row["content"]) for row in stored] == [(n, str(n)) for n in range(1, count + 1)]
    row = await operator.row(executor)
    assert (row["last_seq"], row["log_bytes"]) == (count, sum(len(str(n)) for n in range(1, count + 1)))


async def test_a_heartbeat_may_go_to_another_gateway_than_the_events(start, operator):
    one, two = await start(), await start()
    (executor,) = await operator.experiment()
    first = one.agent(executor)
    second = two.agent(executor, instance=first.instance)
    await first.check_in()
    assert (await second.send(1)).body["stored"] == 0
    await first.send(1, log())
    assert (await second.send(2)).body == {"stored": 1, "commands": []}


async def test_what_is_stored(agent, operator):
    await agent.send(
        1,
        {"kind": "TaskStarted", "task": "t", "run": 3, "try": 2, **MOMENT},
        finished({"a": [1, None]}, run=3),
        {**finished(), "value": {"repr": "<x>"}, "notJson": True},
        {"kind": "LogDropped", "chunks": 7, "bytes": 123, **MOMENT},
        {"kind": "Log", "stream": "agent", "text": "ü", **MOMENT},
    )
    rows = [dict(row) for row in await operator.all("SELECT * FROM unicorn.event ORDER BY seq")]
    assert [(row["seq"], row["kind"], row["task"], row["run"], row["try"]) for row in rows] == [
        (1, "TaskStarted", "t", 3, 2),
        (2, "TaskFinished", "t", 3, 1),
        (3, "TaskFinished", "t", 1, 1),
        (4, "LogDropped", None, None, None),
    ]
    assert [row["body"] for row in rows] == [
        {},
        {"outcome": "Success", "value": {"a": [1, None]}},
        {"outcome": "Success", "value": {"repr": "<x>"}, "notJson": True},
        {"chunks": 7, "bytes": 123},
    ]
    assert {(row["wall"], row["mono"], row["boot_id"], row["late"]) for row in rows} == {(1790000000.5, 12.25, "b", False)}
    chunk = (await operator.all("SELECT * FROM unicorn.log_chunk"))[0]
    assert (chunk["stream"], chunk["task"], chunk["content"]) == ("agent", None, "ü")
    assert (await operator.row(agent_id(rows)))["log_bytes"] == 2


def agent_id(rows):
    return rows[0]["executor_id"]


async def test_nul_and_lone_surrogates_become_the_replacement_character(agent, operator):
    events = [log("a\0b\ud800c😀"), finished({"k\0": ["\udc00"]})]
    body = json.dumps({"first": 1, "events": events})  # as escapes
    answer = await agent.call("POST", "/v2/executor/events", data=body)
    assert (answer.status, answer.body) == (200, {"stored": 2, "commands": []})
    assert await operator.one("SELECT content FROM unicorn.log_chunk") == "a�b�c😀"
    assert await operator.one("SELECT body FROM unicorn.event") == {"outcome": "Success", "value": {"k�": ["�"]}}


@pytest.mark.parametrize(
    ("body", "because"),
    [
        (b"", "nothing"),
        (b"\xff\xfe", "not UTF-8"),
        (b"[]", "no object"),
        (b'{"first": 0, "events": []}', "numbers begin with 1"),
        (b'{"first": "1", "events": []}', "a text is no number"),
        (b'{"first": 1}', "no events"),
        (b'{"first": 1, "events": [{"kind": "Other", "wall": 1, "mono": 1}]}', "unknown kind"),
        (b'{"first": 1, "events": [{"kind": "LogDropped", "wall": NaN, "mono": 1, "chunks": 1, "bytes": 1}]}', "not a number"),
        (b'{"first": 1, "events": [{"kind": "LogDropped", "wall": 1, "mono": 1, "chunks": -1, "bytes": 1}]}', "negative"),
        (
            b'{"first": 1, "events": [{"kind": "TaskFinished", "task": "t", "run": 1, "try": 1, "outcome": "Success",'
            b' "value": Infinity, "wall": 1, "mono": 1}]}',
            "not JSON",
        ),
        (
            b'{"first": 1, "events": [' + b",".join([b'{"kind":"Log","stream":"agent","wall":1,"mono":1}'] * 257) + b"]}",
            "over 256",
        ),
        (b'{"first": 1, "events": [' + b"[" * 100_000 + b"]" * 100_000 + b"]}", "too deep"),
        (b'{"first": 99999999999999999999, "events": []}', "over 64 bits"),
        (
            b'{"first": 1, "events": [{"kind":"Log","stream":"agent","wall":1,"mono":1,"blob":"' + b"0" * 64 + b'"}]}',
            "no such blob",
        ),
    ],
)
async def test_malformed_requests_store_nothing(agent, operator, body, because):
    answer = await agent.call("POST", "/v2/executor/events", data=body)
    assert (answer.status, answer.reason) == (400, "Malformed"), because
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert await operator.one("SELECT count(*) FROM unicorn.event") == 0
    assert await operator.one("SELECT max(last_seq) FROM unicorn.executor") == 0


async def test_a_body_that_is_too_large(agent, operator):
    body = b'{"first": 1, "events": [' + b" " * limits.EVENTS_BODY + b"]}"
    answer = await agent.call("POST", "/v2/executor/events", data=io.BytesIO(body))
    assert (answer.status, answer.reason) == (413, "TooLarge")

    async def chunks():
        for _ in range(40):
            yield b" " * 65536

    try:  # without a length; the gateway may close before all is sent
        answer = await agent.call("POST", "/v2/executor/events", data=chunks())
    except OSError:
        return
    assert (answer.status, answer.reason) == (413, "TooLarge")


async def test_the_log_quota_counts_what_it_cuts(agent, operator, gateway, monkeypatch):
    monkeypatch.setattr(limits, "LOG_QUOTA", 10)
    assert (await agent.send(1, log("12345"), log("67890"), log("more"))).body["stored"] == 3
    assert (await agent.send(4, log("even more"), finished(1))).body["stored"] == 5
    assert [r["seq"] for r in await operator.all("SELECT seq FROM unicorn.log_chunk ORDER BY seq")] == [1, 2]
    assert [r["seq"] for r in await operator.all("SELECT seq FROM unicorn.event")] == [5], "events are never cut"
    assert await operator.one("SELECT log_bytes FROM unicorn.executor") == 10 + 4 + 9
    async with gateway.http.get(gateway.url + "/metrics") as response:
        assert f"unicorn_gateway_log_bytes_truncated_total {float(4 + 9)}" in await response.text()


async def test_after_the_end_events_are_late_and_heartbeats_nothing(agent, operator):
    await agent.send(1, log())
    await agent.finish(1)
    ended = await operator.one("SELECT finished_at FROM unicorn.executor")
    await operator.set(await operator.one("SELECT id FROM unicorn.executor"), cancel_requested_at=datetime.now(UTC))
    assert (await agent.send(2, log(), finished())).body == {"stored": 3, "commands": []}
    assert (await agent.send(4)).body == {"stored": 3, "commands": []}
    assert [r["late"] for r in await operator.all("SELECT late FROM unicorn.log_chunk ORDER BY seq")] == [False, True]
    assert await operator.one("SELECT late FROM unicorn.event") is True
    row = (await operator.all("SELECT * FROM unicorn.executor"))[0]
    assert (row["state"], row["finished_at"]) == ("Succeeded", ended)


async def test_cancel_is_told_by_events_and_heartbeats(agent, operator, gateway):
    (executor,) = [r["id"] for r in await operator.all("SELECT id FROM unicorn.executor")]
    await operator.set(executor, cancel_requested_at=datetime.now(UTC))

    async def told():
        return (await agent.send(1)).body["commands"]

    assert await eventually(told, 5) == [{"command": "Cancel"}]
    assert (await agent.send(1, log())).body == {"stored": 1, "commands": [{"command": "Cancel"}]}


@pytest.mark.parametrize("how", ["events", "heartbeat"])
async def test_a_lost_one_that_reports_is_alive_again(agent, operator, how):
    (executor,) = [r["id"] for r in await operator.all("SELECT id FROM unicorn.executor")]
    await operator.set(executor, state="Lost", reason="Silence", finished_at=datetime.now(UTC))
    await agent.send(1, *([log()] if how == "events" else []))

    async def alive():
        return (await operator.row(executor))["state"] == "Running"

    await eventually(alive, 10)
    row = await operator.row(executor)
    assert (row["reason"], row["finished_at"]) == ("", None)


async def test_a_lost_one_of_a_final_experiment_is_late(agent, operator):
    (executor,) = [r["id"] for r in await operator.all("SELECT id FROM unicorn.executor")]
    await operator.set(executor, state="Lost")
    await operator.complete(executor)
    assert (await agent.send(1, log())).body["stored"] == 1
    assert await operator.one("SELECT late FROM unicorn.log_chunk") is True
    assert (await agent.finish(1)).body == {"state": "Lost"}
    assert (await operator.row(executor))["state"] == "Lost"
    assert await operator.one("SELECT late FROM unicorn.result") is True


async def test_nothing_before_the_check_in(gateway, operator):
    (executor,) = await operator.experiment()
    agent = gateway.agent(executor)
    for answer in (await agent.send(1, log()), await agent.send(1), await agent.finish()):
        assert (answer.status, answer.reason) == (410, "Revoked")
