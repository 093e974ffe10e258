"""netunicorn's side of the wire: by hand, and as its unmodified executor from PyPI."""

import asyncio
import json
import os
import subprocess
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import netunicorn_venv
from gateway_parts import Answer, Operator, Running, signed
from unicorn_store.graphs import put_graph

# Makes pickles in netunicorn's own environment. `source` binds `graph`, or `report` (a value) for what an executor sends.
_WRITER = """
import base64, sys
import cloudpickle
names = {}
exec(compile(sys.stdin.read(), "graphs", "exec"), names)
sys.stdout.write(base64.b64encode(cloudpickle.dumps(names["graph" if "graph" in names else "report"])).decode())
"""
# Reads a report, there where that is allowed: prints {"outcome": …, "results": {task: [[outcome, repr]]}, "log": […]}
_READER = """
import base64, json, sys
import cloudpickle
from returns.result import Result, Success
def told(result):
    inner = result._inner_value
    return ["Success" if isinstance(result, Success) else "Failure", repr(inner)]
first, log = cloudpickle.loads(base64.b64decode(sys.stdin.read()))
is_result = isinstance(first, Result)
results = first._inner_value if is_result else {}
print(json.dumps({
    "outcome": told(first)[0] if is_result else repr(first),
    "results": {name: [told(result) for result in found] for name, found in results.items()},
    "log": log,
}))
"""


def pickled(source: str) -> bytes:
    """What netunicorn's client sends, or its executor."""
    return b64decode(_in_their_python(_WRITER, source))


def unpickled(content: bytes) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(_in_their_python(_READER, b64encode(content).decode()))
    return told


def _in_their_python(program: str, text: str) -> str:
    command = [netunicorn_venv.python(), "-c", program]
    return subprocess.run(command, input=text, check=True, capture_output=True, text=True, timeout=60).stdout


async def serialized(operator: Operator, content: bytes, executors: int = 1, **columns: Any) -> list[UUID]:
    """An experiment of this pickled graph, whose executors are being started; returns their ids."""
    sha256 = await put_graph(operator.store, "default", content)
    ids = await operator.experiment(executors, graph={"serialized": {"sha256": sha256}}, **columns)
    await operator.all(
        "UPDATE unicorn.snapshot s SET graph_namespace = 'default', graph_sha256 = $2 FROM unicorn.executor x"
        " WHERE x.id = $1 AND x.experiment_uid = s.experiment_uid",
        ids[0],
        sha256,
    )
    return ids


@dataclass
class V1Agent:
    """Requests as netunicorn's executor and tasks send them, by hand."""

    http: aiohttp.ClientSession
    url: str
    token: str
    executor: UUID
    experiment: UUID

    @property
    def endpoint(self) -> str:
        return f"{self.url}/x/{self.token}"

    async def call(self, method: str, path: str, **arguments: Any) -> Answer:
        async with self.http.request(method, self.endpoint + path, **arguments) as response:
            body = await response.read()
            is_json = "json" in response.content_type and body
            return Answer(response.status, json.loads(body) if is_json else body, response.headers)

    async def graph(self, path: str = "/api/v1/executor/execution_graph") -> Answer:
        return await self.call("GET", path, params={"executor_id": str(self.executor)})

    async def report(self, content: bytes | str, state: int | None = 2, path: str = "", **more: Any) -> Answer:
        """A heartbeat has state 1, and a path that ends with a slash."""
        results = content if isinstance(content, str) else b64encode(content).decode()
        body = {"executor_id": str(self.executor), "results": results, **({} if state is None else {"state": state})}
        path = path or "/api/v1/executor/result" + ("/" if state == 1 else "")
        return await self.call("POST", path, json={**body, **more})

    async def flag(self, method: str, name: str, action: str = "", **arguments: Any) -> Answer:
        return await self.call(method, f"/api/v1/experiment/{self.experiment}/flag/{name}{action}", **arguments)


async def v1_agent(running: Running, operator: Operator, executor: UUID, fence: int = 1) -> V1Agent:
    row = await operator.row(executor)
    return V1Agent(running.http, running.url, signed(running.key, executor, fence), executor, row["experiment_uid"])


@dataclass
class Netunicorn:
    """The unmodified executor in a process of its own."""

    process: asyncio.subprocess.Process
    directory: Path
    executor: UUID

    @property
    def log(self) -> str:
        """What it wrote to its own log."""
        path = self.directory / f"executor_{self.executor}.log"
        return path.read_text() if path.exists() else ""

    async def ends(self, seconds: float = 60) -> int:
        async with asyncio.timeout(seconds):
            return await self.process.wait()


@asynccontextmanager
async def netunicorn(
    agent: V1Agent, directory: Path, heartbeat: int = 30, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Netunicorn]:
    """Killed at the end of the block."""
    directory.mkdir(parents=True, exist_ok=True)
    variables = {
        "PATH": os.environ["PATH"],
        "NETUNICORN_GATEWAY_ENDPOINT": agent.endpoint,
        "NETUNICORN_EXECUTOR_ID": str(agent.executor),
        "NETUNICORN_EXPERIMENT_ID": str(agent.experiment),
        "NETUNICORN_EXECUTOR_HEARTBEAT_SECONDS": str(heartbeat),
        **(environment or {}),
    }
    with (directory / "output").open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            netunicorn_venv.python(), "-m", "netunicorn.executor", cwd=directory, env=variables, stdout=output, stderr=output
        )
    running = Netunicorn(process, directory, agent.executor)
    try:
        yield running
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@dataclass
class Outcome:
    """What the database has of an executor."""

    row: Any
    result: Any
    content: bytes | None
    final: bool | None
    log: str
    told: dict[str, Any] = field(default_factory=dict)


async def outcome(operator: Operator, executor: UUID) -> Outcome:
    row = await operator.row(executor)
    result = await operator.all("SELECT * FROM unicorn.result WHERE executor_id = $1", executor)
    report = await operator.all("SELECT * FROM unicorn.executor_report WHERE executor_id = $1", executor)
    chunks = await operator.all("SELECT * FROM unicorn.log_chunk WHERE executor_id = $1 ORDER BY seq", executor)
    assert [chunk["seq"] for chunk in chunks] == list(range(1, len(chunks) + 1))
    return Outcome(
        row,
        result[0] if result else None,
        report[0]["content"] if report else None,
        report[0]["final"] if report else None,
        "".join(chunk["content"] for chunk in chunks),
    )
