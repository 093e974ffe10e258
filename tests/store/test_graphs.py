"""Serialized graphs: content-addressed in a namespace, brought once, told to whoever waits."""

import asyncio
import hashlib
from uuid import uuid4

import asyncpg
import pytest
from unicorn_core.errors import Refused
from unicorn_store import Store, graphs, listen

pytestmark = pytest.mark.database
A, B = b"graph a \x00\xff", b"graph b"


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


async def test_a_graph_is_kept_under_its_namespace_and_digest(store: Store) -> None:
    assert await graphs.put_graph(store, "lab", A) == _sha(A)
    assert await graphs.put_graph(store, "lab", A) == _sha(A)
    assert await graphs.read_graph(store, "lab", _sha(A)) == A
    assert await graphs.read_graph(store, "other", _sha(A)) is None
    assert await graphs.read_graph(store, "lab", _sha(B)) is None


async def test_many_at_once_equal_ones_stored_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "_BATCH_BYTES", 10)
    many = [b"%d" % (number % 7) for number in range(50)]
    assert await graphs.put_graphs(store, "lab", many) == [_sha(content) for content in many]
    async with store.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM unicorn.serialized_graph") == 7
    assert await graphs.put_graphs(store, "lab", []) == []


async def test_two_bring_the_same_graphs_at_once(store: Store) -> None:
    many = [b"%d" % number for number in range(200)]
    both = await asyncio.gather(graphs.put_graphs(store, "lab", many), graphs.put_graphs(store, "lab", reversed(many)))
    assert both[0] == both[1][::-1]


@pytest.mark.parametrize(("content", "said"), [(b"", "empty"), (b"x" * (graphs.GRAPH_BYTES + 1), "at most 16777216")])
async def test_what_is_no_graph_is_refused(store: Store, content: bytes, said: str) -> None:
    with pytest.raises(Refused, match=said) as refused:
        await graphs.put_graphs(store, "lab", [A, content])
    assert refused.value.problems[0].path == "graphs[1]"
    assert await graphs.read_graph(store, "lab", _sha(A)) is None


async def test_the_database_knows_the_digest_by_itself(store: Store) -> None:
    async with store.connection() as connection:
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute(
                "INSERT INTO unicorn.serialized_graph (namespace, sha256, content, report_results) VALUES ('n', $1, $2, true)",
                _sha(A),
                B,
            )


async def test_arrival_is_told_once_for_a_namespace(store: Store) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    ready = asyncio.Event()
    listening = asyncio.create_task(
        listen(store.dsn, [graphs.CHANNEL], heard=lambda _, namespace: heard.put_nowait(namespace), on_connect=ready.set)
    )
    try:
        await ready.wait()
        await graphs.put_graphs(store, "lab", [A, B])
        await graphs.put_graphs(store, "lab", [A, B])  # no news
        await graphs.put_graph(store, "other", A)
        assert [await asyncio.wait_for(heard.get(), 10) for _ in range(2)] == ["lab", "other"]
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def test_the_graph_of_an_executor(store: Store) -> None:
    experiment, executor, plain = uuid4(), uuid4(), uuid4()
    digest = await graphs.put_graph(store, "lab", A)
    async with store.connection() as connection:
        await connection.execute(
            "INSERT INTO unicorn.experiment (uid, namespace, name, user_name, attempt, phase, spec, created_at)"
            " VALUES ($1, 'lab', 'e', 'u', 1, 'x', '{}', now())",
            experiment,
        )
        for id, deployment, graph in ((executor, "a", digest), (plain, "b", None)):
            await connection.execute(
                "INSERT INTO unicorn.snapshot (experiment_uid, attempt, deployment, position, graph, body, graph_namespace,"
                " graph_sha256) VALUES ($1, 1, $2, 0, '{}', '{}', $3, $4)",
                experiment,
                deployment,
                "lab" if graph else None,
                graph,
            )
            await connection.execute(
                "INSERT INTO unicorn.executor (id, experiment_uid, attempt, deployment, index, keep_alive)"
                " VALUES ($1, $2, 1, $3, 0, '10m')",
                id,
                experiment,
                deployment,
            )
        assert await graphs.read_graph_of(connection, executor) == A
        assert await graphs.read_graph_of(connection, plain) is None
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            await connection.execute("DELETE FROM unicorn.serialized_graph")
    assert await graphs.report_results(store, "lab", [digest, _sha(B)]) == {digest: True}


async def test_whether_results_are_reported_is_read_at_upload(store: Store) -> None:
    quiet = b"\x80\x04\x8c\x01m\x8c\x01C\x93)\x81}(\x8c\x0ereport_results\x89ub."  # an object with report_results=False
    digests = await graphs.put_graphs(store, "lab", [quiet, A])
    assert list((await graphs.report_results(store, "lab", digests)).values()).count(False) == 1
    assert (await graphs.report_results(store, "lab", digests))[_sha(quiet)] is False
