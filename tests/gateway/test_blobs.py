"""Blobs: resumable, checked, limited."""

import hashlib
import io

import pytest
from unicorn_gateway.executor_api import limits

pytestmark = pytest.mark.database


@pytest.fixture
async def agent(gateway, operator):
    (executor,) = await operator.experiment()
    agent = gateway.agent(executor)
    await agent.check_in()
    return agent


def named(content):
    return hashlib.sha256(content).hexdigest()


def put(agent, digest, content, offset, size):
    return agent.call("PUT", f"/v2/executor/blobs/{digest}?offset={offset}&size={size}", data=io.BytesIO(content))


async def head(agent, digest):
    answer = await agent.call("HEAD", f"/v2/executor/blobs/{digest}")
    return answer.status, answer.headers.get("Unicorn-Offset"), answer.headers.get("Unicorn-Complete")


async def test_in_parts(agent, operator):
    content = bytes(range(256)) * 20_000
    digest, cut = named(content), 4_000_000
    assert (await head(agent, digest))[0] == 404
    assert (await put(agent, digest, content[:cut], 0, len(content))).body == {"offset": cut, "complete": False}
    assert await head(agent, digest) == (200, str(cut), "false")
    wrong = await put(agent, digest, content[:cut], 0, len(content))
    assert (wrong.status, wrong.reason, wrong.body["expected"]) == (409, "OffsetMismatch", cut)
    assert (await put(agent, digest, content[cut:], cut, len(content))).body == {"offset": len(content), "complete": True}
    assert await head(agent, digest) == (200, str(len(content)), "true")
    assert (await put(agent, digest, content[cut:], cut, len(content))).body == {"offset": len(content), "complete": True}
    parts = await operator.all("SELECT content FROM unicorn.blob_part ORDER BY start")
    assert b"".join(part["content"] for part in parts) == content
    assert await operator.one("SELECT blob_bytes FROM unicorn.executor") == len(content)


async def test_the_empty_one(agent):
    assert (await put(agent, named(b""), b"", 0, 0)).body == {"offset": 0, "complete": True}


async def test_wrong_bytes_are_discarded(agent, operator):
    digest = named(b"right")
    answer = await put(agent, digest, b"wrong", 0, 5)
    assert (answer.status, answer.reason) == (422, "DigestMismatch")
    assert (await head(agent, digest))[0] == 404
    assert await operator.one("SELECT blob_bytes FROM unicorn.executor") == 0
    assert (await put(agent, digest, b"right", 0, 5)).body["complete"] is True


async def test_limits(agent, operator, monkeypatch):
    digest = named(b"x")
    assert (await put(agent, digest, b"x", 0, limits.BLOB + 1)).status == 413
    assert (await put(agent, digest, b" " * (limits.BLOB_PART + 1), 0, limits.BLOB)).status == 413
    for refused in (put(agent, "zz", b"x", 0, 1), put(agent, digest, b"xy", 0, 1), put(agent, digest, b"x", "-1", 1)):
        answer = await refused
        assert (answer.status, answer.reason) == (400, "Malformed")
    assert (await agent.call("PUT", f"/v2/executor/blobs/{digest}", data=b"x")).status == 400
    monkeypatch.setattr(limits, "BLOBS_OF_EXECUTOR", 10)
    assert (await put(agent, named(b"12345678"), b"12345678", 0, 8)).status == 200
    assert (await put(agent, named(b"abc"), b"abc", 0, 3)).status == 413
    assert await operator.one("SELECT count(*) FROM unicorn.blob") == 1


async def test_an_event_may_name_a_complete_blob_only(agent, operator):
    content = b'"' + b"v" * 20_000 + b'"'
    digest = named(content)
    event = {"kind": "TaskFinished", "task": "t", "run": 1, "try": 1, "outcome": "Success", "blob": digest, "wall": 1, "mono": 1}
    await put(agent, digest, content[:10], 0, len(content))
    assert (await agent.send(1, event)).status == 400
    await put(agent, digest, content[10:], 10, len(content))
    assert (await agent.send(1, event)).body["stored"] == 1
    assert await operator.one("SELECT body FROM unicorn.event") == {"outcome": "Success", "blob": digest}


async def test_blobs_belong_to_one_executor(agent, gateway, operator):
    await put(agent, named(b"x"), b"x", 0, 1)
    (other,) = await operator.experiment()
    stranger = gateway.agent(other)
    await stranger.check_in()
    assert (await head(stranger, named(b"x")))[0] == 404
