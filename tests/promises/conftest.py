"""Stacks whose parts may be killed, what executors note about themselves, and a way to cut an executor off."""

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import e2e_kit
import pytest
from e2e_kit import Experiment, Kit, eventually
from unicorn_connectors.local import processes
from unicorn_core.naming import ExecutorId
from unicorn_devcluster.stack import Stack

LOCAL_NODES = 24


@dataclass(frozen=True)
class Notes:
    """Files outside of the executors' directories that tasks on this machine write to."""

    directory: Path

    def add(self, word: str) -> str:
        """A command that adds a line to its executor's file."""
        return f"echo {word} >> {self.directory}/$UNICORN_EXECUTOR_ID"

    def of(self, executor: object) -> list[str]:
        with contextlib.suppress(FileNotFoundError):
            return (self.directory / str(executor)).read_text().split()
        return []

    async def has(self, executor: object, word: str) -> None:
        """Waits until that executor has noted it."""

        async def check() -> bool:
            return word in self.of(executor)

        await eventually(check, f"executor {executor} notes {word}")

    def all(self) -> list[str]:
        return [word for path in self.directory.iterdir() for word in path.read_text().split()]

    def alone_on_node(self) -> str:
        """A command that notes a clash when somebody else has the node; held until the shell ends."""
        lock = f"{self.directory}/$(node.name).lock"
        return f"exec 9>>{lock}; flock -n 9 || echo clash >> {self.directory}/$UNICORN_EXECUTOR_ID"

    def wait_for(self, name: str) -> str:
        """A command that ends when `allow(name)` was called."""
        return f"while [ ! -e {self.directory}/{name}.allowed ]; do sleep 0.05; done"

    def allow(self, name: str) -> None:
        (self.directory / f"{name}.allowed").touch()


@pytest.fixture
def notes() -> Iterator[Notes]:
    directory = Path(tempfile.mkdtemp(prefix="unicorn-notes-"))
    directory.chmod(0o777)
    for index in range(LOCAL_NODES):  # executors have uids of their own, and close what they make to each other
        lock = directory / f"local-{index}.lock"
        lock.touch()
        lock.chmod(0o666)
    yield Notes(directory)
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def rough(stacks) -> Stack:
    """A stack whose operator and gateway a test may kill, if it starts them again.

    Its operator has a name of its own, so that it takes its own Lease up again at once.
    """
    return stacks(f"rough-{os.getpid()}", settings={"UNICORN_IDENTITY": "the-one"})


@pytest.fixture
async def rough_kit(rough: Stack) -> AsyncIterator[Kit]:
    rough.revive()
    async with e2e_kit.opened(rough) as kit:
        yield kit


async def running(experiment: Experiment, attempt: int = 1) -> dict[ExecutorId, list[processes.Process]]:
    """What runs of it on this machine, agents included."""
    executors = [ExecutorId(one.id) for one in await experiment.executors(attempt)]
    found = await asyncio.to_thread(processes.of_executors, executors)
    return {executor: its for executor, its in found.items() if its}


async def nothing_is_left(kit: Kit, experiment: Experiment) -> None:
    """No process, no directory, no lease, no claim, no orphan of it."""
    assert await running(experiment) == {}
    assert [await experiment.leases(), await experiment.orphans()] == [0, 0]
    async with kit.store.connection() as connection:
        holder = f"experiment:{experiment.uid}"
        assert await connection.fetchval("SELECT count(*) FROM unicorn.claim WHERE holder = $1", holder) == 0


async def told_once(experiment: Experiment, tasks: int) -> None:
    """Each of its executors has told of each of its tasks once, and of nothing twice or never."""
    for executor in await experiment.executors():
        events, logs = await experiment.events(executor.id), await experiment.logs(executor.id)
        numbers = sorted([one.sequence for one in events] + [one.sequence for one in logs])
        assert numbers == list(range(1, executor.events + 1)), numbers
        for kind in ("TaskStarted", "TaskFinished"):
            runs = [one.run for one in events if one.kind == kind]
            assert runs == sorted(set(runs)), (kind, runs)
            assert len(runs) == tasks, (kind, runs, executor)
        assert executor.results is not None, executor
        assert all(len(entries) == 1 for entries in executor.results.values()), executor.results


@dataclass
class Proxy:
    """TCP to the gateway, for executors that are to be cut off: open connections freeze and new ones get no answer."""

    host: str
    upstream: tuple[str, int]
    port: int = 0
    _open: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def cut(self) -> None:
        self._open.clear()

    def mend(self) -> None:
        """Connections of before are dead, as after a real cut; new ones are served."""
        self._open.set()
        for task in self._tasks:
            task.cancel()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._open.wait()
            back, forth = await asyncio.open_connection(*self.upstream)
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._pump(reader, forth))
                    group.create_task(self._pump(back, writer))
            finally:
                forth.close()
        except (OSError, asyncio.CancelledError, ExceptionGroup):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await self._open.wait()
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError


@contextlib.asynccontextmanager
async def proxy(stack: Stack) -> AsyncIterator[Proxy]:
    """In front of the stack's first gateway, uncut."""
    made = Proxy(stack.cluster.host_address, (stack.cluster.host_address, stack.gateways[0].port))
    server = await asyncio.start_server(made.serve, made.host, 0)
    made.port = server.sockets[0].getsockname()[1]
    made.mend()
    async with server:
        try:
            yield made
        finally:
            made.mend()
            server.close()
