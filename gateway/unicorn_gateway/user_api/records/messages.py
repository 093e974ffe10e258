"""What records v2 answers and takes: the source of both the documents and their OpenAPI schemas."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

INT64 = 2**63 - 1
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$", description="SHA-256 of a blob of the executor")]


class Message(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)

    def told(self) -> dict[str, Any]:
        """Its JSON; what is None is absent."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class ExperimentRecord(Message):
    """An experiment as its resource last said."""

    uid: UUID
    namespace: str
    name: str
    user: str
    attempt: int
    phase: str
    reason: str
    message: str
    created_at: datetime
    started_at: datetime | None = Field(None, description="of its present attempt")
    completed_at: datetime | None = None
    deleted_at: datetime | None = Field(None, description="when its resource went; absent: it is there")


class ExperimentDetail(ExperimentRecord):
    spec: dict[str, Any] = Field(description="of its resource")
    status: dict[str, Any] = Field(description="of its resource")


class Experiments(Message):
    items: list[ExperimentRecord]
    continue_: str | None = Field(None, alias="continue", description="there are more: for the next request")


class Executor(Message):
    id: UUID
    attempt: int
    deployment: str
    index: int
    node: str
    state: str
    reason: str
    message: str
    checked_in_at: datetime | None = None
    released_at: datetime | None = None
    heard_at: datetime | None = None
    finished_at: datetime | None = None
    cancel_requested_at: datetime | None = None
    exit_code: int | None = None
    events: int = Field(description="how many were stored, log chunks included")
    log_bytes: int


class Executors(Message):
    items: list[Executor]
    continue_: str | None = Field(None, alias="continue")


class TaskRun(Message):
    """A try of a run of a task."""

    sequence: int = Field(description="of the event that began it")
    task: str
    run: int
    try_: int = Field(alias="try")
    started_at: datetime | None = None
    finished_at: datetime | None = None
    seconds: float | None = Field(None, description="by the node's monotonic clock")
    outcome: Literal["Success", "Failure"] | None = Field(None, description="absent: it has not ended, as far as is known")
    value: Any = None
    blob: Digest | None = Field(None, description="in place of value")
    error: str | None = None
    reason: str | None = None


class TaskRuns(Message):
    items: list[TaskRun]
    continue_: str | None = Field(None, alias="continue")


class Event(Message):
    sequence: int
    kind: str
    task: str | None = None
    run: int | None = None
    try_: int | None = Field(None, alias="try")
    wall: datetime | None = Field(None, description="the node's clock")
    mono: float | None = Field(None, description="seconds of the monotonic clock of that boot")
    boot_id: str | None = None
    received_at: datetime
    late: bool = Field(description="it came too late to count")
    body: dict[str, Any] = Field(description="outcome, value or blob, error, reason; as docs/executor-protocol.md has them")


class Events(Message):
    items: list[Event]
    continue_: str | None = Field(None, alias="continue")


class LogChunk(Message):
    sequence: int
    task: str | None = None
    run: int | None = None
    stream: str
    wall: datetime | None = None
    received_at: datetime
    late: bool
    text: str | None = None
    blob: Digest | None = Field(None, description="in place of text")


class Logs(Message):
    items: list[LogChunk]
    next: int = Field(description="`after` of the next request, whether there is more yet or not")
    ended: bool = Field(description="nothing more will come that counts, and all of it was given")


class ReportFacts(Message):
    size: int
    final: bool
    received_at: datetime


class Result(Message):
    """What an executor reported at its end. All members but `report` are absent while it has not."""

    outcome: Literal["Success", "Failure"] | None = None
    reason: str | None = None
    message: str | None = None
    results: dict[str, Any] | None = Field(None, description="task -> a list of {outcome, value, error, reason}, one a run")
    blob: Digest | None = Field(None, description="in place of results: JSON of up to 64 MiB")
    late: bool | None = Field(None, description="it came too late to count")
    received_at: datetime | None = None
    report: ReportFacts | None = Field(None, description="of a serialized graph: what netunicorn's client gets; see …/report")


class Flag(Message):
    name: str
    text: str | None
    integer: int
    version: int = Field(description="0: never written")

    def told(self) -> dict[str, Any]:
        """A text that is null is there."""
        return self.model_dump(mode="json")


class Flags(Message):
    items: list[Flag]
    continue_: str | None = Field(None, alias="continue")


class FlagSet(Message):
    """An absent text or integer keeps its value."""

    model_config = ConfigDict(extra="forbid")

    text: Annotated[str, Field(max_length=65536)] | None = None
    integer: Annotated[int, Field(strict=True, ge=-(2**63), le=INT64)] | None = None
    if_version: Annotated[int, Field(strict=True, ge=0, le=INT64)] | None = Field(None, description="only if it has this version")


class FlagAdd(Message):
    model_config = ConfigDict(extra="forbid")

    add: Annotated[int, Field(strict=True, ge=-(2**63), le=INT64)]


class Cancelled(Message):
    """It is asked to end; its record says when it has."""

    uid: UUID


class ExecutorCancelled(Message):
    id: UUID
