"""What the planner looks at and what it asks for. Values only; everything was read before, everything is done after."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from unicorn_core.errors import Problem
from unicorn_core.naming import ExecutorId
from unicorn_core.resources.experiment import ExecutorState
from unicorn_core.resources.experiment import Phase as Phase

State = ExecutorState

FINAL_PHASES = frozenset({Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED})


FINAL_STATES = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})
SETTLED_STATES = FINAL_STATES | {State.LOST}  # a Lost one may come back until its experiment is final


class Verb(StrEnum):
    PREPARE = "Prepare"
    START = "Start"
    STOP = "Stop"
    CLEANUP = "Cleanup"


class Progress(StrEnum):
    """Of an operation."""

    PENDING = "Pending"
    DONE = "Done"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


class Sight(StrEnum):
    """What a connector last said of an executor."""

    NEVER = ""
    WAITING = "Waiting"
    HOPELESS = "Hopeless"
    RUNNING = "Running"
    EXITED = "Exited"
    ABSENT = "Absent"
    UNREACHABLE = "Unreachable"


class ConnectorState(StrEnum):
    PRESENT = "Present"
    DELETING = "Deleting"  # it, or the executor's TargetNode, is being deleted
    GONE = "Gone"


@dataclass(frozen=True, slots=True)
class Operation:
    progress: Progress
    created: datetime
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class ExecutorView:
    """One executor of the present attempt."""

    id: ExecutorId
    deployment: str
    index: int
    keep_alive: timedelta
    state: State = State.PENDING
    reason: str = ""
    message: str = ""
    node: str = ""  # its name; empty: it got none
    leased: bool = False
    orphaned: bool = False
    connector: ConnectorState = ConnectorState.PRESENT
    connector_deleting_since: datetime | None = None
    cleanup: bool = True
    report_results: bool = True
    netunicorn: bool = False  # netunicorn's own agent: it cannot be asked to end, and reports before it exits
    cancel_requested: datetime | None = None
    checked_in: datetime | None = None
    released: datetime | None = None
    heard: datetime | None = None
    sight: Sight = Sight.NEVER
    sight_reason: str = ""
    sight_message: str = ""
    exit_code: int | None = None
    gone_since: datetime | None = None  # of the uninterrupted sightings Exited or Absent, all after its start was done, the first
    gone_count: int = 0
    operations: Mapping[Verb, Operation] = field(default_factory=dict)

    def progress(self, verb: Verb) -> Progress | None:
        operation = self.operations.get(verb)
        return operation.progress if operation else None

    def recorded(self, verb: Verb) -> datetime | None:
        operation = self.operations.get(verb)
        return operation.created if operation else None


@dataclass(frozen=True, slots=True)
class Deadlines:
    allocate: timedelta = timedelta(hours=1)
    prepare: timedelta = timedelta(minutes=30)
    hold: timedelta = timedelta(hours=24)
    start: timedelta = timedelta(minutes=5)
    run: timedelta = timedelta(hours=24)
    cleanup: timedelta = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Wish:
    """What the spec says about how to run, its shares already counted in executors."""

    desired: str = "Running"  # Ready | Running | Cancelled
    attempt: int = 1
    deployments: int = 1
    all_or_nothing: bool = True
    queue_when_busy: bool = True
    together: bool = True
    quorum: int = 0
    tolerate: int = 0
    deadlines: Deadlines = Deadlines()
    ttl: timedelta | None = None


@dataclass(frozen=True, slots=True)
class AllocationResult:
    """What came of the last try to allocate, in this pass."""

    allocated: bool
    reason: str = ""
    message: str = ""
    position: int | None = None  # in the queue, from 1
    waiting_for: str = ""  # a node and who holds it
    hopeless: bool = False  # no waiting will help


@dataclass(frozen=True, slots=True)
class Hindrance:
    """Why something cannot go on yet."""

    reason: str
    message: str
    fatal: bool = False


@dataclass(frozen=True, slots=True)
class Observed:
    """All that the planner needs to know about one experiment."""

    wish: Wish
    phase: Phase = Phase.PENDING
    phase_start: datetime | None = None
    attempt: int = 1  # that the phase belongs to
    reason: str = ""  # of the phase; in Finishing it is the verdict's
    message: str = ""
    start_time: datetime | None = None
    completion_time: datetime | None = None
    generation: int = 1
    conditions: tuple[Mapping[str, Any], ...] = ()
    has_finalizer: bool = True
    deleting: bool = False
    namespace_terminating: bool = False
    problems: tuple[Problem, ...] = ()  # of the spec, and of what it refers to; looked for in Pending only
    refused_edit: str = ""  # what the spec asks for and an attempt does not allow; the attempt goes on without it
    missing: tuple[str, ...] = ()  # references that do not exist (yet): "Pipeline lab/speedtest"
    snapshot: bool = False  # the attempt's snapshot is recorded
    executors: tuple[ExecutorView, ...] = ()
    environments: tuple[tuple[str, Hindrance], ...] = ()  # deployment -> why its environment is not ready
    allocation: AllocationResult | None = None
    allocation_pause: str = ""  # why nothing may be allocated now
    queued: bool = False  # stands in the queue for nodes
    reception_restored: datetime | None = None  # since when reports can reach us without a break; the present while they cannot
    may_enforce: bool = True  # False until nodes were observed after an outage of ours


# --- what the planner asks for -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AddFinalizer:
    pass


@dataclass(frozen=True, slots=True)
class TakeSnapshot:
    attempt: int


@dataclass(frozen=True, slots=True)
class Allocate:
    attempt: int


@dataclass(frozen=True, slots=True)
class LeaveQueue:
    pass


@dataclass(frozen=True, slots=True)
class Operate:
    """Record an operation for each executor, unless it is recorded already."""

    verb: Verb
    executors: tuple[ExecutorId, ...]


@dataclass(frozen=True, slots=True)
class CancelOperations:
    verbs: tuple[Verb, ...]
    executors: tuple[ExecutorId, ...]


@dataclass(frozen=True, slots=True)
class Settle:
    """Give executors a state, if they are not final yet."""

    executors: tuple[ExecutorId, ...]
    state: State
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Release:
    """Let checked-in executors run."""

    executors: tuple[ExecutorId, ...]


@dataclass(frozen=True, slots=True)
class FreeLeases:
    executors: tuple[ExecutorId, ...]


@dataclass(frozen=True, slots=True)
class RecordOrphans:
    executors: tuple[ExecutorId, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class RemoveFinalizer:
    pass


@dataclass(frozen=True, slots=True)
class DeleteResource:
    """Its time to live after the end is over."""


Effect = (
    AddFinalizer
    | TakeSnapshot
    | Allocate
    | LeaveQueue
    | Operate
    | CancelOperations
    | Settle
    | Release
    | FreeLeases
    | RecordOrphans
)
LastEffect = RemoveFinalizer | DeleteResource


@dataclass(frozen=True, slots=True)
class Plan:
    """The next step. Effects first (then observe and plan again); with none left, the status is written, then `last` is done."""

    phase: Phase
    phase_start: datetime
    attempt: int
    reason: str
    message: str
    effects: tuple[Effect, ...] = ()
    last: tuple[LastEffect, ...] = ()
    look_again_at: datetime | None = None
    waits_for: str = ""  # what will wake us, if no time is set
    conditions: tuple[Mapping[str, Any], ...] = ()  # type, status, reason, message
    start_time: datetime | None = None
    completion_time: datetime | None = None
    queue: Mapping[str, Any] | None = None
