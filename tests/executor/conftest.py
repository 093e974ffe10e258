"""The agent as a real process, against a gateway that is a parameter of the suite."""

import asyncio
import itertools
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from fake_gateway import FakeGateway, Gateway
from real_gateway import real_gateway


def pytest_generate_tests(metafunc):
    """Each test runs against the fake and the real gateway, but those that need what only a fake can do."""
    if "gateway_kind" in metafunc.fixturenames:
        real = pytest.param("real", marks=pytest.mark.database)
        only = ["fake"] if "faults" in metafunc.fixturenames else [real] if "clients" in metafunc.fixturenames else None
        metafunc.parametrize("gateway_kind", only or ["fake", real])


@pytest.fixture
async def gateway(gateway_kind, request, tmp_path) -> AsyncIterator[Gateway]:
    if gateway_kind == "real":
        async with real_gateway(request.getfixturevalue("migrated"), tmp_path / "gateway") as real:
            yield real
        return
    fake = FakeGateway()
    await fake.start()
    yield fake
    await fake.stop()


@pytest.fixture
def faults(gateway):
    """The same gateway, which can do wrong."""
    return gateway


async def reaches(condition: Callable[[], Awaitable[object]], seconds: float = 20.0) -> object:
    """Waits until `condition` gives something true, and gives it."""
    until = time.monotonic() + seconds
    while True:
        found = await condition()
        if found:
            return found
        assert time.monotonic() < until, f"not reached in {seconds} s"
        await asyncio.sleep(0.02)


def living(pids):
    """A zombie with more than one thread is a process whose first thread alone has ended."""
    found = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
    return [process.pid for process in found if process.status() != psutil.STATUS_ZOMBIE or process.num_threads() > 1]


@dataclass
class Agent:
    process: asyncio.subprocess.Process
    gateway: Gateway
    token: str
    spool: Path
    errors: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    async def ends(self, seconds: float = 30.0) -> int:
        """Its exit code."""
        async with asyncio.timeout(seconds):
            return await self.process.wait()

    async def result(self, seconds: float = 30.0) -> dict:
        """The final report; the agent has ended."""
        assert await self.ends(seconds) == 0, self.errors.read_text()
        return await self.gateway.result(self.token)

    async def events(self, kind: str | None = None, **fields) -> list[dict]:
        found = await self.gateway.events(self.token)
        return [e for e in found if (kind in (None, e["kind"])) and all(e.get(name) == value for name, value in fields.items())]

    async def printed(self, task: str, stream: str = "stdout") -> str:
        return "".join(event["text"] for event in await self.events("Log", task=task, stream=stream))

    async def said(self, words: str) -> bool:
        """Whether it stands in what the agent wrote to stderr."""
        return words in self.errors.read_text()

    async def sees(self, kind: str, **fields) -> list[dict]:
        """Waits for an event."""
        return await reaches(lambda: self.events(kind, **fields))


@pytest.fixture
def workdir(tmp_path) -> Path:
    """Where tasks run."""
    path = tmp_path / "work"
    path.mkdir()
    return path


@pytest.fixture
async def start(gateway, tmp_path, workdir):
    """`await start(graph)` gives a running agent; another one on the same spool with `spool=`."""
    agents: list[Agent] = []
    numbers = itertools.count()  # several may be started at once

    async def run(graph=None, *, token=None, spool=None, environment=None, command=None, **assignment):
        token = token or await gateway.assign(graph, **assignment)
        number = next(numbers)
        token_file, errors = tmp_path / f"token-{number}", tmp_path / f"errors-{number}"
        token_file.write_text(token)
        settings = {
            "UNICORN_GATEWAY": gateway.url,
            "UNICORN_TOKEN_FILE": str(token_file),
            "UNICORN_SPOOL": str(spool or tmp_path / f"spool-{number}"),
            "UNICORN_WORKDIR": str(workdir),
        }
        with errors.open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *(command or [sys.executable, "-m", "unicorn_executor"]),
                env={"PATH": os.environ["PATH"], **settings, **(environment or {})},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        agent = Agent(process, gateway, token, Path(settings["UNICORN_SPOOL"]), errors)
        agents.append(agent)
        return agent

    yield run
    for agent in agents:
        if agent.process.returncode is None:
            agent.process.kill()
            await agent.process.wait()


@pytest.fixture(scope="session")
def zipapp(tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("zipapp") / "executor.pyz"
    subprocess.run([sys.executable, "-m", "unicorn_executor.build", str(target)], check=True)
    return target
