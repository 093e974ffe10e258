"""Our phases, states and reasons in netunicorn's words, and its answers about an experiment. Pure."""

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Generic, TypeVar
from uuid import NAMESPACE_OID, UUID, uuid5

from unicorn_core.naming import executor_id
from unicorn_core.resources import DesiredState, ExecutorState, Phase
from unicorn_store.mediator import Executor

from unicorn_gateway.user_api.mediator import texts
from unicorn_gateway.user_api.mediator.environments import with_identity
from unicorn_gateway.user_api.mediator.orders import Kept, KeptOrder, Place

_RUNNING = frozenset({Phase.STARTING, Phase.RUNNING, Phase.FINISHING})
_ENDED_BADLY = frozenset({ExecutorState.FAILED, ExecutorState.LOST, ExecutorState.CANCELLED})
_NOBODY = UUID(int=0)
_STOPPED = frozenset({"Cancelled", "CancelRequested", "Deleted", "HoldDeadlineExceeded"})


class Status(IntEnum):
    UNKNOWN = 0
    PREPARING = 1
    READY = 2
    RUNNING = 3
    FINISHED = 4

    def __str__(self) -> str:
        return f"ExperimentStatus.{self.name}"


@dataclass(frozen=True, slots=True)
class Experiment:
    """An Experiment, or what stands for one that there is not. `error`: why it never became one; `trouble`: why not yet."""

    name: str  # as the client knows it
    uid: UUID
    attempt: int
    status: Status
    error: str | None = None
    trouble: str = ""


def status_of(phase: str | None, desired: str) -> Status:
    """RUNNING as soon as it was started; one that is told to end is at work until it has ended."""
    where = Phase(phase or Phase.PENDING)
    if where.final:
        return Status.FINISHED
    if where in _RUNNING or (where is Phase.READY and desired != DesiredState.READY):
        return Status.RUNNING
    return Status.READY if where is Phase.READY else Status.PREPARING


def attempt_of(item: Mapping[str, Any]) -> int:
    """The attempt that the Experiment's status describes; before its first, the one that its spec asks for."""
    status = item.get("status") or {}
    return int(status.get("attempt") or (item.get("spec") or {}).get("attempt") or 1)


def without_executors(item: Mapping[str, Any]) -> str | None:
    """Why an Experiment has failed that never had one: netunicorn says that in place of results."""
    status = item.get("status") or {}
    if status.get("phase") != Phase.FAILED:
        return None
    return texts.without_prefix(status.get("message") or "") or status.get("reason") or "Failed"


def error_of(executor: Executor) -> str | None:
    """What the client is told of an executor that ended badly; None where its report tells all."""
    state = ExecutorState(executor.state)
    if state not in _ENDED_BADLY:
        return None
    if executor.reason == "ExecutorTimedOut":
        return texts.TIMED_OUT
    if state is ExecutorState.CANCELLED or executor.reason in _STOPPED:
        return texts.STOPPED
    if state is ExecutorState.FAILED and executor.final:
        return None
    return texts.without_prefix(executor.message) or executor.reason or state.value


def executor_of(experiment: Experiment, order: KeptOrder, position: int) -> UUID:
    """Its id, known before it exists; one that was refused has an id of its own."""
    if order.place is None:
        return uuid5(NAMESPACE_OID, f"{experiment.uid}/{position}")
    return executor_id(experiment.uid, experiment.attempt, order.place.deployment, order.place.index)


@dataclass(frozen=True, slots=True)
class Ordered:
    """A deployment as it was ordered, with what preparation made of it."""

    document: Mapping[str, Any]  # without its graph
    digest: str  # of its graph
    reporter: UUID | None = None  # nobody's report belongs there

    def text(self, graph: str, report: bytes | None = None) -> str:
        """`graph`: base64."""
        return _with(self.document, execution_graph=graph)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One entry of the execution result, its report aside. `reporter`: whose report belongs there, None: nobody's."""

    node: Mapping[str, Any]
    digest: str  # of its graph
    reporter: UUID | None
    error: str | None

    def text(self, graph: str, report: bytes | None) -> str:
        """`graph`: base64."""
        told = {"node": self.node, "error": self.error}
        if report is None:
            return _with({**told, "result": None}, execution_graph=graph)
        return _with(told, execution_graph=graph, result=base64.b64encode(report).decode())


def _with(document: Mapping[str, Any], **long: str) -> str:
    """JSON with further members whose texts need no escapes: base64 is long."""
    return json_text(document)[:-1] + "".join(f',"{name}":"{text}"' for name, text in long.items()) + "}"


_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)  # json.dumps would make one for each of thousands


def json_text(value: Any) -> str:
    return _ENCODER.encode(value)


A = TypeVar("A", bound=Ordered | Outcome)


@dataclass(slots=True)
class Batch(Generic[A]):
    """Answers whose graphs and reports are in memory at once: so many bytes."""

    answers: list[A] = field(default_factory=list)
    digests: set[str] = field(default_factory=set)
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class View:
    """All that is known of an experiment, graphs and reports aside, and its answers. `graphs`: digest -> bytes of those that are
    there."""

    experiment: Experiment
    kept: Kept
    executors: Mapping[Place, Executor]
    graphs: Mapping[str, int]

    def ordered(self) -> Iterator[Ordered]:
        """In the client's order."""
        for position, order in enumerate(self.kept.orders):
            yield Ordered(self._deployment(order, position), order.graph)

    def _deployment(self, order: KeptOrder, position: int) -> dict[str, Any]:
        id = executor_of(self.experiment, order, position)
        executor = self._executor(order)
        kind, environment = self.kept.environments[order.environment]
        prepared = executor is not None and executor.prepared
        minutes = order.keep_alive_minutes
        return {
            "node": order.node,
            "prepared": prepared,
            "executor_id": str(id),
            "error": None if prepared else self._error(order, executor),
            "keep_alive_timeout_minutes": int(minutes) if minutes == int(minutes) else minutes,
            "cleanup": order.cleanup,
            "environment_definition": with_identity(environment, str(id), str(self.experiment.uid)),
            "environment_definition_type": kind,
        }

    def outcomes(self) -> Iterator[Outcome]:
        """In the deployments' order."""
        for order in self.kept.orders:
            executor = self._executor(order)
            reporter = executor.id if executor is not None and executor.report_bytes is not None else None
            yield Outcome(order.node, order.graph, reporter, self._error(order, executor))

    def batches(self, answers: Iterable[A], most: int) -> Iterator[Batch[A]]:
        """Of one after another, whose graphs and reports have at most so many bytes together; one has at least one answer."""
        reports = {executor.id: executor.report_bytes or 0 for executor in self.executors.values()}
        batch = Batch[A]()
        for answer in answers:
            new = {answer.digest} - batch.digests
            more = sum(self.graphs.get(digest, 0) for digest in new) + reports.get(answer.reporter or _NOBODY, 0)
            if batch.answers and batch.bytes + more > most:
                yield batch
                batch = Batch[A]()
                more = self.graphs.get(answer.digest, 0) + reports.get(answer.reporter or _NOBODY, 0)
            batch.answers.append(answer)
            batch.digests.add(answer.digest)
            batch.bytes += more
        if batch.answers:
            yield batch

    def tells(self) -> bool:
        """Whether there is an execution result: at the end always, before it once an executor has reported or ended."""
        if self.experiment.status is not Status.RUNNING:
            return self.experiment.status is Status.FINISHED
        known = self.executors.values()
        return any(one.report_bytes is not None or ExecutorState(one.state) in _ENDED_BADLY for one in known)

    def _executor(self, order: KeptOrder) -> Executor | None:
        return None if order.place is None else self.executors.get(order.place)

    def _error(self, order: KeptOrder, executor: Executor | None) -> str | None:
        return order.refusal or self.experiment.trouble or None if executor is None else error_of(executor)
