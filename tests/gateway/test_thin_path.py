"""The whole life of an executor at the gateway, in one breath."""

import pytest

pytestmark = pytest.mark.database


async def test_from_check_in_to_result(gateway, operator):
    (executor,) = await operator.experiment(release_on_check_in=True)
    agent = gateway.agent(executor)
    assigned = await agent.check_in()
    assert assigned.status == 200, assigned.body
    assert assigned.body["state"] == "Released"
    assert assigned.body["graph"]["tasks"]["ping"]["run"] == "ping 10.0.0.1"
    assert assigned.body["nextSequence"] == 1
    assert assigned.body["heartbeatSeconds"] == 30
    moment = {"wall": 1790000000.5, "mono": 12.25}
    stored = await agent.send(
        1,
        {"kind": "TaskStarted", "task": "ping", "run": 1, "try": 1, **moment},
        {"kind": "Log", "task": "ping", "run": 1, "stream": "stdout", "text": "PING", **moment},
        {"kind": "TaskFinished", "task": "ping", "run": 1, "try": 1, "outcome": "Success", "value": {"exitCode": 0}, **moment},
    )
    assert (stored.status, stored.body) == (200, {"stored": 3, "commands": []})
    assert (await agent.send(4)).body == {"stored": 3, "commands": []}
    done = await agent.finish(3, results={"ping": [{"outcome": "Success", "value": {"exitCode": 0}}]})
    assert (done.status, done.body) == (200, {"state": "Succeeded"})
    row = await operator.row(executor)
    assert (row["state"], row["last_seq"], row["log_bytes"]) == ("Succeeded", 3, 4)
    assert [r["kind"] for r in await operator.all("SELECT kind FROM unicorn.event ORDER BY seq")] == [
        "TaskStarted",
        "TaskFinished",
    ]
    assert await operator.one("SELECT results FROM unicorn.result") == {
        "ping": [{"outcome": "Success", "value": {"exitCode": 0}}]
    }
    assert (await agent.check_in()).body == {"state": "Finished"}
