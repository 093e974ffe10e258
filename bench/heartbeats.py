"""Heartbeats a second of one gateway process on one core, PostgreSQL and the load on the other.

`python bench/heartbeats.py`: 100 000 executor rows; 10 000 of them connected, each over a connection of its own that is kept
alive; a heartbeat is a whole request (token and instance are checked) with its answer. 64 are under way at any time.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import psutil
from unicorn_core import tokens
from unicorn_core.naming import executor_id
from unicorn_devcluster import paths
from unicorn_devcluster.postgres import Postgres
from unicorn_store import migrate

GATEWAY_CORE, OTHER_CORE = 0, 1
INSTANCE = "0123456789abcdef0123456789abcdef"
UNDER_WAY = 64


class Connection(asyncio.Protocol):
    """One executor's kept-alive connection; `beat` is a request and its answer."""

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.answer: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if not data.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"not 200: {data[:600]!r}")
        if self.answer is not None and not self.answer.done():
            self.answer.set_result(None)

    async def beat(self) -> None:
        self.answer = asyncio.get_running_loop().create_future()
        self.transport.write(self.request)
        await self.answer


async def fill(dsn: str, count: int) -> list[UUID]:
    """One running experiment with `count` executors."""
    uid = uuid4()
    ids = [executor_id(uid, 1, "clients", index) for index in range(count)]
    connection = await asyncpg.connect(dsn)
    await connection.execute(
        "INSERT INTO unicorn.experiment (uid, namespace, name, user_name, attempt, phase, spec, created_at)"
        " VALUES ($1, 'default', 'bench', 'bench', 1, 'Running', '{}', now())",
        uid,
    )
    now, long = datetime.now(UTC), timedelta(minutes=10)
    await connection.copy_records_to_table(
        "executor",
        schema_name="unicorn",
        columns=[
            "id", "experiment_uid", "attempt", "deployment", "index", "state", "fence", "instance", "keep_alive", "started",
            "checked_in_at", "released_at", "heard_at",
        ],
        records=[(id, uid, 1, "clients", n, "Running", 1, INSTANCE, long, True, now, now, now) for n, id in enumerate(ids)],
    )  # fmt: skip
    await connection.execute("VACUUM ANALYZE unicorn.executor")
    await connection.close()
    return ids


def request_of(id: UUID, key: tokens.SigningKey, address: str) -> bytes:
    """As the agent sends it: an idle heartbeat after a megabyte of log."""
    token = tokens.sign(id, 1, datetime.now(UTC) + timedelta(days=31), key)
    body = b'{"first":1,"events":[]}'
    head = (
        f"POST /v2/executor/events HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n"
        f"Unicorn-Instance: {INSTANCE}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def load(connections: list[Connection], seconds: float) -> tuple[int, list[float]]:
    """Heartbeats answered, and how long each took."""
    end, position, took = time.perf_counter() + seconds, 0, []

    async def worker() -> None:
        nonlocal position
        while (began := time.perf_counter()) < end:
            connection = connections[position % len(connections)]
            position += 1
            await connection.beat()
            took.append(time.perf_counter() - began)

    await asyncio.gather(*(worker() for _ in range(UNDER_WAY)))
    return len(took), took


async def run(arguments: argparse.Namespace, dsn: str, directory: Path) -> None:
    migrate(dsn)
    print(f"filling {arguments.rows} rows and signing {arguments.connected} tokens …", flush=True)
    ids = await fill(dsn, arguments.rows)
    key = tokens.write_new_key(directory)
    environment = {
        **os.environ,
        "UNICORN_DATABASE_URL": dsn + "?role=unicorn_executor_gateway",
        "UNICORN_TOKEN_PUBLIC_KEYS": str(directory / "public.json"),
        "UNICORN_EXECUTOR_LISTEN": "127.0.0.1:0",
    }
    command = [sys.executable, "-m", "unicorn_gateway", "executor"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)  # noqa: ASYNC220
    try:
        os.sched_setaffinity(process.pid, {GATEWAY_CORE})
        assert process.stderr is not None
        port = json.loads(next(line for line in process.stderr if b'"listening"' in line))["port"]
        step = arguments.rows // arguments.connected
        requests = [request_of(id, key, f"127.0.0.1:{port}") for id in ids[::step][: arguments.connected]]
        loop = asyncio.get_running_loop()
        connections = []
        for request in requests:
            _, connection = await loop.create_connection(lambda request=request: Connection(request), "127.0.0.1", port)
            connections.append(connection)
        print("warming up: each token is verified once …", flush=True)
        for connection in connections:
            await connection.beat()
        await measure(arguments, dsn, process.pid, connections)
        sizes = len(requests[0])
        print(f"\nan idle heartbeat: {sizes} B with all headers; each connection is one executor, kept alive")
    finally:
        process.terminate()
        process.wait()


async def measure(arguments: argparse.Namespace, dsn: str, pid: int, connections: list[Connection]) -> None:
    gateway, own = psutil.Process(pid), psutil.Process()
    statements = await asyncpg.connect(dsn)
    rates = []
    columns = ("run", "heartbeats/s", "p50 ms", "p99 ms", "gateway CPU", "load CPU", "per gateway CPU s", "rows written", "MB")
    print("\n" + "  ".join(columns))
    for number in range(1, arguments.runs + 1):
        before, began = gateway.cpu_times(), time.perf_counter()
        own_before = own.cpu_times()
        marked = await statements.fetchval("SELECT now()")
        count, took = await load(connections, arguments.seconds)
        seconds = time.perf_counter() - began
        after, own_after = gateway.cpu_times(), own.cpu_times()
        await asyncio.sleep(1.5)  # the last tick
        written = await statements.fetchval("SELECT count(*) FROM unicorn.executor WHERE heard_at >= $1", marked)
        rates.append(count / seconds)
        took.sort()
        busy = (after.user + after.system - before.user - before.system) / seconds
        own_busy = (own_after.user + own_after.system - own_before.user - own_before.system) / seconds
        values = (
            number,
            f"{count / seconds:.0f}",
            f"{took[len(took) // 2] * 1e3:.1f}",
            f"{took[len(took) * 99 // 100] * 1e3:.1f}",
            f"{busy:.0%}",
            f"{own_busy:.0%}",
            f"{count / seconds / busy:.0f}",
            written,
            f"{gateway.memory_info().rss / 2**20:.0f}",
        )
        print("  ".join(f"{value:>{len(column)}}" for value, column in zip(values, columns, strict=True)), flush=True)
    await statements.close()
    print(f"\nmedian: {statistics.median(rates):.0f} heartbeats/s of one process (to reach: 3000)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--connected", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8.0)
    arguments = parser.parse_args()
    if len(os.sched_getaffinity(0)) < 2:
        raise SystemExit("two cores are needed: one for the gateway, one for everything else")
    os.sched_setaffinity(0, {OTHER_CORE})  # PostgreSQL inherits it
    home = paths.shared() / "postgres" / f"bench-{os.getpid()}"
    server = Postgres.start(home)
    try:
        with tempfile.TemporaryDirectory() as directory:
            asyncio.run(run(arguments, server.create_database("bench"), Path(directory)))
    finally:
        server.remove()


if __name__ == "__main__":
    main()
