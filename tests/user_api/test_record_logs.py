"""Logs of records v2: ranges, followed by numbers and as text, and how many of them at once."""

import asyncio
from contextlib import AsyncExitStack
from uuid import UUID

import pytest
from e2e_kit import eventually
from structlog.testing import capture_logs


@pytest.fixture
async def printed(lab):
    """The path of an executor that has printed."""
    id = await lab.executor(await lab.experiment())
    await lab.log(id, 1, "hello\n")
    await lab.log(id, 2, "out\n", "a", "stdout")
    await lab.log(id, 4, "err\n", "a", "stderr")
    await lab.log(id, 5, "other\n", "b", "stdout")
    return f"/e/executors/{id}"


RANGES = [
    ({}, "hello\nout\nerr\nother\n"),
    ({"after": 2}, "err\nother\n"),
    ({"task": "a"}, "out\nerr\n"),
    ({"stream": "stdout"}, "out\nother\n"),
    ({"stream": "stdout,agent", "after": 1}, "out\nother\n"),
    ({"tail": 2}, "err\nother\n"),
    ({"tail": 1, "stream": "stderr"}, "err\n"),
    ({"tail": 100, "after": 4}, "other\n"),
    ({"task": "nobody"}, ""),
]


async def test_ranges_of_a_log(lab, printed):
    for query, text in RANGES:
        chunks = (await lab.get(f"{printed}/logs", **query)).body
        assert "".join(chunk["text"] for chunk in chunks["items"]) == text, query
        assert not chunks["ended"]
        answer = await lab.get(f"{printed}/logs/text", **query)
        assert (answer.status, answer.body.decode()) == (200, text), query
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"


async def test_a_log_is_followed_by_its_numbers(lab, printed):
    first = (await lab.get(f"{printed}/logs", limit=3)).body
    assert (first["next"], first["ended"]) == (4, False)
    rest = (await lab.get(f"{printed}/logs", after=first["next"])).body
    assert ([chunk["text"] for chunk in rest["items"]], rest["next"]) == (["other\n"], 5)
    waiting = asyncio.create_task(lab.get(f"{printed}/logs", after=5, wait=30))
    await lab.log(UUID(printed.rpartition("/")[2]), 6, "news\n")
    assert [chunk["text"] for chunk in (await waiting).body["items"]] == ["news\n"]
    assert (await lab.get(f"{printed}/logs", after=6)).body == {"items": [], "next": 6, "ended": False}
    await lab.execute("UPDATE unicorn.executor SET state = 'Succeeded'")
    assert (await lab.get(f"{printed}/logs", after=6, wait=60)).body == {"items": [], "next": 6, "ended": True}


async def test_a_text_is_followed_to_its_end(lab, printed):
    id = UUID(printed.rpartition("/")[2])
    url = f"{lab.api.url}{lab.path}{printed}/logs/text?follow=true&after=4"
    async with lab.api.http.get(url, headers={"Authorization": f"Bearer {lab.user.token}"}) as response:
        assert await response.content.readline() == b"other\n"
        await lab.log(id, 7, "more\n")
        assert await response.content.readline() == b"more\n"
        await lab.log(id, 8, "last\n")
        await lab.execute("UPDATE unicorn.executor SET state = 'Failed'")
        assert await response.content.read() == b"last\n"


async def test_a_reader_that_leaves_before_the_end_is_no_fault(lab, printed):
    url = f"{lab.api.url}{lab.path}{printed}/logs/text?follow=true&after=4"
    with capture_logs() as said:
        async with lab.api.http.get(url, headers={"Authorization": f"Bearer {lab.user.token}"}) as response:
            assert await response.content.readline() == b"other\n"
            response.close()
        await lab.execute("UPDATE unicorn.executor SET state = 'Succeeded'")

        async def is_over():
            return [entry for entry in said if entry["event"] == "request"]

        (entry,) = await eventually(is_over, "the request is over", 20)
    assert entry["status"] == 200
    assert not [entry for entry in said if entry["log_level"] == "error"]


async def test_a_user_has_so_many_long_polls_at_once(lab, printed):
    most = lab.api.settings.user_requests_waiting
    polls = [asyncio.create_task(lab.get(f"{printed}/logs", after=10**6, wait=10)) for _ in range(most + 1)]
    done, pending = await asyncio.wait(polls, return_when=asyncio.FIRST_COMPLETED)
    assert [(task.result().status, task.result().reason) for task in done] == [(429, "TooManyRequests")]
    assert (await lab.get("/e")).status == 200, "other requests are not held up"
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)


async def test_a_user_follows_so_many_logs_at_once(lab, printed):
    url = f"{lab.api.url}{lab.path}{printed}/logs/text"
    headers = {"Authorization": f"Bearer {lab.user.token}"}
    async with AsyncExitStack() as stack:
        answers = [
            await stack.enter_async_context(lab.api.http.get(url, params={"follow": "true"}, headers=headers)) for _ in range(21)
        ]
        assert [answer.status for answer in answers] == [200] * 20 + [429]
