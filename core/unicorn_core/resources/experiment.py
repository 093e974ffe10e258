"""Experiment: deployments of pipelines to nodes, run together."""

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from unicorn_core.durations import parse_duration
from unicorn_core.resources.base import Model, StatusModel
from unicorn_core.resources.common import Conditions, ConnectorReference, Reference
from unicorn_core.resources.environment import EnvironmentSpec
from unicorn_core.resources.pipeline import ParamName, ParamValue, PipelineSpec
from unicorn_core.resources.types import ATOMIC, BY_NAME, Duration, Moment, Name, Portion, PortionField, Text, cel


class DesiredState(StrEnum):
    READY = "Ready"
    RUNNING = "Running"
    CANCELLED = "Cancelled"


class Phase(StrEnum):
    PENDING = "Pending"
    ALLOCATING = "Allocating"
    PREPARING = "Preparing"
    READY = "Ready"
    STARTING = "Starting"
    RUNNING = "Running"
    FINISHING = "Finishing"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELLED = "Cancelled"

    @property
    def final(self) -> bool:
        return self in (Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED)


class ExecutorState(StrEnum):
    PENDING = "Pending"
    PREPARING = "Preparing"
    PREPARED = "Prepared"
    STARTING = "Starting"
    CHECKED_IN = "CheckedIn"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    LOST = "Lost"
    CANCELLED = "Cancelled"

    @property
    def final(self) -> bool:
        return self in (ExecutorState.SUCCEEDED, ExecutorState.FAILED, ExecutorState.LOST, ExecutorState.CANCELLED)


class AllocationMode(StrEnum):
    ALL_OR_NOTHING = "AllOrNothing"
    BEST_EFFORT = "BestEffort"


class WhenBusy(StrEnum):
    QUEUE = "Queue"
    FAIL = "Fail"


class Share(StrEnum):
    EXCLUSIVE = "Exclusive"
    SAME_USER = "SameUser"


class NodeOperator(StrEnum):
    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"
    GT = "Gt"
    LT = "Lt"


class NodeRequirement(Model):
    """A requirement on the properties of a node."""

    key: Annotated[str, Field(min_length=1, max_length=253)] = Field(description="The property.")
    operator: NodeOperator = Field(description="In, NotIn, Exists, DoesNotExist, Gt, Lt; the last two compare numbers.")
    values: Annotated[tuple[Annotated[str, Field(max_length=253)], ...], Field(max_length=256, json_schema_extra=ATOMIC)] = Field(
        (), description="For In and NotIn: one or more; for Gt and Lt: one number; else none."
    )


class AllNodes(Model):
    """Every node that fits."""


class NodesSpec(Model):
    """Which nodes: by name or by properties (neither: any), and how many of them."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            ("!(has(self.names) && has(self.matchExpressions))", "write names or matchExpressions, not both"),
            ("!(has(self.count) && has(self.all))", "write count or all, not both"),
            ("has(self.names) || has(self.count) || has(self.all)", "say how many: write count, or all: {}"),
        )
    )

    connector_ref: ConnectorReference | None = Field(None, description="Only nodes of this Connector.")
    names: (
        Annotated[
            tuple[Annotated[str, Field(min_length=1, max_length=253)], ...],
            Field(min_length=1, max_length=10000, json_schema_extra=ATOMIC),
        ]
        | None
    ) = Field(None, description="Nodes by nodeName; a name that stands twice is used twice.")
    match_expressions: Annotated[tuple[NodeRequirement, ...], Field(max_length=32, json_schema_extra=ATOMIC)] | None = Field(
        None, description="Requirements on the nodes' properties; all must hold."
    )
    count: Annotated[int, Field(ge=1, le=100000)] | None = Field(
        None, description="How many executors; with neither count nor all: one for each of names."
    )
    all: AllNodes | None = Field(None, description="An executor on every node that fits.")


class ParamAssignment(Model):
    """The value of a parameter of the pipeline."""

    name: ParamName = Field(description="A parameter that the pipeline declares.")
    value: ParamValue = Field(description="Its value, a string.")


class DeploymentSpec(Model):
    """One pipeline in one environment on a set of nodes: an executor on each."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            ("has(self.pipelineRef) != has(self.pipeline)", "write one of pipelineRef, pipeline"),
            ("!(has(self.environmentRef) && has(self.environment))", "write environmentRef or environment, not both"),
        )
    )

    name: Name = Field(description="Unique in the experiment.")
    nodes: NodesSpec = Field(description="Where it runs.")
    environment_ref: Reference | None = Field(None, description="An Environment of the same namespace.")
    environment: EnvironmentSpec | None = Field(
        None, description="The environment itself; neither: the default image, or the node itself where it takes no images."
    )
    pipeline_ref: Reference | None = Field(None, description="A Pipeline of the same namespace.")
    pipeline: PipelineSpec | None = Field(None, description="The pipeline itself.")
    params: Annotated[tuple[ParamAssignment, ...], Field(max_length=256, json_schema_extra=BY_NAME)] = Field(
        (), description="Values for the pipeline's parameters."
    )
    keep_alive: Duration = Field(parse_duration("10m"), description="An executor that is silent for longer is lost.")
    cleanup: bool = Field(True, description="Remove what executors left on their nodes.")


class Allocation(Model):
    """How nodes are leased."""

    mode: AllocationMode = Field(
        AllocationMode.ALL_OR_NOTHING, description="AllOrNothing, or BestEffort: what is free, per deployment."
    )
    when_busy: WhenBusy = Field(WhenBusy.QUEUE, description="Queue: wait for nodes. Fail: do not.")
    share: Share = Field(Share.EXCLUSIVE, description="SameUser: nodes may be shared with experiments of the same user.")


class Start(Model):
    """How executors are released."""

    together: bool = Field(True, description="Release all at once when they are there; false: each at its check-in.")
    quorum: PortionField = Field(
        Portion(percent=100), description="How many must be there: an integer, or a percentage (rounded up)."
    )


class Deadlines(Model):
    """How long each phase may take."""

    allocate: Duration = Field(parse_duration("1h"), description="Pending and Allocating; then Failed.")
    prepare: Duration = Field(parse_duration("30m"), description="Preparing; then Failed.")
    hold: Duration = Field(parse_duration("24h"), description="Ready; then Cancelled.")
    start: Duration = Field(parse_duration("5m"), description="Starting; then without the missing, or Failed.")
    run: Duration = Field(parse_duration("24h"), description="Running; then stopped and Failed.")
    cleanup: Duration = Field(parse_duration("5m"), description="Finishing; then what remains is recorded as orphaned.")


class FailurePolicy(Model):
    """When an experiment succeeds in spite of failures."""

    tolerate: PortionField = Field(
        Portion(percent=0), description="How many executors may fail: an integer, or a percentage (rounded down)."
    )


class ExperimentSpec(Model):
    """An experiment: what runs where, and how."""

    model_config = ConfigDict(json_schema_extra=cel(("self.attempt >= oldSelf.attempt", "attempt can only be raised")))

    desired_state: DesiredState = Field(
        DesiredState.RUNNING, description="Ready: prepare and hold. Running: run. Cancelled: end; final for this attempt."
    )
    attempt: Annotated[int, Field(ge=1, le=100000)] = Field(1, description="Raised when the experiment has ended: run it again.")
    priority: Annotated[int, Field(ge=-1000000, le=1000000)] = Field(0, description="Higher gets nodes first.")
    deployments: Annotated[tuple[DeploymentSpec, ...], Field(max_length=1000, json_schema_extra=BY_NAME)] = Field(
        description="What runs where."
    )
    allocation: Allocation = Field(default_factory=Allocation, description="How nodes are leased.")
    start: Start = Field(default_factory=Start, description="How executors are released.")
    deadlines: Deadlines = Field(default_factory=Deadlines, description="How long each phase may take.")
    failure_policy: FailurePolicy = Field(default_factory=FailurePolicy, description="How many executors may fail.")
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = Field(
        None,
        description="Delete the experiment this long after its end; records stay. Under GitOps a deleted one would run again.",
    )


class ExecutorCounts(StatusModel):
    """A count for each state of an executor; they sum to total."""

    total: int = Field(0, description="All executors of this attempt.")
    pending: int = Field(0, description="Not yet being prepared.")
    preparing: int = Field(0, description="Being prepared on their nodes.")
    prepared: int = Field(0, description="Prepared.")
    starting: int = Field(0, description="Being started.")
    checked_in: int = Field(0, description="There, waiting to be released.")
    running: int = Field(0, description="Released, at work.")
    succeeded: int = Field(0, description="Ended well.")
    failed: int = Field(0, description="Ended badly.")
    lost: int = Field(0, description="Silent for too long.")
    cancelled: int = Field(0, description="Stopped on request.")


class ExecutorFailure(StatusModel):
    """An executor that failed."""

    executor: Annotated[str, Field(max_length=512)] = Field(description="experiment/attempt/deployment/index.")
    node: Annotated[str, Field(max_length=253)] = Field("", description="Its node.")
    reason: Annotated[str, Field(max_length=128)] = Field("", description="Why, as one CamelCase word.")
    message: Text = Field("", description="Why, for people.")


class QueueStatus(StatusModel):
    """The experiment's place among those that wait for nodes."""

    position: int = Field(description="1: next.")
    waiting_for: Text = Field("", description="Which node, and who holds it.")


class ExperimentStatus(StatusModel):
    """How the experiment goes; written by the operator only."""

    observed_generation: int | None = Field(None, description="The metadata.generation that this status describes.")
    phase: Phase | None = Field(None, description="Where it is in its life.")
    phase_start_time: Moment | None = Field(None, description="Since when.")
    reason: Annotated[str, Field(max_length=128)] = Field("", description="Why, as one CamelCase word.")
    message: Text = Field("", description="Why, for people.")
    attempt: int | None = Field(None, description="The attempt that this status describes.")
    start_time: Moment | None = Field(None, description="When the attempt was taken up.")
    completion_time: Moment | None = Field(None, description="When it became final.")
    progress: Annotated[str, Field(max_length=64)] = Field("", description="Such as 3/10 finished.")
    conditions: Conditions = Field(
        (), description="Accepted, Allocated, EnvironmentsReady, Prepared, Started, CleanedUp, Reconciled; Complete and Failed."
    )
    executors: ExecutorCounts | None = Field(None, description="A count for each state.")
    failures: Annotated[tuple[ExecutorFailure, ...], Field(max_length=20, json_schema_extra=ATOMIC)] = Field(
        (), description="The first 20 that failed."
    )
    queue: QueueStatus | None = Field(None, description="While it waits for nodes.")
