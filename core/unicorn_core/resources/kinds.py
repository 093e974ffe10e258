"""The five kinds: their names, models and columns. What is true of every kind is a loop over KINDS."""

from dataclasses import dataclass

from unicorn_core.resources.base import Model, StatusModel
from unicorn_core.resources.connector import ConnectorSpec, ConnectorStatus
from unicorn_core.resources.environment import EnvironmentSpec, EnvironmentStatus
from unicorn_core.resources.experiment import ExperimentSpec, ExperimentStatus
from unicorn_core.resources.pipeline import PipelineSpec
from unicorn_core.resources.targetnode import TargetNodeSpec, TargetNodeStatus


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `kubectl get`; `wide` ones are shown with -o wide only."""

    name: str
    path: str
    type: str = "string"
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Kind:
    name: str
    plural: str
    short_names: tuple[str, ...]
    description: str
    spec: type[Model]
    status: type[StatusModel] | None
    columns: tuple[Column, ...]

    @property
    def singular(self) -> str:
        return self.name.lower()


def _condition(type: str, field: str = "status") -> str:
    return f'.status.conditions[?(@.type=="{type}")].{field}'


EXPERIMENT = Kind(
    "Experiment",
    "experiments",
    ("exp",),
    "Runs pipelines on nodes, together.",
    ExperimentSpec,
    ExperimentStatus,
    (
        Column("Phase", ".status.phase"),
        Column("Progress", ".status.progress"),
        Column("Failed", ".status.executors.failed", "integer"),
        Column("Reason", ".status.reason"),
        Column("Attempt", ".status.attempt", "integer", wide=True),
        Column("Queue", ".status.queue.position", "integer", wide=True),
        Column("Message", ".status.message", wide=True),
    ),
)
PIPELINE = Kind("Pipeline", "pipelines", ("pipe",), "A reusable execution graph.", PipelineSpec, None, ())
ENVIRONMENT = Kind(
    "Environment",
    "environments",
    ("env",),
    "What an executor runs in: a container image, or the node itself.",
    EnvironmentSpec,
    EnvironmentStatus,
    (
        Column("Ready", _condition("Ready")),
        Column("Reason", _condition("Ready", "reason")),
        Column("Agent", ".spec.agent", wide=True),
        Column("Image", ".status.images[0].ref", wide=True),
    ),
)
CONNECTOR = Kind(
    "Connector",
    "connectors",
    ("conn",),
    "One deployment system, whose nodes experiments can use.",
    ConnectorSpec,
    ConnectorStatus,
    (
        Column("Type", ".spec.type"),
        Column("Healthy", _condition("Healthy")),
        Column("Nodes", ".status.nodes.total", "integer"),
        Column("Ready", ".status.nodes.ready", "integer"),
        Column("Leased", ".status.nodes.leased", "integer"),
        Column("Shared", ".spec.sharing.namespaces.from", wide=True),
        Column("Message", _condition("Healthy", "message"), wide=True),
    ),
)
TARGET_NODE = Kind(
    "TargetNode",
    "targetnodes",
    ("tn",),
    "A node that experiments can lease: one device, or an elastic pool.",
    TargetNodeSpec,
    TargetNodeStatus,
    (
        Column("Connector", ".spec.connectorRef.name"),
        Column("Node", ".spec.nodeName"),
        Column("Ready", _condition("Ready")),
        Column("Leased", ".status.leases.used", "integer"),
        Column("Architecture", ".status.architecture"),
        Column("Unschedulable", ".spec.unschedulable", "boolean", wide=True),
        Column("Holders", ".status.leases.firstHolders", wide=True),
        Column("Reason", _condition("Ready", "reason"), wide=True),
    ),
)
KINDS = (EXPERIMENT, PIPELINE, ENVIRONMENT, CONNECTOR, TARGET_NODE)
BY_NAME = {kind.name: kind for kind in KINDS}
