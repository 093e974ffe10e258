"""Short ways to say what was observed. Everything that a row does not mention is ordinary."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid5

from unicorn_core.naming import ExecutorId, executor_id
from unicorn_core.planning.views import ExecutorView, Observed, Operation, Phase, Progress, Sight, State, Verb, Wish

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
UID = UUID("00000000-0000-0000-0000-00000000e4e4")

BEFORE_START = {Verb.PREPARE: "Done"}
STARTED = {Verb.PREPARE: "Done", Verb.START: "Done"}
OPERATIONS_OF = {
    State.PENDING: {},
    State.PREPARING: {Verb.PREPARE: "Pending"},
    State.PREPARED: BEFORE_START,
    State.STARTING: STARTED,
    State.CHECKED_IN: STARTED,
    State.RUNNING: STARTED,
    State.SUCCEEDED: STARTED,
    State.LOST: STARTED,
    State.FAILED: STARTED,
    State.CANCELLED: STARTED,
}
RELEASED = frozenset({State.RUNNING, State.SUCCEEDED, State.LOST})


def ids(*indexes: int) -> tuple[ExecutorId, ...]:
    return tuple(executor_id(UID, 1, "clients", index) for index in indexes)


def operations(at: datetime = NOON, /, **progress: str) -> dict[Verb, Operation]:
    """`operations(stop="Done")`; all were recorded at `at`."""
    return {Verb(verb.capitalize()): Operation(Progress(said), at) for verb, said in progress.items()}


def executor(state: str = "Pending", index: int = 0, **more) -> ExecutorView:
    """One that got to its state in the ordinary way, at noon; it holds its lease."""
    at = State(state)
    ordinary = {
        "id": executor_id(UID, 1, "clients", index),
        "deployment": "clients",
        "index": index,
        "keep_alive": 10 * MINUTE,
        "state": at,
        "node": f"node-{index}",
        "leased": True,
        "operations": {verb: Operation(Progress(said), NOON) for verb, said in OPERATIONS_OF[at].items()},
    }
    if at in RELEASED:
        ordinary |= {"checked_in": NOON, "released": NOON, "heard": NOON}
    if at is State.CHECKED_IN:
        ordinary |= {"checked_in": NOON, "heard": NOON}
    return ExecutorView(**(ordinary | more))


def gone(code: int | None = 0, since: datetime = NOON, count: int = 2, **more) -> dict:
    """What its connector says of an executor that has exited."""
    return {"sight": Sight.EXITED, "exit_code": code, "gone_since": since, "gone_count": count, **more}


def crowd(*states: str, **more) -> tuple[ExecutorView, ...]:
    return tuple(executor(state, index, **more) for index, state in enumerate(states))


def observed(phase: str = "Pending", *executors: ExecutorView, wish: Wish | None = None, **more) -> Observed:
    """In this phase since noon; with a snapshot unless it is Pending; quorum is all of them unless `wish` says otherwise."""
    at = Phase(phase)
    ordinary = {
        "wish": wish or Wish(quorum=len(executors)),
        "phase": at,
        "phase_start": NOON,
        "snapshot": at is not Phase.PENDING,
        "executors": executors,
    }
    return Observed(**(ordinary | more))


def wishing(**terms) -> Wish:
    return replace(Wish(), **terms)


def node_uid(name: str) -> UUID:
    return uuid5(UID, name)
