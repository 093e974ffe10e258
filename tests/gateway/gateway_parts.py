"""A gateway in this loop, an executor's side of the wire, and a stand-in for the operator, which writes rows."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import aiohttp
from unicorn_core import tokens
from unicorn_core.naming import executor_id
from unicorn_core.tokens import SigningKey
from unicorn_gateway.executor_api.server import serve
from unicorn_gateway.settings import ExecutorSettings
from unicorn_store import Store

GRAPH = {"tasks": {"ping": {"run": "ping $(params.server)"}}, "edges": [{"from": "root", "to": "ping"}], "earlyStopping": True}


def signed(key: SigningKey, executor: UUID, fence: int = 1, expires_in: timedelta = timedelta(hours=1)) -> str:
    return tokens.sign(executor, fence, datetime.now(UTC) + expires_in, key)


@dataclass
class Operator:
    """Writes what the operator writes."""

    store: Store

    async def experiment(self, executors: int = 1, *, graph: dict[str, Any] | None = None, **columns: Any) -> list[UUID]:
        """An experiment whose executors are being started; returns their ids."""
        uid = uuid4()
        ids = [executor_id(uid, 1, "clients", index) for index in range(executors)]
        async with self.store.transaction() as connection:
            await connection.execute(
                "INSERT INTO unicorn.experiment (uid, namespace, name, user_name, attempt, phase, spec, created_at)"
                " VALUES ($1, 'default', 'hello', 'u', 1, 'Starting', '{}', now())",
                uid,
            )
            await connection.execute(
                "INSERT INTO unicorn.snapshot (experiment_uid, attempt, deployment, position, graph, params, body)"
                " VALUES ($1, 1, 'clients', 0, $2, $3, '{}')",
                uid,
                graph or GRAPH,
                {"server": "10.0.0.1"},
            )
            columns = {"release_on_check_in": True, "keep_alive": timedelta(minutes=10), **columns}
            places = ", ".join(f"${n}" for n in range(4, 4 + len(columns)))
            await connection.executemany(
                "INSERT INTO unicorn.executor (id, experiment_uid, attempt, deployment, index, node_name, node_properties,"
                f" state, fence, started, {', '.join(columns)})"
                f" VALUES ($1, $2, 1, 'clients', $3, 'rpi-1', '{{\"rack\": 4}}', 'Starting', 1, true, {places})",
                [(id, uid, index, *columns.values()) for index, id in enumerate(ids)],
            )
        return ids

    async def set(self, executor: UUID, **columns: Any) -> None:
        """Change a row and tell, as the operator does."""
        async with self.store.transaction() as connection:
            await _set(connection, executor, **columns)

    async def release(self, *executors: UUID) -> None:
        """All at the same moment, as the operator does it."""
        async with self.store.transaction() as connection:
            for executor in executors:
                await _set(connection, executor, state="Running", released_at=datetime.now(UTC))

    async def complete(self, executor: UUID) -> None:
        async with self.store.transaction() as connection:
            uid = await connection.fetchval(
                "UPDATE unicorn.experiment SET completed_at = now() WHERE uid ="
                " (SELECT experiment_uid FROM unicorn.executor WHERE id = $1) RETURNING uid",
                executor,
            )
            await connection.execute("SELECT unicorn.tell('executor', $1)", uid)

    async def row(self, executor: UUID) -> Any:
        return (await self.all("SELECT * FROM unicorn.executor WHERE id = $1", executor))[0]

    async def all(self, query: str, *arguments: Any) -> list[Any]:
        async with self.store.connection() as connection:
            return await connection.fetch(query, *arguments)

    async def one(self, query: str, *arguments: Any) -> Any:
        async with self.store.connection() as connection:
            return await connection.fetchval(query, *arguments)


@dataclass
class Answer:
    status: int
    body: Any
    headers: Any

    @property
    def reason(self) -> Any:
        return self.body["reason"]


@dataclass
class Agent:
    """An executor's side of the wire, by hand."""

    http: aiohttp.ClientSession
    url: str
    token: str
    instance: str = field(default_factory=lambda: secrets.token_hex(16))

    async def call(self, method: str, path: str, *, headers: dict[str, str] | None = None, **arguments: Any) -> Answer:
        mine = {"Authorization": f"Bearer {self.token}", "Unicorn-Instance": self.instance}
        async with self.http.request(method, self.url + path, headers={**mine, **(headers or {})}, **arguments) as response:
            is_json = "json" in response.content_type and method != "HEAD"
            return Answer(response.status, await (response.json() if is_json else response.read()), response.headers)

    async def check_in(self, wait: int = 10) -> Answer:
        return await self.call("GET", f"/v2/executor/assignment?wait={wait}")

    async def send(self, first: int, *events: dict[str, Any]) -> Answer:
        return await self.call("POST", "/v2/executor/events", json={"first": first, "bootId": "b", "events": list(events)})

    async def finish(self, last: int = 0, outcome: str = "Success", **more: Any) -> Answer:
        return await self.call("PUT", "/v2/executor/result", json={"outcome": outcome, "lastSequence": last, **more})


@dataclass
class Running:
    """A gateway that runs in this loop."""

    url: str
    http: aiohttp.ClientSession
    key: SigningKey
    settings: ExecutorSettings
    stop: asyncio.Event
    task: asyncio.Task[None]

    def agent(self, executor: UUID, *, fence: int = 1, **more: Any) -> Agent:
        return Agent(self.http, self.url, signed(self.key, executor, fence), **more)


Start = Callable[..., Any]


@asynccontextmanager
async def gateway_on(dsn: str, key: SigningKey, directory: Path, **more: Any) -> AsyncIterator[Running]:
    values = {
        "database_url": dsn + "?role=unicorn_executor_gateway",
        "executor_listen": "127.0.0.1:0",
        "token_public_keys": directory / "keys" / "public.json",
        "stop_timeout": timedelta(seconds=2),
        "requests_per_second": 10_000,
        "request_burst": 10_000,
    }
    settings = ExecutorSettings(**{**values, **more})
    stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve(settings, stop=stop, ready=ready.set_result))
    await asyncio.wait([task, ready], return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(60)) as http:
        yield Running(await ready, http, key, settings, stop, task)
        stop.set()
        await task


async def eventually(condition: Callable[[], Any], seconds: float = 20) -> Any:
    """The first true outcome of an async condition."""
    async with asyncio.timeout(seconds):
        while not (value := await condition()):
            await asyncio.sleep(0.02)
        return value


async def _set(connection: Any, executor: UUID, **columns: Any) -> None:
    parts = ", ".join(f"{name} = ${n}" for n, name in enumerate(columns, 2))
    uid = await connection.fetchval(
        f"UPDATE unicorn.executor SET {parts} WHERE id = $1 RETURNING experiment_uid", executor, *columns.values()
    )
    await connection.execute("SELECT unicorn.tell('executor', $1)", uid)
