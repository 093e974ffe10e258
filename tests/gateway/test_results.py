"""The final report."""

import asyncio
import hashlib
import io
import json
from datetime import UTC, datetime

import pytest
from unicorn_gateway.executor_api import limits
from unicorn_gateway.executor_api.results import final_state

pytestmark = pytest.mark.database


@pytest.mark.parametrize(
    ("outcome", "reason", "cancelled", "state", "because"),
    [
        ("Success", "", False, "Succeeded", ""),
        ("Success", "", True, "Succeeded", "it was done before it heard of the cancel"),
        ("Failure", "TaskFailed", False, "Failed", ""),
        ("Failure", "Cancelled", True, "Cancelled", "as was wanted"),
        ("Failure", "Cancelled", False, "Failed", "nobody wanted that"),
        ("Failure", "TaskFailed", True, "Failed", "its own failure"),
    ],
)
def test_final_state(outcome, reason, cancelled, state, because):
    assert final_state(outcome, reason, cancelled) == state, because


@pytest.fixture
async def agent(gateway, operator):
    (executor,) = await operator.experiment()
    agent = gateway.agent(executor)
    await agent.check_in()
    return agent


async def heard_by_the_operator(operator, action):
    """The notifications on the operator's channel while `action` runs."""
    heard = []

    def note(_connection, _pid, _channel, payload):
        heard.append(payload)

    async with operator.store.connection() as connection:
        await connection.add_listener("unicorn_experiment", note)
        await action
        await connection.execute("SELECT 1")  # notifications of what was committed before come with this answer
        await connection.remove_listener("unicorn_experiment", note)
    return heard


async def test_failure(agent, operator):
    answer = await agent.finish(outcome="Failure", reason="TaskFailed", message="task ping\x00 failed\x1b[31m", results={"a": []})
    assert answer.body == {"state": "Failed"}
    row = (await operator.all("SELECT * FROM unicorn.executor"))[0]
    assert (row["state"], row["reason"], row["message"]) == ("Failed", "TaskFailed", "task ping� failed[31m")
    assert row["finished_at"] is not None


async def test_the_first_result_counts(agent, operator):
    answers = await asyncio.gather(
        *(agent.finish(results={"n": n}) for n in range(5)), agent.finish(outcome="Failure", reason="TaskFailed")
    )
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body["state"] for answer in answers}) == 1
    assert await operator.one("SELECT count(*) FROM unicorn.result") == 1
    before = (await operator.all("SELECT * FROM unicorn.result, unicorn.executor"))[0]
    assert (await agent.finish(results={"n": 9})).body == answers[0].body
    assert (await operator.all("SELECT * FROM unicorn.result, unicorn.executor"))[0] == before


async def test_events_come_first(agent, operator):
    answer = await agent.finish(3)
    assert (answer.status, answer.reason, answer.body["expected"]) == (409, "SequenceGap", 1)
    assert await operator.one("SELECT count(*) FROM unicorn.result") == 0


async def test_a_cancelled_one_ends_cancelled(agent, operator):
    executor = await operator.one("SELECT id FROM unicorn.executor")
    await operator.set(executor, cancel_requested_at=datetime.now(UTC))
    assert (await agent.finish(outcome="Failure", reason="Cancelled")).body == {"state": "Cancelled"}


async def test_results_in_a_blob(agent, operator):
    content = json.dumps({"a": [{"outcome": "Success", "value": "x" * 2_000_000}]}).encode()
    digest = hashlib.sha256(content).hexdigest()
    missing = await agent.finish(blob=digest)
    assert (missing.status, missing.reason) == (400, "Malformed")
    await agent.call("PUT", f"/v2/executor/blobs/{digest}?offset=0&size={len(content)}", data=io.BytesIO(content))
    assert (await agent.finish(blob=digest)).body == {"state": "Succeeded"}
    assert await operator.one("SELECT blob FROM unicorn.result") == digest


async def test_what_the_operator_hears(gateway, operator):
    (executor,) = await operator.experiment()
    agent = gateway.agent(executor)
    uid = str(await operator.one("SELECT experiment_uid FROM unicorn.executor"))
    assert await heard_by_the_operator(operator, agent.check_in()) == [uid]
    assert await heard_by_the_operator(operator, agent.send(1)) == []
    event = {"kind": "LogDropped", "wall": 1, "mono": 1, "chunks": 1, "bytes": 1}
    assert await heard_by_the_operator(operator, agent.send(1, event)) == []
    assert await heard_by_the_operator(operator, agent.finish(1)) == [uid]
    assert await heard_by_the_operator(operator, agent.finish(1)) == []


@pytest.mark.parametrize("body", [{}, {"outcome": "Maybe", "lastSequence": 0}, {"outcome": "Success", "lastSequence": -1}, []])
async def test_malformed(agent, body):
    answer = await agent.call("PUT", "/v2/executor/result", json=body)
    assert (answer.status, answer.reason) == (400, "Malformed")


async def test_too_large(agent, operator):
    content = json.dumps({"outcome": "Success", "lastSequence": 0, "results": {"a": "x" * limits.RESULT_BODY}}).encode()
    answer = await agent.call("PUT", "/v2/executor/result", data=io.BytesIO(content))
    assert (answer.status, answer.reason) == (413, "TooLarge")
    assert await operator.one("SELECT count(*) FROM unicorn.result") == 0
    assert (await agent.finish(0)).status == 200, "the outcome alone"
