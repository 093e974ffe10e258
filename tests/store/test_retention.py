"""Retention: what is too old goes, in batches; what still holds a node stays."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from unicorn_store import Connection, Store, graphs
from unicorn_store.retention import Cutoffs, Periods, Swept, cutoffs, sweep, sweep_graphs

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_cutoffs() -> None:
    assert cutoffs(Periods(), NOON) == Cutoffs(records=NOON - timedelta(days=365), logs=NOON - timedelta(days=30))


async def _experiment(connection: Connection, ended: datetime | None, executors: int = 1) -> tuple[UUID, list[UUID]]:
    uid, ids = uuid4(), [uuid4() for _ in range(executors)]
    await connection.execute(
        "INSERT INTO unicorn.experiment (uid, namespace, name, user_name, attempt, phase, spec, created_at, completed_at)"
        " VALUES ($1, 'n', 'e', 'u', 1, 'x', '{}', now(), $2)",
        uid,
        ended,
    )
    for index, executor in enumerate(ids):
        await connection.execute(
            "INSERT INTO unicorn.executor (id, experiment_uid, attempt, deployment, index, keep_alive)"
            " VALUES ($1, $2, 1, 'd', $3, '10m')",
            executor,
            uid,
            index,
        )
        await connection.execute("INSERT INTO unicorn.event (executor_id, seq, kind, body) VALUES ($1, 1, 'x', '{}')", executor)
    return uid, ids


@pytest.mark.database
async def test_sweep(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unicorn_store.retention.BATCH", 2)
    old, young = NOON - timedelta(days=366), NOON - timedelta(days=364)
    async with store.connection() as connection:
        await _experiment(connection, old, executors=5)
        kept, _ = await _experiment(connection, young)
        running, ids = await _experiment(connection, None)
        leased, (lessee,) = await _experiment(connection, old)
        node = uuid4()
        await connection.execute("INSERT INTO unicorn.claim VALUES ($1, 0, 'x')", node)
        await connection.execute(
            "INSERT INTO unicorn.node_lease (node_uid, slot, executor_id, experiment_uid) VALUES ($1, 0, $2, $3)",
            node,
            lessee,
            leased,
        )
        for seq, received in enumerate([NOON - timedelta(days=31)] * 3 + [NOON - timedelta(days=29)]):
            await connection.execute(
                "INSERT INTO unicorn.log_chunk (executor_id, seq, stream, received_at) VALUES ($1, $2, 'stdout', $3)",
                ids[0],
                seq,
                received,
            )
        for hash, used in (("old", old), ("young", young)):
            await connection.execute(
                "INSERT INTO unicorn.environment_build (hash, platform, namespace, inputs, state, used_at)"
                " VALUES ($1, 'linux/amd64', 'lab', '{}', 'Succeeded', $2)",
                hash,
                used,
            )
            await connection.execute(
                "INSERT INTO unicorn.build_log (hash, run, content, received_at) VALUES ($1, 1, '', $2)", hash, old
            )
        await connection.execute(
            "INSERT INTO unicorn.environment_build (hash, platform, namespace, inputs, used_at)"
            " VALUES ('runs', 'linux/amd64', 'lab', '{}', $1)",
            old,
        )
        await connection.execute(
            "INSERT INTO unicorn.environment_build (hash, platform, namespace, inputs, state, used_at)"
            " VALUES ('failed', 'linux/amd64', 'lab', '{}', 'Failed', $1)",
            NOON - timedelta(days=31),
        )
    assert await sweep(store, Periods(), NOON) == Swept(logs=3, executors=5, experiments=1, build_logs=2, builds=2)
    assert await sweep(store, Periods(), NOON) == Swept()
    async with store.connection() as connection:
        left = {row["uid"] for row in await connection.fetch("SELECT uid FROM unicorn.experiment")}
        assert left == {kept, running, leased}
        hashes = {row["hash"] for row in await connection.fetch("SELECT hash FROM unicorn.environment_build")}
        assert hashes == {"young", "runs"}
        assert await connection.fetchval("SELECT count(*) FROM unicorn.event") == 3
        assert await connection.fetchval("SELECT count(*) FROM unicorn.log_chunk") == 1


@pytest.mark.database
async def test_graphs_that_nobody_refers_to(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unicorn_store.retention.BATCH", 2)
    names = ("recorded", "mediated", "named", "fresh", "elsewhere", "a", "b", "c", "d")
    digests = dict(zip(names, await graphs.put_graphs(store, "lab", [name.encode() for name in names]), strict=True))
    async with store.connection() as connection:
        await connection.execute("UPDATE unicorn.serialized_graph SET stored_at = $1", NOON - timedelta(days=2))
        uid, _ = await _experiment(connection, NOON)
        await connection.execute(
            "INSERT INTO unicorn.snapshot (experiment_uid, attempt, deployment, position, graph, body, graph_namespace,"
            " graph_sha256) VALUES ($1, 1, 'd', 0, '{}', '{}', 'lab', $2)",
            uid,
            digests["recorded"],
        )
        client = uuid4()
        await connection.execute(
            "INSERT INTO unicorn.mediated_experiment (id, namespace, name, user_name, resource, orders)"
            " VALUES ($1, 'lab', 'e', 'u', 'e-1', '[]')",
            client,
        )
        await connection.execute("INSERT INTO unicorn.mediated_graph VALUES ($1, 'lab', $2)", client, digests["mediated"])
        await connection.execute(
            "UPDATE unicorn.serialized_graph SET stored_at = $1 WHERE sha256 = $2", NOON - timedelta(hours=23), digests["fresh"]
        )
        await connection.execute(
            "UPDATE unicorn.serialized_graph SET namespace = 'elsewhere' WHERE sha256 = $1", digests["elsewhere"]
        )
    named = [("lab", digests["named"]), ("other", digests["a"])]
    assert await sweep_graphs(store, named, NOON, only=["lab"]) == 4
    assert await sweep_graphs(store, named, NOON) == 1
    async with store.connection() as connection:
        left = {row["sha256"] for row in await connection.fetch("SELECT sha256 FROM unicorn.serialized_graph")}
    assert left == {digests[name] for name in ("recorded", "mediated", "named", "fresh")}
