"""The real gateway behind the interface of the agent's suite (`Gateway` in tests/executor/fake_gateway.py)."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import jwt
from gateway_parts import Operator, gateway_on, signed
from unicorn_core import tokens
from unicorn_core.naming import executor_id
from unicorn_store import Store, connect, graphs, reports
from unicorn_store.reports import Report


class RealGateway:
    """One experiment on a database of its own; a gateway in this loop that can be cut off and brought back on its port."""

    def __init__(self, dsn: str, store: Store, directory: Path) -> None:
        self._dsn, self._store, self._directory = dsn, store, directory
        self._operator = Operator(store)
        self._key = tokens.write_new_key(directory / "keys")
        self._experiment = uuid4()
        self._count = 0
        self._port = 0
        self._stack = AsyncExitStack()
        self.url = ""

    async def assign(self, graph: dict[str, Any], *, released: bool = True, index: int = 0, keep_alive: float = 600.0) -> str:
        """Each executor has a deployment of its own, for each may have its own graph."""
        self._count += 1
        deployment = f"d{self._count}"
        executor = executor_id(self._experiment, 1, deployment, index)
        async with self._store.transaction() as connection:
            await connection.execute(
                "INSERT INTO unicorn.experiment (uid, namespace, name, user_name, attempt, phase, spec, created_at)"
                " VALUES ($1, 'default', 'hello', 'u', 1, 'Starting', '{}', now()) ON CONFLICT DO NOTHING",
                self._experiment,
            )
            await connection.execute(
                "INSERT INTO unicorn.snapshot (experiment_uid, attempt, deployment, position, graph, params, body)"
                " VALUES ($1, 1, $2, 0, $3, '{}', '{}')",
                self._experiment,
                deployment,
                graph,
            )
            # Released ones are so from the start, as the fake's are: else the first to arrive would be a barrier's only member.
            await connection.execute(
                "INSERT INTO unicorn.executor (id, experiment_uid, attempt, deployment, index, node_name, state, fence, started,"
                " keep_alive, release_on_check_in, released_at, report_results)"
                " VALUES ($1, $2, 1, $3, $4, 'rpi-1', $5::text::unicorn.executor_state, 1, true, $6, $7, $8, $9)",
                executor,
                self._experiment,
                deployment,
                index,
                "Running" if released else "Starting",
                timedelta(seconds=keep_alive),
                released,
                datetime.now(UTC) if released else None,
                graph.get("reportResults", True),
            )
        return signed(self._key, executor)

    async def assign_serialized(self, pickle: bytes, **more: Any) -> str:
        """As `assign`, for a graph that netunicorn's client has pickled."""
        digest = await graphs.put_graph(self._store, "default", pickle)
        reported = (await graphs.report_results(self._store, "default", [digest]))[digest]
        token = await self.assign({"serialized": {"sha256": digest}, "reportResults": reported}, **more)
        async with self._store.connection() as connection:
            await connection.execute(
                "UPDATE unicorn.snapshot s SET graph_namespace = 'default', graph_sha256 = $2 FROM unicorn.executor x"
                " WHERE x.id = $1 AND (s.experiment_uid, s.deployment) = (x.experiment_uid, x.deployment)",
                _executor(token),
                digest,
            )
        return token

    async def report(self, token: str) -> Report | None:
        """What netunicorn's client would get."""
        return (await reports.read_reports(self._store, [_executor(token)])).get(_executor(token))

    async def release(self, *given: str) -> None:
        executors = [_executor(token) for token in given]

        async def checked_in() -> bool:
            return all([(await self._operator.row(executor))["state"] == "CheckedIn" for executor in executors])

        async with asyncio.timeout(30):
            while not await checked_in():
                await asyncio.sleep(0.02)
        await self._operator.release(*executors)

    async def cancel(self, token: str) -> None:
        await self._operator.set(_executor(token), cancel_requested_at=datetime.now(UTC))

    async def events(self, token: str) -> list[dict[str, Any]]:
        executor = _executor(token)
        found = {}
        for row in await self._operator.all("SELECT * FROM unicorn.event WHERE executor_id = $1", executor):
            found[row["seq"]] = {
                **_columns(row, "kind", "task", "run", "try", "wall", "mono"),
                "boot": row["boot_id"],
                **row["body"],
            }
        for row in await self._operator.all("SELECT * FROM unicorn.log_chunk WHERE executor_id = $1", executor):
            text = (await self._blob(executor, row["blob"])).decode() if row["blob"] else row["content"]
            found[row["seq"]] = {**_columns(row, "task", "run", "stream", "wall"), "kind": "Log", "text": text}
        for event in found.values():
            if digest := event.pop("blob", None):
                event["value"] = json.loads(await self._blob(executor, digest))
        return [found[number] for number in sorted(found)]

    async def result(self, token: str) -> dict[str, Any] | None:
        executor = _executor(token)
        rows = await self._operator.all(
            "SELECT r.*, x.last_seq FROM unicorn.result r JOIN unicorn.executor x ON x.id = r.executor_id WHERE x.id = $1",
            executor,
        )
        if not rows:
            return None
        row = rows[0]
        results = json.loads(await self._blob(executor, row["blob"])) if row["blob"] else row["results"]
        told = {"outcome": row["outcome"], "lastSequence": row["last_seq"], "results": results}
        more = {"reason": row["reason"], "message": row["message"]} if row["outcome"] == "Failure" else {}
        return {name: value for name, value in {**told, **more}.items() if value is not None}

    async def cut(self) -> None:
        await self._stack.aclose()
        self._stack = AsyncExitStack()

    async def restore(self) -> None:
        address = f"127.0.0.1:{self._port}"
        running = await self._stack.enter_async_context(
            gateway_on(self._dsn, self._key, self._directory, executor_listen=address, stop_timeout=timedelta(seconds=0))
        )
        self.url, self._port = running.url, int(running.url.rsplit(":", 1)[1])

    async def _blob(self, executor: UUID, digest: str) -> bytes:
        query = "SELECT content FROM unicorn.blob_part WHERE executor_id = $1 AND sha256 = $2 ORDER BY start"
        return b"".join(row["content"] for row in await self._operator.all(query, executor, digest))


@asynccontextmanager
async def real_gateway(dsn: str, directory: Path) -> AsyncIterator[RealGateway]:
    """On a migrated database of its own."""
    store = await connect(dsn, application_name="unicorn-test", max_size=5)
    gateway = RealGateway(dsn, store, directory)
    await gateway.restore()
    try:
        yield gateway
    finally:
        await gateway.cut()
        await store.close()


def _executor(token: str) -> UUID:
    return UUID(jwt.decode(token, options={"verify_signature": False})["sub"])


def _columns(row: Any, *names: str) -> dict[str, Any]:
    return {name: row[name] for name in names if row[name] is not None}
