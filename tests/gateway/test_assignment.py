"""Check-in: who gets the row, when it is released, what is answered in each state."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from gateway_parts import GRAPH
from unicorn_gateway.executor_api.assignment import Situation, Step, decide

NOW = datetime.now(UTC)


@pytest.mark.parametrize(
    ("situation", "step", "because"),
    [
        ({"state": "Starting", "started": True}, Step.CLAIM, "its start was tried, so it may be here"),
        ({"state": "Starting"}, Step.WAIT, "nobody can have been started yet"),
        ({"state": "Prepared"}, Step.WAIT, "the operator has the next move"),
        ({"state": "CheckedIn", "claimed": True}, Step.WAIT, "not released yet"),
        ({"state": "CheckedIn"}, Step.CLAIM, "nobody has claimed it"),
        ({"state": "Running", "claimed": True, "released": True}, Step.RUN, "released"),
        ({"state": "Running", "released": True}, Step.CLAIM, "released, but claimed by nobody"),
        ({"state": "CheckedIn", "claimed": True, "cancel": True}, Step.CANCELLED, "cancelled before its release"),
        (
            {"state": "Running", "claimed": True, "released": True, "cancel": True},
            Step.RUN,
            "the running one is told by its events",
        ),
        ({"state": "Cancelled"}, Step.CANCELLED, "final"),
        ({"state": "Succeeded"}, Step.FINISHED, "final"),
        ({"state": "Failed"}, Step.FINISHED, "final"),
        ({"state": "Lost"}, Step.REVIVE, "alive again"),
        ({"state": "Lost", "over": True}, Step.FINISHED, "its experiment is final"),
    ],
)
def test_decide(situation, step, because):
    defaults = {"started": False, "claimed": False, "cancel": False, "released": False, "over": False}
    assert decide(Situation(**{**defaults, **situation})) is step, because


@pytest.mark.database
class TestCheckIn:
    async def test_it_waits_for_the_release_and_hears_of_it_at_once(self, gateway, operator):
        (executor,) = await operator.experiment(release_on_check_in=False)
        agent = gateway.agent(executor)
        assert (await agent.check_in(wait=0)).body == {"state": "Waiting"}
        row = await operator.row(executor)
        assert (row["state"], row["instance"], row["released_at"]) == ("CheckedIn", agent.instance, None)
        waiting = asyncio.create_task(agent.check_in(wait=30))
        await asyncio.sleep(0.1)
        began = asyncio.get_running_loop().time()
        await operator.release(executor)
        assert (await waiting).body["state"] == "Released"
        assert asyncio.get_running_loop().time() - began < 2, "by notification, not by polling"

    @pytest.mark.parametrize(("verb", "state"), [("Stop", "CheckedIn"), ("Cleanup", "Running")])
    async def test_who_is_being_stopped_is_not_released_at_its_check_in(self, gateway, operator, verb, state):
        (executor,) = await operator.experiment(release_on_check_in=True)
        async with operator.store.connection() as connection:
            await operator.store.queries.operate_end(connection, ids=[executor], verb=verb)
        await gateway.agent(executor).check_in(wait=0)
        row = await operator.row(executor)
        assert (row["state"], row["released_at"] is None) == (state, state == "CheckedIn")

    async def test_the_assignment(self, gateway, operator):
        graph = {
            **GRAPH,
            "tasks": {"a": {"script": "x = $(node.properties.rack), $(executor.index)"}, "b": {"run": "$(date) $(node.name)"}},
        }
        (executor,) = await operator.experiment(graph=graph, report_results=False)
        body = (await gateway.agent(executor).check_in()).body
        assert body["executor"] == {
            "id": str(executor),
            "index": 0,
            "attempt": 1,
            "deployment": "clients",
            "node": "rpi-1",
            "experiment": "hello",
            "experimentUid": str(await operator.one("SELECT uid FROM unicorn.experiment")),
            "namespace": "default",
        }
        assert body["graph"]["tasks"]["a"]["script"] == "x = 4, 0"
        assert body["graph"]["tasks"]["b"]["run"] == "$(date) rpi-1"
        assert body["graph"]["reportResults"] is False
        assert (body["keepAliveSeconds"], body["nextSequence"]) == (600.0, 1)

    async def test_the_first_of_two_instances_gets_the_row_at_two_gateways(self, start, operator):
        one, two = await start(), await start()
        executors = await operator.experiment(20)
        for executor in executors:
            first, second = one.agent(executor), two.agent(executor)
            answers = await asyncio.gather(first.check_in(), second.check_in())
            assert sorted(answer.status for answer in answers) == [200, 410]
            winner, loser = (first, second) if answers[0].status == 200 else (second, first)
            superseded = answers[0] if answers[0].status == 410 else answers[1]
            assert superseded.reason == "InstanceSuperseded"
            assert (await operator.row(executor))["instance"] == winner.instance
            for path, method in (("/v2/executor/events", "POST"), ("/v2/flags/x", "GET")):
                refused = await loser.call(method, path, json={"first": 1, "events": []} if method == "POST" else None)
                assert (refused.status, refused.reason) == (410, "InstanceSuperseded")
            assert (await winner.send(1)).status == 200

    async def test_the_same_instance_gets_it_again(self, gateway, operator):
        (executor,) = await operator.experiment()
        agent = gateway.agent(executor)
        await agent.check_in()
        await agent.send(1, {"kind": "LogDropped", "wall": 1, "mono": 1, "chunks": 1, "bytes": 1})
        again = await agent.check_in()
        assert (again.body["state"], again.body["nextSequence"]) == ("Released", 2)

    async def test_a_superseded_start_is_revoked_everywhere(self, gateway, operator):
        (executor,) = await operator.experiment()
        agent = gateway.agent(executor, fence=1)
        await agent.check_in()
        await operator.set(executor, fence=2)
        for answer in (
            await agent.check_in(),
            await agent.finish(),
            await agent.call("PUT", "/v2/flags/x", json={"integer": 1, "run": 1, "operation": 1}),
        ):
            assert (answer.status, answer.reason) == (410, "Revoked")

    @pytest.mark.parametrize("state", ["Pending", "Preparing", "Prepared"])
    async def test_nobody_checks_in_before_a_start(self, gateway, operator, state):
        (executor,) = await operator.experiment()
        await operator.set(executor, state=state, started=False)
        assert (await gateway.agent(executor).check_in(wait=0)).body == {"state": "Waiting"}
        assert (await operator.row(executor))["instance"] is None

    async def test_a_start_that_is_recorded_late_is_fine(self, gateway, operator):
        (executor,) = await operator.experiment()
        await operator.set(executor, state="Prepared", started=False)
        waiting = asyncio.create_task(gateway.agent(executor).check_in(wait=30))
        await asyncio.sleep(0.1)
        await operator.set(executor, state="Starting", started=True)
        assert (await waiting).body["state"] == "Released"

    async def test_cancelled_while_waiting(self, gateway, operator):
        (executor,) = await operator.experiment(release_on_check_in=False)
        waiting = asyncio.create_task(gateway.agent(executor).check_in(wait=30))
        await asyncio.sleep(0.1)
        await operator.set(executor, cancel_requested_at=NOW)
        assert (await waiting).body == {"state": "Cancelled"}

    async def test_a_graph_that_cannot_be_rendered_fails_its_executor(self, gateway, operator):
        graph = {**GRAPH, "tasks": {"a": {"run": "echo $(node.properties.missing)"}}}
        (executor,) = await operator.experiment(graph=graph)
        assert (await gateway.agent(executor).check_in()).body == {"state": "Finished"}
        row = await operator.row(executor)
        assert (row["state"], row["reason"]) == ("Failed", "UnknownPlaceholder")
        assert "node rpi-1 has no such property" in row["message"]

    async def test_a_lost_one_comes_back(self, gateway, operator):
        (executor,) = await operator.experiment()
        agent = gateway.agent(executor)
        await agent.check_in()
        await operator.set(executor, state="Lost", reason="Silence")
        assert (await agent.check_in()).body["state"] == "Released"
        row = await operator.row(executor)
        assert (row["state"], row["reason"]) == ("Running", "")

    async def test_a_lost_one_of_a_final_experiment_does_not(self, gateway, operator):
        (executor,) = await operator.experiment()
        agent = gateway.agent(executor)
        await agent.check_in()
        await operator.set(executor, state="Lost")
        await operator.complete(executor)
        assert (await agent.check_in()).body == {"state": "Finished"}
        assert (await operator.row(executor))["state"] == "Lost"

    async def test_it_is_heard_while_it_waits(self, gateway, operator):
        (executor,) = await operator.experiment(release_on_check_in=False, keep_alive=timedelta(seconds=4))
        waiting = asyncio.create_task(gateway.agent(executor).check_in(wait=5))
        await asyncio.sleep(0.2)
        checked_in = (await operator.row(executor))["heard_at"]
        await waiting
        assert (await operator.row(executor))["heard_at"] - checked_in > timedelta(seconds=2)
