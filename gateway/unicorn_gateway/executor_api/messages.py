"""The bodies that executors send and get: the source of both validation and the OpenAPI document."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel
from pydantic.alias_generators import to_camel

INT32 = 2**31 - 1
INT64 = 2**63 - 1

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256, lower-case hex")]
TaskName = Annotated[str, Field(min_length=1, max_length=253)]
RunNumber = Annotated[int, Field(ge=1, le=INT32, strict=True)]
Seconds = Annotated[float, Field(allow_inf_nan=False)]
# Its range is checked by the route, which answers 422 rather than 400.
Integer64 = Annotated[int, Field(strict=True, json_schema_extra={"minimum": -(2**63), "maximum": INT64})]
FlagText = Annotated[str, Field(max_length=65536)]


class Message(BaseModel):
    """Unknown members are ignored, so that a newer agent can talk to an older gateway."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)


# --- events -------------------------------------------------------------------------------------------------------------


class Moment(Message):
    wall: Seconds = Field(description="seconds since the epoch")
    mono: Seconds = Field(description="seconds of the monotonic clock of that boot")


class TaskStarted(Moment):
    kind: Literal["TaskStarted"]
    task: TaskName
    run: RunNumber
    try_: RunNumber = Field(alias="try")


class TaskFinished(Moment):
    kind: Literal["TaskFinished"]
    task: TaskName
    run: RunNumber
    try_: RunNumber = Field(alias="try")
    outcome: Literal["Success", "Failure"]
    value: Any = None
    error: str | None = None
    reason: str | None = Field(default=None, max_length=64)
    not_json: bool = False
    blob: Digest | None = Field(default=None, description="in place of value")


class Log(Moment):
    kind: Literal["Log"]
    stream: Literal["stdout", "stderr", "agent"]
    task: TaskName | None = None
    run: RunNumber | None = None
    text: str | None = None
    blob: Digest | None = Field(default=None, description="in place of text")


class LogDropped(Moment):
    kind: Literal["LogDropped"]
    chunks: Annotated[int, Field(ge=0, le=INT64, strict=True)]
    bytes: Annotated[int, Field(ge=0, le=INT64, strict=True)]


Event = Annotated[TaskStarted | TaskFinished | Log | LogDropped, Field(discriminator="kind")]


class EventsRequest(Message):
    first: Annotated[int, Field(ge=1, le=INT64 - 256, strict=True)] = Field(description="number of the first event, from 1")
    boot_id: str | None = Field(default=None, max_length=64)
    events: list[Event] = Field(max_length=256, description="an empty list is a heartbeat")


class Command(Message):
    command: Literal["Cancel"]


class EventsAnswer(Message):
    stored: int = Field(description="number of the last stored event")
    commands: list[Command]


# --- assignment ---------------------------------------------------------------------------------------------------------


class ExecutorFacts(Message):
    id: str
    index: int
    attempt: int
    deployment: str
    node: str
    experiment: str
    experiment_uid: str
    namespace: str


class AssignmentAnswer(Message):
    """With state Released all members are there, else only the state."""

    state: Literal["Waiting", "Cancelled", "Finished", "Released"]
    executor: ExecutorFacts | None = None
    graph: dict[str, Any] | None = None
    heartbeat_seconds: float | None = None
    keep_alive_seconds: float | None = None
    next_sequence: int | None = None


# --- result -------------------------------------------------------------------------------------------------------------


class ResultRequest(Message):
    outcome: Literal["Success", "Failure"]
    last_sequence: Annotated[int, Field(ge=0, le=INT64, strict=True)]
    reason: str = Field(default="", max_length=64, description="of a Failure")
    message: str = ""
    results: dict[str, Any] | None = None
    blob: Digest | None = Field(default=None, description="in place of results")
    report: Digest | None = Field(default=None, description="of a serialized graph: the blob of its report, opaque")


class ResultAnswer(Message):
    state: Literal["Succeeded", "Failed", "Cancelled", "Lost"]


class ReportAnswer(Message):
    stored: bool = Field(description="false: the executor is final, or its final report is there")


# --- blobs --------------------------------------------------------------------------------------------------------------


class BlobAnswer(Message):
    offset: int = Field(description="bytes stored so far")
    complete: bool


# --- flags --------------------------------------------------------------------------------------------------------------


class FlagAnswer(Message):
    name: str
    text: str | None
    integer: int
    version: int = Field(description="0: never written")


class Unique(Message):
    """A write is applied once: a repeat with the same run and operation gets the first answer."""

    run: RunNumber
    operation: RunNumber


class FlagSet(Unique):
    text: FlagText | None = None
    integer: Integer64 | None = None
    if_version: Annotated[int, Field(ge=0, le=INT64, strict=True)] | None = None


class FlagPost(Unique):
    """Either `add` or `barrier`."""

    add: Integer64 | None = None
    barrier: Literal[True] | None = None


class BarrierAnswer(Message):
    open: bool
    arrived: int
    members: int
    version: int = Field(description="number of the meeting, from 1")


class FlagOrBarrierAnswer(RootModel[FlagAnswer | BarrierAnswer]):
    """The flag after an `add`, the barrier after a `barrier`."""


class Health(Message):
    status: Literal["ok"]


# --- errors -------------------------------------------------------------------------------------------------------------


class Problem(Message):
    """RFC 9457."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    reason: str
