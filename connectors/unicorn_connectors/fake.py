"""A complete connector in memory, for tests and benchmarks: its nodes do what a test tells them to.

What runs lives in a `World`, which outlives the connector objects as a real system would. A test takes the same world by
its name, makes verbs fail, nodes unreachable, executors end, and counts starts.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, Literal

from pydantic import Field
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
    Unobservable,
    Unreachable,
)
from unicorn_core.naming import ExecutorId
from unicorn_core.resources.base import Model

from unicorn_connectors.fake_agent import run_noop_agent

Verb = Literal["check", "discover", "prepare", "start", "observe", "stop", "cleanup"]
POOL = "fake-pool"
_EVERYTHING = (EnvironmentType.IMAGE, EnvironmentType.SHELL)


class FakeConfig(Model):
    """`nodes` devices fake-0, fake-1, …, and a pool for `elastic` executors."""

    nodes: int = Field(default=1, ge=0, le=100_000)
    elastic: int = Field(default=0, ge=0)
    capacity: int = Field(default=1, ge=1)
    properties: dict[str, Any] = Field(default_factory=dict)
    agent: Literal["Silent", "NoOp"] = "Silent"  # NoOp: checks in at the gateway and succeeds at once
    world: str = ""  # its name; default: <namespace>/<name> of the Connector


@dataclass(slots=True)
class Fault:
    """What a verb answers instead. `takes_effect`: the verb is done all the same, only its answer is lost."""

    verb: Verb
    outcome: Outcome | Exception
    node: NodeName | None = None  # None: on any
    times: int | None = 1  # None: always
    takes_effect: bool = False


@dataclass(slots=True)
class FakeExecutor:
    handle: Handle
    fence: int = 0  # of its last start; 0: prepared only
    state: Running | Exited | None = None
    agent: "asyncio.Task[None] | None" = None


@dataclass(slots=True)
class World:
    """What a deployment system would be: nodes and what runs on them."""

    executors: dict[ExecutorId, FakeExecutor] = field(default_factory=dict)
    starts: Counter[ExecutorId] = field(default_factory=Counter)  # agents that were really started
    calls: Counter[str] = field(default_factory=Counter)  # by verb
    faults: list[Fault] = field(default_factory=list)
    delays: dict[str, float] = field(default_factory=dict)  # seconds, by verb
    unreachable: set[NodeName] = field(default_factory=set)
    unobservable: set[NodeName] = field(default_factory=set)
    health: Health = field(default_factory=lambda: Health(True))
    listeners: list[Callable[[ExecutorId], None]] = field(default_factory=list)

    def fail(
        self,
        verb: Verb,
        outcome: Outcome | Exception,
        node: NodeName | None = None,
        times: int | None = 1,
        takes_effect: bool = False,
    ) -> None:
        self.faults.append(Fault(verb, outcome, node, times, takes_effect))

    def fault(self, verb: Verb, node: NodeName | None) -> Fault | None:
        """The first one that fits, counted down."""
        for fault in self.faults:
            if fault.verb == verb and fault.node in (None, node):
                if fault.times is not None:
                    fault.times -= 1
                    if not fault.times:
                        self.faults.remove(fault)
                return fault
        return None

    def exit(self, executor: ExecutorId, code: int | None, reason: str = "") -> None:
        """Its process ends."""
        found = self.executors.get(executor)
        if found is None or not isinstance(found.state, Running):
            return
        found.state = Exited(code, reason)
        if found.agent is not None and not found.agent.done() and found.agent is not asyncio.current_task():
            found.agent.cancel()
        for listener in self.listeners:
            listener(executor)

    def running(self) -> set[ExecutorId]:
        return {executor for executor, found in self.executors.items() if isinstance(found.state, Running)}

    async def close(self) -> None:
        """End its agents. For the end of a test."""
        agents = [found.agent for found in self.executors.values() if found.agent is not None]
        for agent in agents:
            agent.cancel()
        await asyncio.gather(*agents, return_exceptions=True)


_worlds: dict[str, World] = {}


def world(name: str) -> World:
    """The world of that name, made at its first mention."""
    return _worlds.setdefault(name, World())


async def forget(name: str) -> None:
    """End a world."""
    if found := _worlds.pop(name, None):
        await found.close()


class FakeConnector:
    """See the protocol. A verb on an unreachable node is Unknown."""

    def __init__(self, context: ConnectorContext) -> None:
        self._config: FakeConfig = context.config
        self._notify = context.notify
        self.world = world(self._config.world or f"{context.namespace}/{context.name}")
        if self._notify is not None:
            self.world.listeners.append(self._notify)

    async def check(self) -> Health:
        await self._enter("check")
        return self.world.health

    async def discover(self) -> Sequence[DiscoveredNode]:
        await self._enter("discover")
        config = self._config
        found = [
            DiscoveredNode(name, "linux/amd64", _EVERYTHING, {"index": index, **config.properties}, config.capacity)
            for index, name in enumerate(self._devices())
        ]
        if config.elastic:
            found.append(DiscoveredNode(POOL, "linux/amd64", _EVERYTHING, config.properties, elastic_max=config.elastic))
        return found

    async def prepare(self, orders: Sequence[Order]) -> Mapping[ExecutorId, Outcome]:
        await self._enter("prepare")
        return {order.handle.executor: self._act("prepare", order.handle, partial(self._prepare, order)) for order in orders}

    async def start(self, orders: Sequence[Order]) -> Mapping[ExecutorId, Outcome]:
        await self._enter("start")
        return {order.handle.executor: self._act("start", order.handle, partial(self._start, order)) for order in orders}

    async def observe(self, nodes: Sequence[Node]) -> Mapping[NodeName, Sighting]:
        await self._enter("observe")
        by_node: dict[NodeName, dict[ExecutorId, Running | Exited]] = {node.name: {} for node in nodes}
        for executor, found in self.world.executors.items():
            if found.state is not None and found.handle.node.name in by_node:
                by_node[found.handle.node.name][executor] = found.state
        return {name: self._sighting(name, executors) for name, executors in by_node.items()}

    async def stop(self, handles: Sequence[Handle], grace: timedelta) -> Mapping[ExecutorId, Outcome]:
        await self._enter("stop")
        return {handle.executor: self._act("stop", handle, partial(self._stop, handle)) for handle in handles}

    async def cleanup(self, handles: Sequence[Handle]) -> Mapping[ExecutorId, Outcome]:
        await self._enter("cleanup")
        return {handle.executor: self._act("cleanup", handle, partial(self._cleanup, handle)) for handle in handles}

    async def close(self) -> None:
        if self._notify in self.world.listeners:
            self.world.listeners.remove(self._notify)

    # --- one executor ------------------------------------------------------------------------------------------------

    def _prepare(self, order: Order) -> Outcome:
        name = order.handle.node.name
        if name not in self._devices() and not (name == POOL and self._config.elastic):
            return Failed("NodeGone", f"there is no node {name}")
        self.world.executors.setdefault(order.handle.executor, FakeExecutor(order.handle))
        return Done()

    def _start(self, order: Order) -> Outcome:
        prepared = self._prepare(order)
        if not isinstance(prepared, Done):
            return prepared
        executor, fence = order.handle.executor, order.handle.fence
        found = self.world.executors[executor]
        if fence < found.fence:
            return Failed("Superseded", f"it was started with fence {found.fence}")
        if fence == found.fence and found.state is not None:
            return Done("was started before")
        self.world.exit(executor, None, "Superseded")
        found.handle, found.fence, found.state, found.agent = order.handle, fence, Running(), None
        self.world.starts[executor] += 1
        if self._config.agent == "NoOp":
            found.agent = asyncio.get_running_loop().create_task(self._run_agent(order))
        return Done()

    async def _run_agent(self, order: Order) -> None:
        code = await run_noop_agent(order.gateway, order.token)
        self.world.exit(order.handle.executor, code)

    def _stop(self, handle: Handle) -> Outcome:
        found = self.world.executors.get(handle.executor)
        if found is None:
            return Done("nothing was there")
        if 0 < handle.fence < found.fence:
            return Failed("Superseded", f"it was started with fence {found.fence}")
        self.world.exit(handle.executor, 143, "Stopped")
        return Done()

    def _cleanup(self, handle: Handle) -> Outcome:
        found = self.world.executors.get(handle.executor)
        if found is not None and isinstance(found.state, Running):
            return Failed("StillRunning", "stop it first")
        self.world.executors.pop(handle.executor, None)
        return Done()

    # --- faults ------------------------------------------------------------------------------------------------------

    async def _enter(self, verb: Verb) -> None:
        """Counts the call, takes its time, raises what a test wants raised."""
        self.world.calls[verb] += 1
        await asyncio.sleep(self.world.delays.get(verb, 0))
        raising = next((f for f in self.world.faults if f.verb == verb and isinstance(f.outcome, Exception)), None)
        if raising is not None and (fault := self.world.fault(verb, raising.node)) and isinstance(fault.outcome, Exception):
            raise fault.outcome

    def _act(self, verb: Verb, handle: Handle, act: Callable[[], Outcome]) -> Outcome:
        if handle.node.name in self.world.unreachable:
            return Unknown("Unreachable", f"{handle.node.name} does not answer")
        fault = self.world.fault(verb, handle.node.name)
        if fault is None:
            return act()
        if fault.takes_effect:
            act()
        return fault.outcome if not isinstance(fault.outcome, Exception) else Unknown("Fault", str(fault.outcome))

    def _sighting(self, name: NodeName, executors: Mapping[ExecutorId, Running | Exited]) -> Sighting:
        if name in self.world.unobservable:
            return Unobservable()
        if name in self.world.unreachable:
            return Unreachable(message=f"{name} does not answer")
        return Seen(executors)

    def _devices(self) -> Sequence[NodeName]:
        return [f"fake-{index}" for index in range(self._config.nodes)]


class FakeType:
    name = "fake"
    config_model = FakeConfig

    def create(self, context: ConnectorContext) -> Connector:
        return FakeConnector(context)


TYPE = FakeType()
