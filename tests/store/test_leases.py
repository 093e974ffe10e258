"""Giving slots back: a claim goes with the last lease and orphan on it, whoever else gives back at the same moment."""

import asyncio
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from unicorn_core.connector import EnvironmentType
from unicorn_core.errors import Conflict
from unicorn_core.naming import executor_id
from unicorn_core.planning.allocation import Offer, Placement
from unicorn_store import Store, leases, nodes
from unicorn_store.experiments import ExecutorTerms, grant, read_claims

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
TERMS = {"d": ExecutorTerms(timedelta(minutes=10), report_results=True, release_on_check_in=False)}
ANN, BOB = "user:ann", "user:bob"


@dataclass
class Records:
    """Experiments of one executor each, as they are after their allocation."""

    store: Store
    node: Offer = field(
        default_factory=lambda: Offer(
            uuid.uuid4(), "rpi", uuid.uuid4(), "lab/campus", environments=frozenset({EnvironmentType.SHELL})
        )
    )

    async def execute(self, statement: str, *values: object) -> None:
        async with self.store.connection() as connection:
            await connection.execute(statement, *values)

    async def all(self, table: str, columns: str) -> list[tuple[object, ...]]:
        async with self.store.connection() as connection:
            return sorted(tuple(row) for row in await connection.fetch(f"SELECT {columns} FROM unicorn.{table}"))

    async def experiment(self, name: str, attempt: int = 1) -> UUID:
        uid = uuid.uuid4()
        await self.execute(
            "INSERT INTO unicorn.experiment (uid, namespace, name, user_name, attempt, phase, spec, created_at)"
            " VALUES ($1, 'lab', $2, 'ann', $3, 'Running', '{}', $4)",
            uid,
            name,
            attempt,
            NOON,
        )
        return uid

    async def leased(self, name: str, holder: str, slot: int = 0, attempt: int = 1, *operations: str) -> UUID:
        """An executor with its lease, and these operations pending. Answers its id."""
        uid = await self.experiment(name, attempt)
        async with self.store.transaction() as connection:
            placements = [Placement("d", 0, self.node, slot)]
            await grant(self.store, connection, uid=uid, attempt=1, holder=holder, placements=placements, terms=TERMS)
        executor = executor_id(uid, 1, "d", 0)
        for verb in operations:
            statement = "INSERT INTO unicorn.operation (executor_id, verb, experiment_uid, connector_uid) VALUES ($1, $2, $3, $4)"
            await self.execute(statement, executor, verb, uid, self.node.connector_uid)
        return executor

    async def holders(self) -> dict[int, str]:
        async with self.store.connection() as connection:
            return dict((await read_claims(self.store, connection, [self.node.uid])).get(self.node.uid, {}))

    async def pending(self) -> list[tuple[object, ...]]:
        return [row for row in await self.all("operation", "verb::text, state::text") if row[1] == "Pending"]


@pytest.fixture
def records(store: Store) -> Records:
    return Records(store)


async def test_a_claim_goes_with_its_last_lease(records: Records) -> None:
    one, two = [await records.leased(name, ANN) for name in ("one", "two")]
    assert await leases.free_leases(records.store, [one]) == [records.node.uid]
    assert await records.holders() == {0: ANN}, "the user's other experiment still has it"
    assert await leases.free_leases(records.store, [two]) == [records.node.uid]
    assert await records.all("claim", "slot") == []
    assert await leases.free_leases(records.store, [two]) == [], "a repeated step does nothing"


async def test_two_that_give_back_one_slot_at_the_same_moment_leave_no_claim(records: Records) -> None:
    one, two = [await records.leased(name, ANN) for name in ("one", "two")]
    queries = records.store.queries
    async with records.store.transaction() as connection:
        await queries.lock_leased_slots(connection, ids=[one])
        slots = [(row["node_uid"], row["slot"]) async for row in queries.delete_leases(connection, ids=[one])]
        later = asyncio.create_task(leases.free_leases(records.store, [two]))
        await _waits_for_a_lock(records)
        assert await leases._unclaim(records.store, connection, slots) == [], "the other's lease is still there"
    assert await later == [records.node.uid]
    assert await records.all("claim", "slot") == [], "who came later saw that nobody is left"


async def _waits_for_a_lock(records: Records) -> None:
    async with asyncio.timeout(10):
        while True:
            async with records.store.connection() as connection:
                waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
                if await connection.fetchval(waiting):
                    return
            await asyncio.sleep(0.01)


async def test_many_that_give_back_and_take_at_once(records: Records) -> None:
    """No deadlock, no claim without a lease, no lease without a claim."""

    async def one(number: int) -> None:
        executors = [await records.leased(f"e{number}-{slot}", ANN, slot) for slot in range(3)]
        if number % 2:
            await leases.record_orphans(records.store, executors[::-1], "StopNotConfirmed")
            await leases.release_orphans(records.store, executors)
        else:
            await leases.free_leases(records.store, executors[::-1])

    async def tried(number: int) -> None:
        while True:
            try:
                return await one(number)
            except Conflict:
                pass  # an orphan has the slot, or its claim went just before

    await asyncio.gather(*(tried(number) for number in range(4)))
    left = [row[0] for row in await records.all("node_lease", "executor_id")]
    await leases.free_leases(records.store, left)
    assert await records.all("claim", "slot") == []


async def test_an_orphan_has_its_slot_before_everybody(records: Records) -> None:
    one, two = [await records.leased(name, ANN) for name in ("one", "two")]
    await leases.record_orphans(records.store, [one], "StopNotConfirmed")
    assert await records.holders() == {0: f"orphan:{one}"}, "also for the user who had it"
    with pytest.raises(Conflict):
        await records.leased("three", ANN)
    await leases.free_leases(records.store, [two])
    assert await records.holders() == {0: f"orphan:{one}"}
    async with records.store.connection() as connection:
        said = await records.store.queries.describe_holder(connection, holder=f"orphan:{one}")
    assert said == f"an executor that was not shown to be gone: {one}"
    assert await leases.release_orphans(records.store, [one]) == [records.node.uid]
    assert await records.holders() == {}
    await records.leased("four", BOB)


async def test_where_an_orphan_ends_the_users_other_experiment_keeps_the_slot(records: Records) -> None:
    one, two = [await records.leased(name, ANN) for name in ("one", "two")]
    await leases.record_orphans(records.store, [one], "StopNotConfirmed")
    assert await nodes.release_orphans(records.store, records.node.uid, None) == [one]
    assert await records.holders() == {0: ANN}
    assert await leases.free_leases(records.store, [two])


async def test_only_the_orphans_of_that_node_are_released_by_hand(records: Records) -> None:
    one, two = [await records.leased(name, f"experiment:{name}", slot) for slot, name in enumerate(("one", "two"))]
    await leases.record_orphans(records.store, [one, two], "StopNotConfirmed")
    assert await nodes.release_orphans(records.store, uuid.uuid4(), None) == []
    assert await nodes.release_orphans(records.store, records.node.uid, [two, uuid.uuid4()]) == [two]
    assert await records.holders() == {0: f"orphan:{one}"}


@pytest.mark.parametrize("how", ["freed", "orphaned", "abandoned", "an attempt that is over"])
async def test_whose_lease_has_gone_is_operated_on_no_more(records: Records, how: str) -> None:
    attempt = 2 if how == "an attempt that is over" else 1
    executor = await records.leased("one", ANN, 0, attempt, "Start", "Stop")
    await records.leased("two", ANN, 1, 1, "Prepare")
    match how:
        case "freed":
            await leases.free_leases(records.store, [executor])
        case "orphaned":
            await leases.record_orphans(records.store, [executor], "StopNotConfirmed")
        case "abandoned":
            (uid,) = [uid for uid, name in await records.all("experiment", "uid, name") if name == "one"]
            assert await leases.abandon_experiment(records.store, UUID(str(uid))) == [executor]
        case _:
            assert await leases.abandon_old_attempts(records.store) == [executor]
    assert await records.pending() == [("Prepare", "Pending")], "others go on"
    expected = [] if how == "freed" else [(executor,)]
    assert await records.all("orphan", "executor_id") == expected, "what may run goes on being stopped, as an orphan"


async def test_claims_of_nobody_are_swept(records: Records) -> None:
    executor = await records.leased("one", ANN)
    await leases.record_orphans(records.store, [await records.leased("two", ANN, 1)], "StopNotConfirmed")
    await records.execute("INSERT INTO unicorn.claim (node_uid, slot, holder) VALUES ($1, 7, 'experiment:x')", records.node.uid)
    assert await leases.sweep_claims(records.store) == [records.node.uid]
    assert sorted(await records.holders()) == [0, 1], "what is leased or orphaned stays"
    assert await leases.sweep_claims(records.store) == []
    assert await leases.free_leases(records.store, [executor])


async def test_a_stop_that_leaves_nothing_is_its_cleanup_too(records: Records) -> None:
    one = await records.leased("one", ANN, 0, 1, "Stop")
    two = await records.leased("two", ANN, 1, 1, "Start")
    three = await records.leased("three", ANN, 2, 1, "Stop")
    queries = records.store.queries
    async with records.store.connection() as connection:
        stops = queries.finish_operations(connection, ids=[one, three], verbs=["Stop"] * 2, clean=[one])
        assert len([row async for row in stops]) == 2
        starts = queries.finish_operations(connection, ids=[two], verbs=["Start"], clean=[two])
        assert len([row async for row in starts]) == 1
    expected = [(one, "Cleanup", "Done"), (one, "Stop", "Done"), (two, "Start", "Done"), (three, "Stop", "Done")]
    assert await records.all("operation", "executor_id, verb::text, state::text") == sorted(expected)
