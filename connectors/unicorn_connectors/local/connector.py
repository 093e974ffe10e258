"""The verbs of the connector `local`."""

import asyncio
import os
import platform
import signal
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from unicorn_core.connector import (
    Connector,
    ConnectorContext,
    DiscoveredNode,
    Done,
    EnvironmentType,
    Exited,
    Failed,
    Handle,
    Health,
    Node,
    NodeName,
    Order,
    Outcome,
    Running,
    Seen,
    Sighting,
    Unknown,
)
from unicorn_core.errors import Broken
from unicorn_core.naming import ExecutorId
from unicorn_core.platforms import platform_name
from unicorn_core.text import plain

from unicorn_connectors import netunicorn
from unicorn_connectors.agent_file import AgentFiles, AgentSource, given_agent
from unicorn_connectors.exit_codes import exit_reason
from unicorn_connectors.local import processes
from unicorn_connectors.local.config import LocalConfig
from unicorn_connectors.local.directory import ExecutorDirectory, Record, State, Status
from unicorn_connectors.local.exits import Exits
from unicorn_connectors.local.launch import start_agent
from unicorn_connectors.local.preparation import Preparation

_SUPERSEDED_GRACE = timedelta(seconds=6)  # the agent gives its tasks 5 s
_KILL_PATIENCE = timedelta(seconds=5)
_DAMAGED = (OSError, ValueError, KeyError, TypeError)  # what a directory answers with in which somebody meddled, or a full disk


class LocalConnector:
    """See the protocol. Whoever holds an executor's directory decides; the processes are taken up again from there."""

    def __init__(self, context: ConnectorContext, agent: str = "") -> None:
        self._config: LocalConfig = context.config
        self._python = self._config.interpreter()
        state = Path(context.state_directory)
        self._base = state / context.uid
        self._agents = AgentFiles(state / "agents", AgentSource(agent))
        self._preparation = Preparation(self._python)
        self._exits = Exits(context.notify)

    # --- the system --------------------------------------------------------------------------------------------------

    async def check(self) -> Health:
        return await asyncio.to_thread(self._check)

    def _check(self) -> Health:
        try:
            for directory in (self._base.parent, self._base):
                if not directory.exists():
                    directory.mkdir(parents=True)
                    directory.chmod(0o711)
        except OSError as error:
            return Health(False, "NoStateDirectory", f"cannot make {self._base}: {error.strerror}")
        if not os.access(self._python, os.X_OK):
            return Health(False, "PythonMissing", f"cannot execute {self._python}")
        needed = (self._base, Path(self._python), Path(self._python).resolve())
        closed = [parent for path in needed for parent in path.parents if not parent.stat().st_mode & 0o001]
        if closed and os.geteuid() == 0:
            return Health(False, "DirectoryClosed", f"executors run under other user ids, and {closed[0]} is closed to them")
        return Health(True)

    async def discover(self) -> Sequence[DiscoveredNode]:
        machine = platform.machine()
        architecture = platform_name(machine)
        properties = {"architecture": architecture, **self._config.properties}
        return [
            DiscoveredNode(name, architecture, (EnvironmentType.SHELL,), properties, self._config.capacity)
            for name in self._config.names()
        ]

    async def close(self) -> None:
        await self._exits.close()

    # --- prepare and start -------------------------------------------------------------------------------------------

    async def prepare(self, orders: Sequence[Order]) -> Mapping[ExecutorId, Outcome]:
        return await _each(orders, self._prepare)

    async def _prepare(self, order: Order) -> Outcome:
        if refused := self._refused(order):
            return refused
        await self._agent(order)
        return await self._preparation.run(self._directory(order.handle), order)

    async def start(self, orders: Sequence[Order]) -> Mapping[ExecutorId, Outcome]:
        return await _each(orders, self._start)

    async def _start(self, order: Order) -> Outcome:
        if refused := self._refused(order):
            return refused
        agent = await self._agent(order)
        directory = self._directory(order.handle)
        outcome = await asyncio.to_thread(self._start_step, directory, order, agent)
        if outcome is None:  # one with a lower fence runs
            self._exits.forget(directory.executor)
            left = await self._end([directory.executor], _SUPERSEDED_GRACE)
            if left:
                return Unknown("StillRunning", "the one that it supersedes does not end")
            outcome = await asyncio.to_thread(self._start_step, directory, order, agent)
        if isinstance(outcome, Done):
            self._exits.watch(directory, (await asyncio.to_thread(directory.status)).pid)
        return outcome or Unknown("StillRunning", "somebody else started it in between")

    async def _agent(self, order: Order) -> Path | None:
        """None: netunicorn's own, which its interpreter has. Raises AgentNotAvailable."""
        return None if netunicorn.is_wanted(order) else await self._agents.compiled(order.gateway, self._python)

    def _start_step(self, directory: ExecutorDirectory, order: Order, agent: Path | None) -> Outcome | None:
        """Under the directory's lock. None: another one must end first."""
        fence = order.handle.fence
        with directory.locked(make=True):
            record, status = directory.record(), directory.status()
            if record and (fence < record.fence or (fence == record.fence and record.state is State.STOPPED)):
                return Failed("Superseded", f"it was {record.state.lower()} with fence {record.fence}")
            if fence == status.fence and status.happened:
                return Done("was started before")
            if status.held:
                return None
            try:
                directory.make_home()
                directory.write_secrets(order.token, order.gateway.ca_bundle)
                # First: from now on nobody starts it with a lower fence, even if we are killed before it runs.
                directory.write_record(Record(order.handle.node.name, State.STARTED, fence))
                self._exits.started(directory.executor, start_agent(directory, order, self._python, agent))
            except OSError as error:
                return Failed("StartFailed", f"cannot start {self._python}: {error.strerror}")
            except ValueError as error:  # of Popen, for what no process can be given
                return Failed("StartFailed", f"cannot start {self._python}: {error}")
            return Done()

    def _refused(self, order: Order) -> Failed | None:
        if order.handle.node.name not in self._config.names():
            return Failed("NodeGone", f"there is no node {order.handle.node.name}")
        if order.image:
            return Failed("EnvironmentUnsupported", "local nodes take no images")
        return None

    # --- observe -----------------------------------------------------------------------------------------------------

    async def observe(self, nodes: Sequence[Node]) -> Mapping[NodeName, Sighting]:
        wanted = {node.name for node in nodes}
        found = await asyncio.to_thread(self._look, wanted)
        for directory, _, status in found:
            if status.runs:
                self._exits.watch(directory, status.pid)
        left = await self._exits.sweep(directory for directory, _, status in found if not status.runs)
        seen: dict[NodeName, dict[ExecutorId, Running | Exited]] = {name: {} for name in wanted}
        for directory, record, status in found:
            seen[record.node][directory.executor] = _seen(directory, status, directory.executor in left)
        return {name: Seen(executors) for name, executors in seen.items()}

    def _look(self, wanted: set[NodeName]) -> list[tuple[ExecutorDirectory, Record, Status]]:
        found = []
        for directory in ExecutorDirectory.all(self._base):
            record = directory.record()
            if record is None or record.node not in wanted:
                continue
            status = directory.status()
            if status.happened:
                found.append((directory, record, status))
        return found

    # --- stop and cleanup --------------------------------------------------------------------------------------------

    async def stop(self, handles: Sequence[Handle], grace: timedelta) -> Mapping[ExecutorId, Outcome]:
        refused = await asyncio.to_thread(lambda: {handle.executor: self._mark_stopped(handle) for handle in handles})
        left = await self._end([executor for executor, why in refused.items() if why is None], grace)
        still = Unknown("StillRunning", "some of its processes do not end")
        return {executor: why or (still if executor in left else Done()) for executor, why in refused.items()}

    def _mark_stopped(self, handle: Handle) -> Failed | Unknown | None:
        """None: now nobody starts it with this fence or a lower one, and it can be ended."""
        directory = self._directory(handle)
        try:
            with directory.locked():
                record = directory.record()
                if record and 0 < handle.fence < record.fence:
                    return Failed("Superseded", f"it was started with fence {record.fence}")
                fence = max(handle.fence, record.fence if record else 0)
                node = record.node if record else handle.node.name
                directory.write_record(Record(node, State.STOPPED, fence))
        except FileNotFoundError:
            pass  # nothing was ever there
        except _DAMAGED as error:
            return _damaged(error)
        return None

    async def _end(self, executors: Sequence[ExecutorId], grace: timedelta) -> set[ExecutorId]:
        """TERM to the agents, which end their tasks; then KILL to all that is left. Returns those whose processes still run."""
        running = await _processes(executors)
        agents = await asyncio.to_thread(self._agents_of, running)
        for process in agents:
            processes.send(process, signal.SIGTERM)
        await processes.wait_ended(agents, grace)
        deadline = time.monotonic() + _KILL_PATIENCE.total_seconds()
        while running := await _processes(running):
            rest = [process for its in running.values() for process in its]
            for process in rest:
                processes.send(process, signal.SIGKILL)
            if time.monotonic() > deadline:
                break
            await processes.wait_ended(rest, timedelta(seconds=0.5))
        return set(running)

    def _agents_of(self, running: Mapping[ExecutorId, list[processes.Process]]) -> list[processes.Process]:
        """Each with its wrapper. A wrapper alone has not started its agent yet, or does not need to hear of its end."""
        found = []
        for executor, its in running.items():
            try:
                group = ExecutorDirectory(self._base, executor).status().pid
            except _DAMAGED:
                continue  # it is killed without a word
            members = [process for process in its if process.group == group]
            found += members if len(members) > 1 else []
        return found

    async def cleanup(self, handles: Sequence[Handle]) -> Mapping[ExecutorId, Outcome]:
        running = await _processes([handle.executor for handle in handles])
        return {handle.executor: await self._cleanup(handle, handle.executor in running) for handle in handles}

    async def _cleanup(self, handle: Handle, running: bool) -> Outcome:
        try:
            if running or not await asyncio.to_thread(_remove, self._directory(handle)):
                return Failed("StillRunning", "stop it first")
        except _DAMAGED as error:
            return _damaged(error)
        self._exits.forget(handle.executor)
        return Done()

    def _directory(self, handle: Handle) -> ExecutorDirectory:
        return ExecutorDirectory(self._base, handle.executor)


def _damaged(error: Exception) -> Unknown:
    text = f"{error.strerror}: {error.filename}" if isinstance(error, OSError) else f"its record: {type(error).__name__}"
    return Unknown("DirectoryBroken", plain(text))


def _seen(directory: ExecutorDirectory, status: Status, left_overs: bool) -> Running | Exited:
    if status.runs:
        return Running()
    if left_overs:
        return Running(reason="LeftOvers", message="its agent has ended, some of its processes have not")
    return Exited(status.code, exit_reason(status.code), "" if status.code == 0 else directory.log_end())


def _remove(directory: ExecutorDirectory) -> bool:
    """False: it runs."""
    try:
        with directory.locked():
            if directory.status().held:
                return False
            directory.remove()
    except FileNotFoundError:
        pass  # nothing was there
    return True


async def _processes(executors: Iterable[ExecutorId]) -> dict[ExecutorId, list[processes.Process]]:
    """Of those of which something runs."""
    found = await asyncio.to_thread(processes.of_executors, list(executors)) if executors else {}
    return {executor: its for executor, its in found.items() if its}


async def _each(orders: Sequence[Order], act: Callable[[Order], Awaitable[Outcome]]) -> Mapping[ExecutorId, Outcome]:
    """All at once; what is broken for one is its own outcome."""

    async def one(order: Order) -> Outcome:
        try:
            return await act(order)
        except Broken as error:
            return Unknown(error.reason, plain(str(error)))
        except _DAMAGED as error:
            return _damaged(error)

    outcomes = await asyncio.gather(*(one(order) for order in orders))
    return {order.handle.executor: outcome for order, outcome in zip(orders, outcomes, strict=True)}


class LocalType:
    name = "local"
    config_model = LocalConfig

    def create(self, context: ConnectorContext) -> Connector:
        return LocalConnector(context, given_agent())


TYPE = LocalType()
