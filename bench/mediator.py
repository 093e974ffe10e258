"""netunicorn's mediator: one no-op deployment from `prepare` to its end by the released client, and a large experiment read back.

Counted: for the client, from the call of prepare_experiment until get_experiment_status says FINISHED, asked every 20 ms, the
client's own token checks included; the executor is a process of the connector `local` with our agent. For the large one, a GET of
an experiment that has ended, with 1 000 executors of one graph and a report of 1 KB each, over one connection, until the last
byte. Everything shares the machine.
"""

import asyncio
import base64
import json
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

import aiohttp
import bcrypt
from _installation import Installation, installation, table, until
from unicorn_devcluster.demo.installation import netunicorn_python
from unicorn_store import Store, connect, reports, users
from unicorn_store.users import NewAccount

LOGIN, PASSWORD = "bench", "a password of the bench"
ROUNDS, EXECUTORS, READS, REPORT_BYTES = 10, 1000, 40, 1024
CLIENT = """
import sys, time, json
from netunicorn.base import Experiment, ExperimentStatus, Pipeline, ShellExecution
from netunicorn.client import RemoteClient
from netunicorn.library.tasks.basic import DummyTask
url, login, password, rounds = sys.argv[1:]
client = RemoteClient(url, login, password)
(node,) = client.get_nodes().filter(lambda node: node["connector"] == "local").take(1)
def wait(name, status):
    while client.get_experiment_status(name).status is not status:
        time.sleep(0.02)
spent = []
for index in range(int(rounds) + 1):
    name = f"noop-{index}"
    experiment = Experiment().append(node, Pipeline(environment_definition=ShellExecution()).then(DummyTask()))
    began = time.perf_counter()
    client.prepare_experiment(experiment, name)
    wait(name, ExperimentStatus.READY)
    client.start_execution(name)
    wait(name, ExperimentStatus.FINISHED)
    spent.append(time.perf_counter() - began)
    client.delete_experiment(name)
print(json.dumps(spent[1:]))
"""
GRAPH = """
import sys
from netunicorn.base import Experiment, Node, Pipeline, ShellExecution
from netunicorn.library.tasks.basic import DummyTask
sys.stdout.buffer.write(Experiment().append(Node("n", {}), Pipeline(environment_definition=ShellExecution()).then(DummyTask()))[0]
                        .execution_graph)
"""


async def main() -> None:
    python = netunicorn_python(print)
    async with installation(pods=False) as here:
        here.stack.add_user_gateway({"UNICORN_USER_REQUESTS_PER_SECOND": "1000", "UNICORN_USER_REQUEST_BURST": "10000"})
        here.cluster.run("create", "clusterrolebinding", "bench", "--clusterrole=cluster-admin", f"--user=netunicorn:{LOGIN}")
        store = await connect(here.stack.dsn, application_name="bench")
        try:
            await _account(store)
            await here.connector("local", "local", {"nodes": 1, "python": str(python)})
            await here.connector("fake", "fake", {"nodes": 0, "elastic": EXECUTORS, "agent": "NoOp"})
            spent = await asyncio.to_thread(_client, python, here.stack.user_url)
            reads, size = await _large(here, store, python)
        finally:
            await store.close()
    table(
        "netunicorn's client",
        [
            (f"prepare, start and end of one no-op, {ROUNDS} times", spent, "s", "<= 3 (netunicorn: >= 50)"),
            (f"GET of {EXECUTORS} executors, {size / 1e6:.1f} MB", reads, "ms", "<= 150"),
        ],
    )
    print(f"p90 of the reads: {statistics.quantiles(reads, n=10)[-1]:.0f} ms")


async def _account(store: Store) -> None:
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    await users.add(store, NewAccount(LOGIN, f"netunicorn:{LOGIN}", "default", sudo=True), hashed)


def _client(python: Path, url: str) -> list[float]:
    command = [python, "-Ic", CLIENT, url, LOGIN, PASSWORD, str(ROUNDS)]
    spent: list[float] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return spent


async def _large(here: Installation, store: Store, python: Path) -> tuple[list[float], int]:
    """Milliseconds of each read, and its bytes."""
    command = [python, "-Ic", GRAPH]
    graph = (await asyncio.to_thread(subprocess.run, command, capture_output=True, check=True)).stdout
    path = "/api/v1/experiment/large"
    async with aiohttp.ClientSession(here.stack.user_url, timeout=aiohttp.ClientTimeout(120)) as session:
        async with session.post("/api/v1/token", data={"username": LOGIN, "password": PASSWORD}) as answer:
            session.headers["Authorization"] = f"Bearer {(await answer.json())['access_token']}"
        async with session.post(path + "/prepare", json=_experiment(base64.b64encode(graph).decode())) as answer:
            if answer.status != 200:
                raise SystemExit(await answer.text())

        async def reaches(status: int) -> bool:
            async with session.get(path) as answer:
                return bool((await answer.json())["status"] == status)

        await until(lambda: reaches(2), "the large experiment is READY")
        async with session.post(path + "/start") as answer:
            await answer.read()
        await until(lambda: reaches(4), "the large experiment is FINISHED")
        async with store.transaction() as connection:
            for row in await connection.fetch("SELECT x.id FROM unicorn.executor x JOIN unicorn.experiment e ON e.uid = "
                                              "x.experiment_uid WHERE e.name LIKE 'large-%'"):  # fmt: skip
                await reports.put_report(connection, row["id"], bytes(REPORT_BYTES), final=True)
        spent, size = [], 0
        for _ in range(READS):
            began = time.perf_counter()
            async with session.get(path) as answer:
                size = len(await answer.read())
            spent.append((time.perf_counter() - began) * 1000)
        return spent, size


def _experiment(graph: str) -> dict[str, Any]:
    runtime = {"ports_mapping": {}, "environment_variables": {}, "additional_arguments": [], "network": None}
    properties = {"connector": "fake", "netunicorn-environments": ["DockerImage", "ShellExecution"]}
    return {
        "deployment_map": [
            {
                "node": {
                    "name": f"fake-pool-{index + 1}",
                    "properties": properties,
                    "additional_properties": {},
                    "architecture": "linux/amd64",
                },
                "prepared": False,
                "executor_id": "",
                "error": None,
                "execution_graph": graph,
                "keep_alive_timeout_minutes": 10,
                "cleanup": True,
                "environment_definition": {"commands": [], "runtime_context": runtime},
                "environment_definition_type": "ShellExecution",
            }
            for index in range(EXECUTORS)
        ],
        "deployment_context": None,
    }


asyncio.run(main())
