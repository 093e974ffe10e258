"""The connector protocol: how the operator speaks with a deployment system. It fits one screen; the types it needs follow.

Every verb is idempotent, takes a batch and may succeed in part. A connector raises only our errors (from their cause);
`Waiting` and `Broken` are retried by the operator, `Refused` is shown to the user. No call blocks the loop. The caller sets the
time limit of a call by cancelling it: a connector must leave nothing half-done that repeating the verb would not mend.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any, Protocol

from unicorn_core.naming import ExecutorId

NodeName = str


class Connector(Protocol):
    """One deployment system, configured."""

    async def check(self) -> "Health":
        """Whether the system can be reached with these credentials. Never raises for an unhealthy system: it says so."""

    async def discover(self) -> "Sequence[DiscoveredNode]":
        """All nodes that the system offers now."""

    async def prepare(self, orders: "Sequence[Order]") -> "Mapping[ExecutorId, Outcome]":
        """Do what can be done before start: pull, copy, run the environment's shell commands. Starts no agent."""

    async def start(self, orders: "Sequence[Order]") -> "Mapping[ExecutorId, Outcome]":
        """Start the agent, once per executor and fence; a lower fence than one seen on the node is refused (`Superseded`)."""

    async def observe(self, nodes: "Sequence[Node]") -> "Mapping[NodeName, Sighting]":
        """What of ours is on these nodes, known to us or not."""

    async def stop(self, handles: "Sequence[Handle]", grace: timedelta) -> "Mapping[ExecutorId, Outcome]":
        """End the agent and all it started. Done is evidence that nothing of it runs any more (also when nothing was there)."""

    async def cleanup(self, handles: "Sequence[Handle]") -> "Mapping[ExecutorId, Outcome]":
        """Remove what is left of stopped executors: directories, pods, images made for them."""

    async def close(self) -> None:
        """Give up connections. The object is not used afterwards."""


# --- what is said about a node -------------------------------------------------------------------------------------------


class EnvironmentType(StrEnum):
    IMAGE = "Image"
    SHELL = "Shell"


@dataclass(frozen=True, slots=True)
class Node:
    """A node as its connector knows it."""

    name: NodeName
    address: str = ""
    properties: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DiscoveredNode:
    """A node that discovery found. `capacity` for a device, `elastic_max` for a pool that makes nodes on demand."""

    name: NodeName
    architecture: str = "unknown"  # linux/amd64 …
    environments: tuple[EnvironmentType, ...] = (EnvironmentType.SHELL,)
    properties: Mapping[str, Any] = field(default_factory=dict)
    capacity: int = 1
    elastic_max: int | None = None
    address: str = ""
    access_tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Health:
    healthy: bool
    reason: str = "Reachable"  # CamelCase
    message: str = ""


# --- what is ordered -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Gateway:
    """The executor gateway as the connector's nodes see it."""

    endpoint: str  # http://host:port, without a trailing slash
    ca_bundle: str = ""  # PEM; empty for plain HTTP or public CAs
    agent_sha256: str = ""  # of the zipapp that it serves at /executor.pyz


@dataclass(frozen=True, slots=True)
class Runtime:
    """Runtime settings of an environment, secrets resolved."""

    environment: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[Mapping[str, Any], ...] = ()
    network: str = ""
    resources: Mapping[str, Any] = field(default_factory=dict)
    additional_arguments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Handle:
    """Enough to find an executor again on its node, after any restart of ours."""

    executor: ExecutorId
    node: Node
    namespace: str  # of the Experiment
    experiment_uid: str
    fence: int = 0  # 0: whatever is there


@dataclass(frozen=True, slots=True)
class Order:
    """Everything that is needed to prepare and start one executor. Secrets travel here only: repr hides them."""

    handle: Handle
    display: str  # hello/1/clients/0
    gateway: Gateway
    token: str = field(repr=False)
    image: str = ""  # repo@sha256:… or a tag; empty: the node itself
    image_pull_secret: str = ""  # name of a Secret in the experiment's namespace
    shell_commands: tuple[str, ...] = ()
    runtime: Runtime = field(default_factory=Runtime, repr=False)
    agent: str = "Native"  # or Netunicorn
    keep_alive: timedelta = timedelta(minutes=10)  # for so long it may be silent


# --- what came of it -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Done:
    message: str = ""
    clean: bool = False  # of a stop: nothing is left that cleanup would remove


@dataclass(frozen=True, slots=True)
class Failed:
    reason: str  # CamelCase: ImagePullFailed, CommandFailed, Superseded, NodeGone, …
    message: str = ""


@dataclass(frozen=True, slots=True)
class Unknown:
    """The verb may or may not have taken effect. Never evidence of anything; repeat or observe."""

    reason: str = "NoAnswer"
    message: str = ""


Outcome = Done | Failed | Unknown


@dataclass(frozen=True, slots=True)
class Running:
    started: bool = True  # False: made, but not running yet (image pull, scheduling)
    reason: str = ""  # why it is not running yet, or cannot be: Unschedulable, ImagePullBackOff, …
    message: str = ""
    hopeless: bool = False  # it will not start by waiting (ErrImagePull after several tries, invalid image name)


@dataclass(frozen=True, slots=True)
class Exited:
    code: int | None  # None: not known (killed with its node)
    reason: str = ""  # OOMKilled, Evicted, …
    message: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """A complete look at the node: what is not in here is not there (Absent)."""

    executors: Mapping[ExecutorId, Running | Exited] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unreachable:
    reason: str = "Unreachable"
    message: str = ""


@dataclass(frozen=True, slots=True)
class Unobservable:
    """This system cannot say what runs on its nodes (plugin, rest): silence and a confirmed stop alone decide."""


Sighting = Seen | Unreachable | Unobservable


# --- how connectors are made ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ConnectorContext:
    """What a connector is made from. `config` was checked by the type's own model already."""

    name: str
    namespace: str
    uid: str
    config: Any  # the type's pydantic model
    credentials: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    state_directory: str = ""  # where a connector beside the operator may keep files (local)
    notify: Any = None  # Callable[[ExecutorId], None] | None: a connector that watches calls it on news


class ConnectorType(Protocol):
    """An entry of the registry of connectors (entry point group `unicorn.connectors`)."""

    name: str
    config_model: Any  # type[pydantic.BaseModel]; extra="forbid"

    def create(self, context: ConnectorContext) -> Connector: ...
