"""netunicorn's v1 on one gateway process on one core, PostgreSQL and the load on the other.

`python bench/v1_gateway.py`: increments of flags by 64 executors at once, all of one flag, then each of its own, over connections
that are kept alive and over one for each request, as netunicorn's tasks send them; an increment is a whole request (the token
is checked) and its answer after the commit. Then 5 000 executors that wait at their check-in, which ask again when they get no
graph: the process's memory, and the share of its core that it uses, over half a minute.
"""

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
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
CLIENTS = 64


class Exchange(asyncio.Protocol):
    """Requests and their answers, one at a time, over one connection."""

    def __init__(self) -> None:
        self.received = b""
        self.answer: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        if b"\r\n\r\n" in self.received and self.answer is not None and not self.answer.done():
            self.answer.set_result(self.received)

    def connection_lost(self, error: Exception | None) -> None:
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(error or ConnectionResetError("closed without an answer"))

    async def ask(self, request: bytes) -> bytes:
        """The answer as far as it came with its headers."""
        self.received, self.answer = b"", asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self.answer


async def connected(port: int) -> Exchange:
    _, exchange = await asyncio.get_running_loop().create_connection(Exchange, "127.0.0.1", port)
    return exchange


async def fill(dsn: str, count: int, state: str) -> tuple[UUID, list[UUID]]:
    """An experiment with `count` executors that were started; returns its uid and theirs."""
    uid = uuid4()
    ids = [executor_id(uid, 1, "clients", index) for index in range(count)]
    connection = await asyncpg.connect(dsn)
    await connection.execute(
        "INSERT INTO unicorn.experiment (uid, namespace, name, user_name, attempt, phase, spec, created_at)"
        " VALUES ($1, 'default', 'bench', 'bench', 1, 'Running', '{}', now())",
        uid,
    )
    columns = ["id", "experiment_uid", "attempt", "deployment", "index", "state", "fence", "keep_alive", "started"]
    await connection.copy_records_to_table(
        "executor",
        schema_name="unicorn",
        columns=columns,
        records=[(id, uid, 1, "clients", n, state, 1, timedelta(minutes=10), True) for n, id in enumerate(ids)],
    )
    await connection.execute("VACUUM ANALYZE unicorn.executor")
    await connection.close()
    return uid, ids


def signed(id: UUID, key: tokens.SigningKey) -> str:
    return tokens.sign(id, 1, datetime.now(UTC) + timedelta(days=31), key)


async def increments(port: int, requests: list[bytes], seconds: float, keep: bool) -> int:
    """How many were answered 200."""
    end, done = time.perf_counter() + seconds, 0

    async def client(request: bytes) -> None:
        nonlocal done
        exchange = await connected(port) if keep else None
        while time.perf_counter() < end:
            used = exchange or await connected(port)
            answer = await used.ask(request)
            if not answer.startswith(b"HTTP/1.1 200"):
                raise SystemExit(f"not 200: {answer[:600]!r}")
            done += 1
            if not keep:
                used.transport.close()
        if exchange:
            exchange.transport.close()

    await asyncio.gather(*(client(request) for request in requests))
    return done


async def flags(arguments: argparse.Namespace, dsn: str, port: int, key: tokens.SigningKey, gateway: psutil.Process) -> None:
    uid, ids = await fill(dsn, CLIENTS, "Running")
    own = [signed(id, key) for id in ids]
    named: dict[str, Callable[[int], str]] = {"one flag": lambda n: "one", f"{CLIENTS} flags": lambda n: f"flag-{n}"}
    print("\n| increments/s (per CPU second of the process), 64 clients | kept alive | a connection for each |\n|---|---|---|")
    counted = 0
    for title, name in named.items():
        cells = []
        for keep in (True, False):
            close = "" if keep else "Connection: close\r\n"
            requests = [
                f"POST /x/{token}/api/v1/experiment/{uid}/flag/{name(n)}/increment HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
                f"{close}Content-Length: 0\r\n\r\n".encode()
                for n, token in enumerate(own)
            ]
            await increments(port, requests, 1, keep)
            rates, capacities = [], []
            for _ in range(arguments.repeat):
                before = await total(dsn)
                began, used = time.perf_counter(), sum(gateway.cpu_times()[:2])
                done = await increments(port, requests, arguments.seconds, keep)
                rates.append(done / (time.perf_counter() - began))
                capacities.append(done / (sum(gateway.cpu_times()[:2]) - used))
                counted = await total(dsn)
                assert counted - before == done, f"{done} were answered, {counted - before} counted"
            cells.append(f"{statistics.median(rates):.0f} ({statistics.median(capacities):.0f})")
        print(f"| {title} | {' | '.join(cells)} |", flush=True)


async def total(dsn: str) -> int:
    connection = await asyncpg.connect(dsn)
    try:
        return int(await connection.fetchval("SELECT coalesce(sum(integer), 0) FROM unicorn.flag"))
    finally:
        await connection.close()


async def idle(arguments: argparse.Namespace, dsn: str, port: int, key: tokens.SigningKey, gateway: psutil.Process) -> None:
    _, ids = await fill(dsn, arguments.executors, "Starting")
    empty = gateway.memory_info().rss
    asked = refused = 0

    async def executor(id: UUID) -> None:
        """As netunicorn's: a connection for each request, the next one at once after an answer that is not 200."""
        nonlocal asked, refused
        path = f"/x/{signed(id, key)}/api/v1/executor/execution_graph?executor_id={id}"
        request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
        while True:
            exchange = await connected(port)
            asked += 1
            answer = await exchange.ask(request)
            refused += not answer.startswith(b"HTTP/1.1 204")
            exchange.transport.close()

    waiting = []
    for id in ids:
        waiting.append(asyncio.create_task(executor(id)))
        if len(waiting) % 50 == 0:
            await asyncio.sleep(0.2)
    connection = await asyncpg.connect(dsn)
    while await connection.fetchval(  # noqa: ASYNC110 polled, as the row is another process's
        "SELECT count(*) FROM unicorn.executor WHERE state = 'CheckedIn'"
    ) < len(ids):
        await asyncio.sleep(0.2)
    await asyncio.sleep(5)
    used, before, began, refused = sum(gateway.cpu_times()[:2]), asked, time.perf_counter(), 0
    await asyncio.sleep(arguments.watch)
    seconds = time.perf_counter() - began
    share = (sum(gateway.cpu_times()[:2]) - used) / seconds
    memory = gateway.memory_info().rss
    print(f"\n| {len(ids)} executors held at check-in | |\n|---|---|")
    print(f"| memory of the process (before: {empty / 1e6:.0f} MB) | {memory / 1e6:.0f} MB |")
    print(f"| of its core, over {seconds:.0f} s | {share:.1%} |")
    print(f"| requests/s, each over a connection of its own | {(asked - before) / seconds:.0f} |")
    print(f"| answers other than 204 | {refused} |", flush=True)
    await connection.close()
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def run(arguments: argparse.Namespace, dsn: str, directory: Path) -> None:
    migrate(dsn)
    key = tokens.write_new_key(directory)
    environment = {
        **os.environ,
        "UNICORN_DATABASE_URL": dsn + "?role=unicorn_executor_gateway",
        "UNICORN_TOKEN_PUBLIC_KEYS": str(directory / "public.json"),
        "UNICORN_EXECUTOR_LISTEN": "127.0.0.1:0",
        "UNICORN_REQUESTS_PER_SECOND": "1000",  # of one executor: its limit is not what is measured
    }
    command = [sys.executable, "-m", "unicorn_gateway", "executor"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)  # noqa: ASYNC220
    drain = None
    try:
        os.sched_setaffinity(process.pid, {GATEWAY_CORE})
        assert process.stderr is not None
        port = json.loads(next(line for line in process.stderr if b'"listening"' in line))["port"]
        drain = asyncio.create_task(asyncio.to_thread(process.stderr.read))
        gateway = psutil.Process(process.pid)
        ready = f"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
        while not (await (await connected(port)).ask(ready)).startswith(b"HTTP/1.1 200"):  # noqa: ASYNC110 another process
            await asyncio.sleep(0.2)
        await flags(arguments, dsn, port, key, gateway)
        await idle(arguments, dsn, port, key, gateway)
    finally:
        process.terminate()
        process.wait()
        if drain:
            await drain


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5, help="of one measurement")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--executors", type=int, default=5000, help="held at check-in")
    parser.add_argument("--watch", type=float, default=30, help="seconds")
    arguments = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4 * arguments.executors)), hard))
    os.sched_setaffinity(0, {OTHER_CORE})  # children inherit it: PostgreSQL too
    server = Postgres.start(paths.shared() / "postgres" / f"bench-{os.getpid()}")
    try:
        with tempfile.TemporaryDirectory(prefix="unicorn-bench-") as directory:
            asyncio.run(run(arguments, server.create_database("bench"), Path(directory)))
    finally:
        server.remove()


if __name__ == "__main__":
    main()
