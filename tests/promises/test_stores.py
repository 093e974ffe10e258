"""PostgreSQL and the API server go away in the middle, and the database comes back as it was earlier."""

import asyncio
import signal
import subprocess
import sys
import uuid

import e2e_kit
import psycopg
import pytest
from e2e_kit import experiment
from unicorn_connectors.local import processes
from unicorn_core.naming import ExecutorId

from .conftest import nothing_is_left, told_once

EXPERIMENTS = 6


def one_that_notes(index, notes, connector, count=2):
    steps = (
        {"name": name, "run": f"{notes.alone_on_node()}; {notes.add(name)}; sleep 0.8"} for name in ("first", "second", "third")
    )
    return experiment(f"steady-{index}", *steps, count=count, connector=connector)


async def all_succeed(kit, applied, notes):
    for one in applied:
        await one.succeeds(seconds=120)
        for executor in await one.executors():
            assert notes.of(executor.id) == ["first", "second", "third"]
        await told_once(one, tasks=3)
        await nothing_is_left(kit, one)
    assert "clash" not in notes.all()


@pytest.mark.parametrize("how", ["restarted", "killed"])
async def test_postgres_goes_away_in_the_middle(rough_kit, postgres, notes, how):
    applied = [await rough_kit.apply(one_that_notes(index, notes, rough_kit.local)) for index in range(EXPERIMENTS)]
    await applied[0].reaches("Starting", "Running")
    await asyncio.to_thread(postgres.kill if how == "killed" else postgres.stop)
    try:
        await asyncio.sleep(2)
    finally:
        await asyncio.to_thread(postgres.restart)
    applied.append(await rough_kit.apply(one_that_notes("late", notes, rough_kit.local)))
    await all_succeed(rough_kit, applied, notes)


async def test_the_api_server_is_killed_in_the_middle(rough, rough_kit, notes):
    applied = [await rough_kit.apply(one_that_notes(index, notes, rough_kit.local)) for index in range(EXPERIMENTS)]
    await applied[0].reaches("Starting", "Running")
    await asyncio.to_thread(rough.cluster.restart, "kube-apiserver", signal.SIGKILL)
    await asyncio.to_thread(rough.wait, rough.operators[0])
    applied.append(await rough_kit.apply(one_that_notes("late", notes, rough_kit.local)))
    await all_succeed(rough_kit, applied, notes)


def the_database_is_away(status):
    (said,) = [entry for entry in status.get("conditions", ()) if entry["type"] == "Reconciled"] or [{}]
    return (said.get("status"), said.get("reason")) == ("False", "DatabaseUnavailable")


def all_is_well(status):
    return {"Reconciled": "True"}.items() <= {entry["type"]: entry["status"] for entry in status["conditions"]}.items()


async def test_what_is_applied_and_edited_while_the_database_is_away(rough_kit, postgres, notes):
    """The one says why it does not begin; the other's forbidden edit is judged when the database is back. Webhooks are off."""
    edited = await rough_kit.run("edited", {"name": "t", "run": notes.wait_for("end")})
    await edited.reaches("Running", running=1)
    generation = (await edited.status())["observedGeneration"]
    await asyncio.to_thread(postgres.stop)
    try:
        new = await rough_kit.run("new", {"name": "t", "run": "true"})
        other = experiment("edited", {"name": "other", "run": "true"}, connector=rough_kit.local)["spec"]["deployments"]
        await edited.change(deployments=other)
        status = await new.becomes(the_database_is_away, "it says what it waits for")
        assert status["phase"] == "Pending"
        status = await edited.becomes(the_database_is_away, "so does what was there")
        assert (status["phase"], status["observedGeneration"]) == ("Running", generation), "nobody has judged the edit"
    finally:
        await asyncio.to_thread(postgres.restart)
    assert all_is_well(await new.succeeds())

    async def refused():
        accepted = await edited.condition("Accepted")
        return (accepted["status"], accepted["reason"]) == ("False", "EditRefused")

    await e2e_kit.eventually(refused, "the edit is refused")
    notes.allow("end")
    await edited.succeeds()
    assert set((await edited.results())["d/0"]) == {"t"}


def copy(postgres, name, template):
    """Make a database as another is, whoever is connected to that."""
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [template])
    postgres.create_database(name, template)


def stop(stack):
    for server in [*stack.operators, *stack.gateways]:
        stack.stop(server)


def start(stack, *, gateways_first=True):
    servers = [*stack.gateways, *stack.operators] if gateways_first else [*stack.operators, *stack.gateways]
    for server in servers:
        stack.restart(server)


def on(node, name, command, kit, **spec):
    body = experiment(name, {"name": "t", "run": command}, connector=kit.local, **spec)
    body["spec"]["deployments"][0]["nodes"] = {"connectorRef": kit.local, "names": [node]}
    return body


async def test_a_database_restored_to_an_earlier_state_gives_no_lease_twice(make_stack, postgres, notes):
    stack = make_stack("restored", settings={"UNICORN_IDENTITY": "the-one"})
    database = stack.dsn.rsplit("/", 1)[1]
    backup = f"backup_{uuid.uuid4().hex[:12]}"
    alone = notes.alone_on_node()
    async with e2e_kit.opened(stack) as kit:
        ended = await kit.apply(on("local-0", "ended", f"{alone}; {notes.wait_for('ended')}", kit))
        through = await kit.apply(on("local-2", "through", f"{alone}; {notes.add('t')}; {notes.wait_for('through')}", kit))
        prepared = await kit.apply(on("local-3", "prepared", f"{alone}; {notes.add('t')}; sleep 300", kit, desiredState="Ready"))
        await asyncio.gather(
            ended.reaches("Running", running=1), through.reaches("Running", running=1), prepared.reaches("Ready")
        )
        await asyncio.to_thread(stop, stack)
        copy(postgres, backup, database)
        try:
            await asyncio.to_thread(start, stack)
            # What the backup does not know: one that ended, two that began, one of them on the node of the one that ended.
            notes.allow("ended")
            await ended.succeeds()
            await prepared.change(desiredState="Running")
            after = await kit.apply(on("local-0", "after", f"{alone}; {notes.add('t')}; sleep 300", kit))
            other = await kit.apply(on("local-1", "other", f"{alone}; {notes.add('t')}; sleep 300", kit))
            for one in (prepared, after, other):
                await one.reaches("Running", running=1)
            unknown = [ExecutorId(executor.id) for one in (after, other) for executor in await one.executors()]
            assert all(processes.of_executors(unknown).values())
            await asyncio.to_thread(stop, stack)
            postgres.drop_database(database)
            copy(postgres, database, backup)
        finally:
            postgres.drop_database(backup)
        environment = {"UNICORN_DATABASE_URL": stack.dsn}
        command = [sys.executable, "-m", "unicorn_operator", "database", "restored"]
        await asyncio.to_thread(subprocess.run, command, env=environment, check=True, capture_output=True)
        wanted = [
            await kit.apply(on(f"local-{index}", f"next-{index}", f"{alone}; {notes.add('t')}", kit)) for index in (0, 1, 3)
        ]
        # Nobody tells the agents that they are unknown: nodes must not be given out before they were looked at.
        await asyncio.to_thread(start, stack, gateways_first=False)
        for one in wanted:
            await one.succeeds()
        assert not any(processes.of_executors(unknown).values())
        for one in (after, other):
            assert (await one.ends())["reason"] == "RecordsLost"
        assert (await prepared.ends())["failures"][0]["reason"] == "RecordsLost"
        assert (await ended.status())["phase"] == "Succeeded"
        notes.allow("through")
        await through.succeeds()
        assert (await through.values("t"))["d/0"]["exitCode"] == 0
        for one in (ended, after, other, prepared, through, *wanted):
            await one.becomes(lambda status: status["phase"] in e2e_kit.FINAL, "it stays final")
            await e2e_kit.eventually(lambda one=one: _free(kit, one), "nothing is left of it")
        assert "clash" not in notes.all()


async def _free(kit, one):
    await nothing_is_left(kit, one)
    return True
