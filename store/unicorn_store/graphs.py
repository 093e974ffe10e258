"""Serialized graphs: what netunicorn's client pickled, kept as opaque bytes under (namespace, SHA-256); never loaded here."""

import asyncio
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from uuid import UUID

from unicorn_core.errors import Problem, Refused
from unicorn_core.pickles import reads_report_results

from unicorn_store.pool import Connection, Store, statements

GRAPH_BYTES = 16 * 1024 * 1024  # of one graph
_BATCH_BYTES = 16 * 1024 * 1024  # sent in one statement
CHANNEL = "unicorn_graph"  # its payload is the namespace in which a graph arrived


async def put_graph(store: Store, namespace: str, content: bytes) -> str:
    """Returns its SHA-256, under which it is there from now on. Raises Refused (empty, too large), StoreUnavailable."""
    return (await put_graphs(store, namespace, [content]))[0]


async def put_graphs(store: Store, namespace: str, contents: Iterable[bytes]) -> list[str]:
    """All of them or none; equal ones are stored once, those that are there already aren't sent again. Returns a digest for
    each. Raises as `put_graph`."""
    listed = list(contents)
    digests = [_digest(content, f"graphs[{index}]") for index, content in enumerate(listed)]
    wanted = dict(sorted(zip(digests, listed, strict=True)))
    known = dict(await report_results(store, namespace, wanted))
    known |= await asyncio.to_thread(_read, {digest: wanted[digest] for digest in wanted if digest not in known})
    async with store.transaction() as connection:
        await statements().graphs_touch(connection, namespace=namespace, digests=list(wanted))
        rows = statements().graphs_there(connection, namespace=namespace, digests=list(wanted))
        there = {row["sha256"] async for row in rows}
        for batch in _batches({digest: content for digest, content in wanted.items() if digest not in there}):
            await statements().graphs_insert(
                connection,
                namespace=namespace,
                digests=list(batch),
                contents=list(batch.values()),
                reports=[known[digest] for digest in batch],
            )
    return digests


async def read_graph(store: Store, namespace: str, digest: str) -> bytes | None:
    """None: there is no such graph. Raises StoreUnavailable."""
    async with store.connection() as connection:
        content: bytes | None = await statements().graphs_read(connection, namespace=namespace, digest=digest)
    return content


async def read_graph_of(connection: Connection, executor: UUID) -> bytes | None:
    """The graph that this executor runs; None where its pipeline is not a serialized one."""
    content: bytes | None = await statements().graphs_of_executor(connection, id=executor)
    return content


async def report_results(store: Store, namespace: str, digests: Iterable[str]) -> Mapping[str, bool]:
    """For each graph that is there: whether its executors report results. Raises StoreUnavailable."""
    wanted = sorted(set(digests))
    if not wanted:
        return {}
    async with store.connection() as connection:
        rows = statements().graphs_report_results(connection, namespace=namespace, digests=wanted)
        return {row["sha256"]: row["report_results"] async for row in rows}


def _read(graphs: Mapping[str, bytes]) -> dict[str, bool]:
    return {digest: reads_report_results(content) for digest, content in graphs.items()}


def _digest(content: bytes, at: str) -> str:
    if not content:
        raise Refused(Problem(at, "the graph is empty", "the bytes of a pickled execution graph"), reason="GraphInvalid")
    if len(content) > GRAPH_BYTES:
        raise Refused(
            Problem(at, f"the graph has {len(content)} bytes", f"at most {GRAPH_BYTES}"),
            reason="GraphInvalid",
        )
    return hashlib.sha256(content).hexdigest()


def _batches(graphs: Mapping[str, bytes]) -> Iterator[dict[str, bytes]]:
    batch: dict[str, bytes] = {}
    size = 0
    for digest, content in graphs.items():
        if batch and size + len(content) > _BATCH_BYTES:
            yield batch
            batch, size = {}, 0
        batch[digest] = content
        size += len(content)
    if batch:
        yield batch
