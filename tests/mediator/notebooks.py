"""A researcher's notebook: cells run by a Python that has netunicorn's released packages, unmodified, and nothing of ours."""

import asyncio
import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_KERNEL = """
import contextlib, io, json, sys, traceback, warnings
answers, sys.stdout = sys.stdout, sys.stderr
warnings.simplefilter("ignore")
cells = {}
for line in sys.stdin:
    cells.pop("result", None)
    try:
        exec(compile(json.loads(line), "<cell>", "exec"), cells)
        answer = {"result": cells.get("result")}
    except BaseException as error:
        answer = {"error": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}
    answers.write(json.dumps(answer, default=repr) + "\\n")
    answers.flush()
"""
_FIRST = """
import json, time
import requests
from netunicorn.base import *
from netunicorn.base.environment_definitions import DockerImage, RuntimeContext, ShellExecution
from netunicorn.base.nodes import CountableNodePool, Node, UncountableNodePool
from netunicorn.base.utils import UnicornEncoder
from netunicorn.client import RemoteClient
from netunicorn.client.remote import RemoteClientException
from netunicorn.library.tasks.basic import DummyTask, SleepTask, ShellCommand

def pipeline(*tasks, **more):
    made = Pipeline(environment_definition=ShellExecution(), **more)
    for task in tasks:
        made = made.then(task)
    return made

def one(node, *tasks, **more):
    return Experiment().append(node, pipeline(*tasks, **more))

def on(client, count=1, connector="campus"):
    found = client.get_nodes().filter(lambda node: node["connector"] == connector and not node["netunicorn-access-tags"])
    return found.take(count)

def wait(client, name, *statuses, seconds=60):
    deadline = time.monotonic() + seconds
    while True:
        information = client.get_experiment_status(name)
        if information.status in statuses:
            return information
        assert information.status is not ExperimentStatus.FINISHED, f"{name} has ended: {str(information)[:4000]}"
        assert time.monotonic() < deadline, f"{name} stays {information.status}: {str(information)[:4000]}"
        time.sleep(0.05)

def ready(client, experiment, name):
    client.prepare_experiment(experiment, name)
    return wait(client, name, ExperimentStatus.READY)

def finish(client, name):
    return wait(client, name, ExperimentStatus.FINISHED)

def run(client, experiment, name):
    ready(client, experiment, name)
    client.start_execution(name)
    return finish(client, name)

def refused(call, *arguments):
    try:
        said = call(*arguments)
    except RemoteClientException as error:
        return str(error)
    raise AssertionError(f"it was not refused: {said}")

def raw(client, method, path, **more):
    headers = {"Authorization": f"Bearer {client._session_token}", **more.pop("headers", {})}
    return requests.request(method, client.endpoint + path, headers=headers, **more)
"""


class CellError(AssertionError):
    """What a cell raised, with its traceback."""


@dataclass
class Notebook:
    process: asyncio.subprocess.Process

    @classmethod
    async def open(cls, python: Path) -> "Notebook":
        process = await asyncio.create_subprocess_exec(
            python,
            "-Ic",
            _KERNEL,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=64 * 1024 * 1024,
            env={"PATH": "/usr/bin:/bin"},
        )
        notebook = cls(process)
        await notebook(_FIRST)
        return notebook

    async def __call__(self, cell: str) -> Any:
        """What the cell left in `result`."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(cell).encode() + b"\n")
        await self.process.stdin.drain()
        answer = json.loads(await self.process.stdout.readline())
        if "error" in answer:
            raise CellError(f"{answer['error']}\n{answer['trace']}")
        return answer["result"]

    async def log_in(self, url: str, **names: str) -> None:
        """A RemoteClient for each: variable=login."""
        for variable, login in names.items():
            await self(f"{variable} = RemoteClient({url!r}, {login!r}, {PASSWORD!r})")

    async def close(self) -> None:
        """Whatever its cell does: a test that failed leaves it in the middle of one."""
        with suppress(ProcessLookupError):
            self.process.kill()
        await self.process.communicate()  # to the end of its pipes, which the loop would leave open otherwise


PASSWORD = "a long enough one"
