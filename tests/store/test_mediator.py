"""What the mediator keeps and reads."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from unicorn_store import Connection, Store, flags, graphs, mediator, reports
from unicorn_store.mediator import Cancellable, NewMediated
from unicorn_store.retention import Periods, sweep

pytestmark = pytest.mark.database


async def _experiment(connection: Connection, namespace: str = "lab", name: str = "e", phase: str = "Running") -> UUID:
    uid = uuid4()
    await connection.execute(
        "INSERT INTO unicorn.experiment (uid, namespace, name, user_name, attempt, phase, spec, created_at)"
        " VALUES ($1, $2, $3, 'netunicorn:ada', 1, $4, '{\"desiredState\": \"Running\"}', now())",
        uid,
        namespace,
        name,
        phase,
    )
    return uid


async def _executor(connection: Connection, experiment: UUID, index: int, state: str, node: str = "n") -> UUID:
    id = uuid4()
    await connection.execute(
        "INSERT INTO unicorn.executor (id, experiment_uid, attempt, deployment, index, keep_alive, state, node_name)"
        " VALUES ($1, $2, 1, 'd1', $3, $4, $5, $6)",
        id,
        experiment,
        index,
        timedelta(minutes=10),
        state,
        node,
    )
    return id


def _new(name: str, **others: object) -> NewMediated:
    plain = NewMediated(uuid4(), "lab", name, "netunicorn:ada", f"slug-{uuid4().hex[:8]}", {"deployments": []}, [])
    return replace(plain, **others)  # type: ignore[arg-type]


async def test_a_name_is_taken_once_until_it_is_forgotten(store: Store) -> None:
    first = _new("my experiment/ä", manifest={"kind": "Experiment"})
    assert await mediator.claim(store, first)
    assert not await mediator.claim(store, _new(first.name))
    assert await mediator.claim(store, _new(first.name, namespace="elsewhere"))
    found = await mediator.by_name(store, "lab", first.name)
    assert found is not None
    assert (found.id, found.manifest, found.uid, found.error) == (first.id, {"kind": "Experiment"}, None, None)
    uid = uuid4()
    await mediator.made(store, first.id, uid)
    found = await mediator.by_name(store, "lab", first.name)
    assert found is not None
    assert (found.manifest, found.uid) == (None, uid)
    assert await mediator.made(store, first.id, uid), "doing it twice does it once"
    assert [(one.name, one.uid, one.unmade) for one in await mediator.names(store, "lab")] == [(first.name, uid, False)]
    await mediator.forget(store, first.id)
    assert await mediator.by_name(store, "lab", first.name) is None
    assert await mediator.claim(store, _new(first.name))


async def test_one_without_an_experiment_ends_once(store: Store) -> None:
    wrong, refused = _new("wrong", error="no such connector"), _new("refused")
    assert await mediator.claim(store, wrong)
    assert await mediator.claim(store, refused)
    assert not await mediator.end(store, wrong.id, started=True)
    assert await mediator.end(store, refused.id, started=True)
    assert not await mediator.end(store, refused.id, started=False)
    found = await mediator.by_name(store, "lab", "refused")
    assert found is not None
    assert found.started == found.ended is not None


async def test_what_has_ended_or_was_forgotten_is_made_for_nobody(store: Store) -> None:
    ended, forgotten = (_new(name, manifest={"kind": "Experiment"}) for name in ("ended", "forgotten"))
    for new in (ended, forgotten):
        assert await mediator.claim(store, new)
    assert await mediator.end(store, ended.id, started=False)
    await mediator.forget(store, forgotten.id)
    assert not await mediator.made(store, ended.id, uuid4())
    assert not await mediator.made(store, forgotten.id, uuid4())
    found = await mediator.by_name(store, "lab", "ended")
    assert found is not None
    assert (found.manifest, found.uid) == (None, None)


async def test_names_of_experiments_that_are_gone_are_swept(store: Store) -> None:
    async with store.connection() as connection:
        gone, there = await _experiment(connection), await _experiment(connection)
        await connection.execute("UPDATE unicorn.experiment SET deleted_at = now() WHERE uid = $1", gone)
    for name, uid in (("gone", gone), ("there", there), ("without", None)):
        new = _new(name, manifest={"kind": "Experiment"} if uid else None)
        await mediator.claim(store, new)
        if uid is not None:
            await mediator.made(store, new.id, uid)
    swept = await sweep(store, Periods(), datetime.now(UTC) + timedelta(seconds=1))
    assert swept.names == 1
    assert [one.name for one in await mediator.names(store, "lab")] == ["there", "without"]


async def test_graphs_stay_while_they_may_be_asked_for(store: Store) -> None:
    (digest,) = await graphs.put_graphs(store, "lab", [b"pickle"])
    new = _new("kept", graphs=[digest, digest])
    assert await mediator.claim(store, new)
    assert await mediator.graphs(store, "lab", [digest, "0" * 64]) == {digest: b"pickle"}
    assert await mediator.graphs(store, "other", [digest]) == {}
    async with store.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM unicorn.mediated_graph") == 1
        await mediator.forget(store, new.id)
        assert await connection.fetchval("SELECT count(*) FROM unicorn.mediated_graph") == 0


async def test_executors_with_what_they_reported(store: Store) -> None:
    async with store.connection() as connection:
        uid = await _experiment(connection)
        await connection.execute(
            "INSERT INTO unicorn.snapshot (experiment_uid, attempt, deployment, position, graph, body)"
            " VALUES ($1, 1, 'd1', 0, '{}', '{\"environment\": null}')",
            uid,
        )
        states = ["Pending", "Preparing", "Prepared", "Running", "Failed", "Succeeded"]
        ids = [await _executor(connection, uid, index, state) for index, state in enumerate(states)]
        await reports.put_report(connection, ids[3], b"so far", final=False)
        await reports.put_report(connection, ids[5], b"all", final=True)
    found = await mediator.executors(store, uid, 1)
    assert [one.id for one in found] == ids
    assert [one.prepared for one in found] == [False, False, True, True, False, True]
    assert [(one.report_bytes, one.final) for one in found] == [
        (None, False), (None, False), (None, False), (6, False), (None, False), (3, True)
    ]  # fmt: skip
    (snapshot,) = await mediator.snapshots(store, uid, 1)
    assert (snapshot.deployment, snapshot.graph_sha256, snapshot.body) == ("d1", None, {"environment": None})


async def test_executors_are_cancelled_within_their_namespace(store: Store) -> None:
    async with store.connection() as connection:
        uid, other = await _experiment(connection), await _experiment(connection, namespace="other")
        running, ended = await _executor(connection, uid, 0, "Running"), await _executor(connection, uid, 1, "Failed")
        foreign = await _executor(connection, other, 0, "Running")
    found = await mediator.cancellable(store, "lab", [running, ended, foreign, uuid4()])
    assert {one.id: one for one in found} == {running: Cancellable(running, "e", False), ended: Cancellable(ended, "e", True)}
    await mediator.cancel_executors(store, [running])
    async with store.connection() as connection:
        query = "SELECT id FROM unicorn.executor WHERE cancel_requested_at IS NOT NULL"
        assert [row["id"] for row in await connection.fetch(query)] == [running]


async def test_flags_need_a_recorded_attempt(store: Store) -> None:
    async with store.transaction() as connection:
        uid = await _experiment(connection)
        assert await mediator.attempt_of(connection, uuid4()) is None
        assert await mediator.attempt_of(connection, uid) == 1
        await flags.create(connection, flags.FlagKey(uid, 1, "go"))
        await mediator.tell_flag(connection, uid)


async def test_who_holds_what(store: Store) -> None:
    async with store.connection() as connection:
        uid = await _experiment(connection)
        executor = await _executor(connection, uid, 0, "Running", node="rpi")
        node, shared = uuid4(), uuid4()
        await connection.execute(
            "INSERT INTO unicorn.claim VALUES ($1, 0, $2), ($3, 1, 'user:bob')", node, f"experiment:{uid}", shared
        )
        await connection.execute(
            "INSERT INTO unicorn.node_lease (node_uid, slot, executor_id, experiment_uid) VALUES ($1, 0, $2, $3)",
            node,
            executor,
            uid,
        )
    found = {one.node: (one.slot, one.user, one.namespace) for one in await mediator.holdings(store)}
    assert found == {node: (0, "netunicorn:ada", "lab"), shared: (1, None, None)}
    assert [(one.node, one.user) for one in await mediator.locks(store, "lab")] == [("rpi", "netunicorn:ada")]
    assert await mediator.locks(store, "other") == []


async def test_recent_experiments(store: Store) -> None:
    async with store.connection() as connection:
        uid = await _experiment(connection)
        await _executor(connection, uid, 0, "Running", node="a")
        await _executor(connection, uid, 1, "Running", node="b")
        ended = await _experiment(connection, name="ended", phase="Succeeded")
        await connection.execute("UPDATE unicorn.experiment SET completed_at = now() WHERE uid = $1", ended)
    new = _new("shown name", manifest={"kind": "Experiment"})
    await mediator.claim(store, new)
    await mediator.made(store, new.id, uid)
    (running,) = await mediator.recent(store, "lab", None)
    assert (running.uid, running.shown, running.nodes, running.desired) == (uid, "shown name", ("a", "b"), "Running")
    assert {one.uid for one in await mediator.recent(store, "lab", datetime(2026, 1, 1, tzinfo=UTC))} == {uid, ended}
    assert await mediator.recent(store, "lab", datetime.now(UTC) + timedelta(days=1)) == []
    assert await mediator.recent(store, "other", None) == []
