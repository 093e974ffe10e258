"""Experiments that want the same nodes: who waits, for what, in which order; and who does not wait."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from e2e_kit import Kit, eventually, experiment, opened
from unicorn_core.errors import ApiRefused
from unicorn_store.experiments import read_recorded_spec

from .conftest import nothing_is_left, told_once


def on(nodes, name, command, kit: Kit, **spec):
    body = experiment(name, {"name": "t", "run": command}, connector=kit.local, **spec)
    body["spec"]["deployments"][0]["nodes"] = {"connectorRef": kit.local, "names": list(nodes)}
    return body


async def a_second_later(one):
    """Creation times have whole seconds; those of the same second wait in any order."""
    created = datetime.fromisoformat((await one.get())["metadata"]["creationTimestamp"])

    async def over():
        return datetime.now(UTC) > created + timedelta(seconds=1)

    await eventually(over, "the next second")


async def test_the_second_one_waits_and_says_for_what(kit, notes):
    first = await kit.apply(on(["local-1", "local-2"], "first", f"{notes.alone_on_node()}; {notes.wait_for('end')}", kit))
    await first.reaches("Running", running=2)
    second = await kit.apply(on(["local-2", "local-3"], "second", notes.alone_on_node(), kit))
    status = await second.becomes(lambda status: status.get("queue"), "it waits")
    assert status["queue"]["position"] == 1
    assert status["queue"]["waitingFor"] == f"node local-2, held by experiment {first.namespace}/first"
    assert status["phase"] == "Allocating"
    assert (await second.condition("Allocated"))["reason"] == "NodesBusy"
    assert await second.leases() == 0, "all or none"
    await a_second_later(second)
    third = await kit.apply(on(["local-3"], "third", notes.alone_on_node(), kit))
    status = await third.becomes(lambda status: status.get("queue"), "it waits behind the second, though its node is free")
    assert status["queue"]["position"] == 2
    notes.allow("end")
    for one in (first, second, third):
        status = await one.succeeds()
        assert "queue" not in status
        await nothing_is_left(kit, one)
    assert "clash" not in notes.all()


async def test_who_stands_behind_moves_up_and_says_so(kit, notes):
    holder = await kit.apply(on(["local-8"], "holder", notes.wait_for("first"), kit))
    await holder.reaches("Running", running=1)
    applied = []
    for number in range(3):
        applied.append(await kit.apply(on(["local-8"], f"queued-{number}", notes.wait_for("second"), kit, priority=-number)))
        await applied[-1].becomes(lambda status, at=number + 1: status.get("queue", {}).get("position") == at, "it stands there")
    notes.allow("first")
    await applied[0].reaches("Running", running=1)
    for number in (1, 2):
        moved = f"queued-{number} has moved up"
        await applied[number].becomes(lambda status, at=number: status.get("queue", {}).get("position") == at, moved, 20)
    notes.allow("second")
    for one in applied:
        await one.succeeds()


async def test_priority_goes_before_time(kit, notes):
    holder = await kit.apply(on(["local-4"], "holder", notes.wait_for("end"), kit))
    await holder.reaches("Running", running=1)
    order = f"{notes.directory}/order"
    (notes.directory / "order").touch()
    (notes.directory / "order").chmod(0o666)
    low = await kit.apply(on(["local-4"], "low", f"echo low >> {order}", kit))
    await low.becomes(lambda status: status.get("queue", {}).get("position") == 1, "low waits")
    high = await kit.apply(on(["local-4"], "high", f"echo high >> {order}", kit, priority=10))
    await high.becomes(lambda status: status.get("queue", {}).get("position") == 1, "high waits first")
    notes.allow("end")
    await asyncio.gather(low.succeeds(), high.succeeds())
    assert (notes.directory / "order").read_text().split() == ["high", "low"]


async def test_who_does_not_want_to_wait(kit, notes):
    holder = await kit.apply(on(["local-6"], "holder", notes.wait_for("end"), kit))
    await holder.reaches("Running", running=1)
    hasty = await kit.apply(on(["local-6"], "hasty", "true", kit, allocation={"whenBusy": "Fail"}))
    assert (await hasty.reaches("Failed"))["reason"] == "NodesBusy"
    allocation = {"mode": "BestEffort", "whenBusy": "Fail"}
    modest = {"allocation": allocation, "start": {"quorum": 1}, "failurePolicy": {"tolerate": 1}}
    some = await kit.apply(on(["local-6", "local-7"], "some", notes.add("t"), kit, **modest))
    status = await some.succeeds()
    assert status["executors"] == {"total": 2, "succeeded": 1, "failed": 1}
    assert status["failures"][0]["reason"] == "NodesBusy"
    notes.allow("end")
    await holder.succeeds()


@pytest.fixture
async def strict(make_stack):
    """A kit on a stack with webhooks."""
    async with opened(make_stack("strict", webhook=True)) as kit:
        yield kit


async def test_where_webhooks_are_on(strict, notes, tmp_path):
    """One user's experiments may share a node; edits are refused; a folder can be applied in any order."""
    same = {"allocation": {"share": "SameUser"}}
    first = await strict.apply(on(["local-3"], "first", notes.wait_for("end"), strict, **same))
    await first.reaches("Running", running=1)
    second = await strict.apply(on(["local-3"], "second", notes.add("t"), strict, **same))
    await second.succeeds()
    apart = await strict.apply(on(["local-3"], "apart", notes.add("t"), strict))
    await apart.becomes(lambda status: status.get("queue"), "an exclusive one waits")
    with pytest.raises(ApiRefused, match=r"spec\.deployments.* cannot change during an attempt"):
        await first.change(deployments=[])
    with pytest.raises(ApiRefused, match=r"spec\.attempt"):
        await first.change(attempt=2)
    assert (await first.status())["phase"] == "Running"
    notes.allow("end")
    await asyncio.gather(first.succeeds(), apart.succeeds())
    await applied_in_an_unlucky_order(strict, tmp_path)


async def applied_in_an_unlucky_order(kit, folder):
    """What is referred to comes after what refers to it."""
    deployment = (
        "{name: d, nodes: {count: 2, connectorRef: {name: later}}, pipelineRef: {name: later}, environmentRef: {name: later}}"
    )
    api = "apiVersion: netunicorn.io/v1alpha1"
    files = [
        f"{api}\nkind: Experiment\nmetadata: {{name: early}}\nspec: {{deployments: [{deployment}]}}\n",
        f"{api}\nkind: Pipeline\nmetadata: {{name: later}}\n"
        "spec: {stages: [{name: s, tasks: [{name: t, run: cat prepared}]}]}\n",
        f"{api}\nkind: Environment\nmetadata: {{name: later}}\nspec: {{shell: {{commands: [echo yes > prepared]}}}}\n",
        f"{api}\nkind: Connector\nmetadata: {{name: later}}\nspec: {{type: local, config: {{nodes: [later-0, later-1]}}}}\n",
    ]
    for number, text in enumerate(files):
        (folder / f"{number}.yaml").write_text(text)
    one = await kit.apply(folder)
    await one.succeeds()
    assert {value["stdout"] for value in (await one.values("t")).values()} == {"yes\n"}
    await told_once(one, tasks=1)


async def test_where_webhooks_are_off_an_edit_is_shown_and_the_attempt_goes_on(kit, notes):
    one = await kit.run("edited", {"name": "t", "run": notes.wait_for("end")})
    await one.reaches("Running", running=1)
    other = experiment("edited", {"name": "other", "run": "true"}, count=3, connector=kit.local)["spec"]["deployments"]
    await one.change(deployments=other)

    async def refused():
        accepted = await one.condition("Accepted")
        return (accepted["status"], accepted["reason"]) == ("False", "EditRefused") and accepted["message"]

    assert "cannot change during an attempt" in await eventually(refused, "the edit is shown as refused")
    assert (await one.status())["phase"] == "Running"
    notes.allow("end")
    status = await one.succeeds()
    assert status["executors"] == {"total": 1, "succeeded": 1}
    await one.change(attempt=2)
    await one.becomes(lambda status: status.get("attempt") == 2 and status["phase"] == "Succeeded", "it runs as edited")
    assert set((await one.results(attempt=2))["d/0"]) == {"other"}


async def test_where_webhooks_are_off_an_edit_before_the_first_status_is_refused_too(kit, notes):
    """The attempt has begun, which is not written yet: what follows soon is written in its place."""
    one = await kit.run("edited", {"name": "t", "run": notes.wait_for("end")})

    async def begun():
        return await read_recorded_spec(kit.store, one.uid, None)

    await eventually(begun, "the attempt begins")
    other = experiment("edited", {"name": "other", "run": "true"}, connector=kit.local)["spec"]["deployments"]
    await one.change(deployments=other, attempt=2)

    async def refused():
        accepted = await one.condition("Accepted") or {}
        return (accepted.get("status"), accepted.get("reason")) == ("False", "EditRefused")

    await eventually(refused, "the edit is shown as refused")
    notes.allow("end")
    await one.becomes(lambda status: status.get("attempt") == 2 and status["phase"] == "Succeeded", "then it runs as edited")
    assert set((await one.results(attempt=1))["d/0"]) == {"t"}
    assert set((await one.results(attempt=2))["d/0"]) == {"other"}
