"""Rules that several phases share: winding down, losing the silent, cancelling one. Each adds to the step of a pass."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from unicorn_core.naming import ExecutorId
from unicorn_core.planning.liveness import Silence, is_lost, next_look
from unicorn_core.planning.views import (
    FINAL_STATES,
    SETTLED_STATES,
    CancelOperations,
    ConnectorState,
    Effect,
    ExecutorView,
    FreeLeases,
    LastEffect,
    LeaveQueue,
    Observed,
    Operate,
    Phase,
    Progress,
    RecordOrphans,
    Settle,
    Sight,
    State,
    Verb,
)

CANCEL_GRACE = timedelta(seconds=30)  # an executor that was asked to end gets this long to report before it is stopped
EVIDENCE_SIGHTINGS = 2  # of Exited or Absent before a connector's word is believed


EndOf = Callable[[ExecutorView], datetime | None]  # until when an executor may be wound down; None: not known yet


@dataclass(slots=True)
class Step:
    """What a phase decided. `phase` other than the observed one means: go there."""

    phase: Phase
    reason: str = ""
    message: str = ""
    effects: list[Effect] = field(default_factory=list)
    last: list[LastEffect] = field(default_factory=list)
    look: list[datetime] = field(default_factory=list)
    waits_for: str = ""
    waits: dict[str, tuple[str, str]] = field(default_factory=dict)
    queue: dict[str, Any] | None = None
    settled: set[ExecutorId] = field(default_factory=set)  # in this step

    def finish(self, reason: str, message: str = "") -> "Step":
        self.phase, self.reason, self.message = Phase.FINISHING, reason, message
        return self


def wind_down(
    observed: Observed,
    executors: Sequence[ExecutorView],
    step: Step,
    now: datetime,
    end: Callable[[ExecutorView], datetime | None],
) -> None:
    """Stop -> clean up -> free, each for those that are that far; what has no evidence at its `end` becomes an orphan.

    Also those for which nothing was ever recorded are stopped: a database restored to an earlier state knows of no start.
    """
    over = {e.id for e in executors if observed.may_enforce and (at := end(e)) is not None and now >= at}
    gone, there = _divided(executors, lambda e: _shown_gone(e, e.id in over or e.connector is ConnectorState.GONE))
    cut_off, reachable = _divided(there, lambda e: e.connector is ConnectorState.GONE)
    cancel_operations(step, cut_off)
    stop(step, reachable)
    cleaning, free = _divided(gone, lambda e: e.id not in over and _wants_cleanup(e))
    operate(step, Verb.CLEANUP, cleaning)
    if free:
        step.effects.append(FreeLeases(ids(free)))
    if cut_off:
        step.effects.append(RecordOrphans(ids(cut_off), "ConnectorGone"))
    if late := [e for e in reachable if e.id in over]:
        step.effects.append(RecordOrphans(ids(late), "StopNotConfirmed"))
    step.look.extend(at for e in executors if (at := end(e)) is not None)


def _divided(
    executors: Iterable[ExecutorView], holds: Callable[[ExecutorView], bool]
) -> tuple[list[ExecutorView], list[ExecutorView]]:
    """Those for which it holds, and the others. Asked once of each: there may be ten thousand."""
    yes: list[ExecutorView] = []
    no: list[ExecutorView] = []
    for executor in executors:
        (yes if holds(executor) else no).append(executor)
    return yes, no


def _wants_cleanup(executor: ExecutorView) -> bool:
    if not executor.cleanup or executor.connector is ConnectorState.GONE:
        return False
    return executor.progress(Verb.CLEANUP) in (None, Progress.PENDING)


def _shown_gone(executor: ExecutorView, last_resort: bool) -> bool:
    """A confirmed stop shows it. So does, where stopping failed, that the agent was started and then seen to be gone."""
    if executor.progress(Verb.STOP) is Progress.DONE:
        return True
    return (last_resort or executor.progress(Verb.STOP) is Progress.FAILED) and _started_and_gone(executor)


def _started_and_gone(executor: ExecutorView) -> bool:
    """Before its start is done, absence only says that it is not there yet."""
    return executor.progress(Verb.START) is Progress.DONE and is_gone(executor)


def is_gone(executor: ExecutorView) -> bool:
    return executor.sight in (Sight.EXITED, Sight.ABSENT) and executor.gone_count >= EVIDENCE_SIGHTINGS


def fail_those_without_connector(observed: Observed, step: Step, now: datetime) -> None:
    """Deleting a connector, or a node, ends the executors on it; their leases go as soon as they are seen to be gone."""
    gone = [e for e in observed.executors if e.node and e.connector is not ConnectorState.PRESENT]
    alive = [e for e in gone if e.state not in FINAL_STATES]
    settle(step, alive, State.FAILED, "ConnectorDeleted", "its connector or node was deleted")
    limit = observed.wish.deadlines.cleanup
    ended = [e for e in gone if e.leased and e.state in FINAL_STATES]
    wind_down(observed, ended, step, now, lambda e: e.connector_deleting_since and e.connector_deleting_since + limit)


def fail_those_without_environment(observed: Observed, step: Step) -> None:
    fatal = {deployment: why for deployment, why in observed.environments if why.fatal}
    waiting: dict[str, list[ExecutorView]] = {}
    for executor in observed.executors:
        if executor.deployment in fatal and executor.state is State.PENDING:
            waiting.setdefault(executor.deployment, []).append(executor)
    for deployment, executors in waiting.items():
        settle(step, executors, State.FAILED, fatal[deployment].reason, fatal[deployment].message)


def fail_those_that_cannot_start(observed: Observed, step: Step) -> None:
    """Started, not checked in, and its connector says that it never will be."""
    ends: list[tuple[ExecutorView, str, str]] = []
    for executor in observed.executors:
        if executor.state is not State.STARTING:
            continue
        ended = _started_and_gone(executor)
        if not ended and executor.sight is not Sight.HOPELESS:
            continue
        reason = executor.sight_reason or ("ExitedBeforeCheckIn" if ended else "CannotStart")
        code = "" if executor.exit_code is None else f"exit code {executor.exit_code}"
        ends.append((executor, reason, executor.sight_message or code))
    settle_each(step, State.FAILED, ends)
    stop(step, [executor for executor, _, _ in ends])


def settle_clean_exits(observed: Observed, step: Step) -> None:
    clean = [
        e for e in observed.executors
        if e.state is State.RUNNING and not e.report_results and e.sight is Sight.EXITED and e.exit_code == 0 and is_gone(e)
    ]  # fmt: skip
    settle(step, clean, State.SUCCEEDED, "ExitedCleanly", "ended without a report, as its pipeline says")


def settle_exits_without_report(observed: Observed, step: Step) -> None:
    """Of netunicorn's agents, which do not come back."""
    for e in observed.executors:
        if e.state is State.RUNNING and e.netunicorn and e.report_results and e.sight is Sight.EXITED and is_gone(e):
            code = "" if e.exit_code is None else f"exit code {e.exit_code}"
            message = " ".join(filter(None, (e.sight_reason, e.sight_message))) or code
            settle(step, [e], State.FAILED, "NoReport", message)


def _silence(executor: ExecutorView, observed: Observed, now: datetime) -> Silence:
    start = executor.operations.get(Verb.START)
    moments = [executor.heard, executor.released, observed.reception_restored, start.created if start else None]
    return Silence(
        heard=max((at for at in moments if at), default=observed.phase_start or now),
        keep_alive=executor.keep_alive,
        gone_since=executor.gone_since if is_gone(executor) else None,
    )


def lose_the_silent(observed: Observed, step: Step, now: datetime) -> None:
    late: list[ExecutorView] = []
    for executor in observed.executors:
        if executor.state is State.STARTING and (start := executor.operations.get(Verb.START)):
            deadline = start.created + observed.wish.deadlines.start
            if observed.may_enforce and now >= deadline:
                late.append(executor)
            else:
                step.look.append(deadline)
    settle(step, late, State.FAILED, "NotCheckedIn", "did not check in before the start deadline")
    stop(step, late)
    silences = {e.id: _silence(e, observed, now) for e in observed.executors if e.state is State.RUNNING}
    if not observed.may_enforce:
        return
    lost: list[tuple[ExecutorView, str, str]] = []
    for executor in observed.executors:
        silence = silences.get(executor.id)
        if silence is None or not is_lost(silence, now):
            continue
        said = " ".join(filter(None, (executor.sight_reason, executor.sight_message)))
        reason = executor.sight_reason if silence.gone_since and executor.sight_reason else "ExecutorTimedOut"
        message = said or f"silent since {silence.heard:%Y-%m-%dT%H:%M:%SZ}"
        lost.append((executor, reason, message))
    settle_each(step, State.LOST, lost)
    if (at := next_look(silences.values(), now)) is not None:
        step.look.append(at)


def cancel_single(observed: Observed, step: Step, now: datetime) -> None:
    """Executors that a user cancelled: a running one is asked first (by the gateway) if it can be, then stopped."""
    ended: list[ExecutorView] = []
    stopping: list[ExecutorView] = []
    for executor in observed.executors:
        if executor.cancel_requested is None or executor.state in SETTLED_STATES:
            continue
        patience = executor.cancel_requested + CANCEL_GRACE
        end = patience + observed.wish.deadlines.cleanup
        stopped = executor.progress(Verb.STOP)
        if executor.state is State.RUNNING and not executor.netunicorn and now < patience and stopped is None:
            step.look.append(patience)
        elif not executor.operations or stopped is Progress.DONE or (observed.may_enforce and now >= end):
            ended.append(executor)
        else:
            stopping.append(executor)
            step.look.append(end)
    settle(step, ended, State.CANCELLED, "CancelRequested", "Executor was stopped")
    stop(step, stopping)


def _able(observed: Observed) -> list[ExecutorView]:
    """Those that can still start or have started: a quorum counts them."""
    return [e for e in observed.executors if e.released or e.state is State.SUCCEEDED or e.state not in SETTLED_STATES]


def short_of_quorum(observed: Observed) -> str:
    """Why the quorum cannot be met any more; empty if it can."""
    number, needed = len(_able(observed)), observed.wish.quorum
    if number >= needed:
        return ""
    failed = [e for e in observed.executors if e.state is State.FAILED]
    return with_first(failed, f"{number} of {len(observed.executors)} executors can start, {needed} are needed")


def leave_queue(observed: Observed) -> list[Effect]:
    return [LeaveQueue()] if observed.queued else []


def operate(step: Step, verb: Verb, executors: Sequence[ExecutorView]) -> None:
    due_ones = [e for e in executors if e.progress(verb) is None]
    if due_ones:
        step.effects.append(Operate(verb, ids(due_ones)))


def begin(step: Step, verb: Verb, executors: Sequence[ExecutorView]) -> None:
    """Prepare or start; but nothing begins on an executor that is being stopped: its stop would not be evidence any more."""
    stopped = [e for e in executors if Verb.STOP in e.operations]
    settle(step, stopped, State.FAILED, "CannotStart", "was stopped before it started")
    operate(step, verb, [e for e in executors if e.id not in step.settled])


def stop(step: Step, executors: Sequence[ExecutorView]) -> None:
    cancel_operations(step, executors)
    operate(step, Verb.STOP, executors)


def cancel_operations(step: Step, executors: Sequence[ExecutorView]) -> None:
    verbs = (Verb.PREPARE, Verb.START)
    running = [e for e in executors if any(e.progress(verb) is Progress.PENDING for verb in verbs)]
    if running:
        step.effects.append(CancelOperations(verbs, ids(running)))


def settle(step: Step, executors: Sequence[ExecutorView], state: State, reason: str, message: str) -> None:
    """Give them this state; the first rule of a step that settles an executor counts."""
    if due_ones := [e for e in executors if e.id not in step.settled]:
        step.effects.append(Settle(ids(due_ones), state, reason, message))
        step.settled.update(e.id for e in due_ones)


def settle_each(step: Step, state: State, ends: Iterable[tuple[ExecutorView, str, str]]) -> None:
    """Executors with their reasons and messages; those that have these in common become one effect."""
    groups: dict[tuple[str, str], list[ExecutorView]] = {}
    for executor, reason, message in ends:
        groups.setdefault((reason, message), []).append(executor)
    for (reason, message), executors in groups.items():
        settle(step, executors, state, reason, message)


def hold_to_deadline(step: Step, observed: Observed, limit: timedelta, now: datetime, reason: str, why: str) -> Step:
    """Hold the phase to its deadline."""
    end = deadline(observed, limit)
    if now < end:
        step.look.append(end)
        return step
    if not observed.may_enforce:
        return step
    return step.finish(reason, why)


def deadline(observed: Observed, limit: timedelta) -> datetime:
    if observed.phase_start is None:
        raise ValueError("a phase without a start has no deadline")
    return observed.phase_start + limit


def say_what_holds(step: Step, observed: Observed, verb: Verb, gate: str) -> None:
    """Show why operations of this kind are tried again, or why their executors are not running yet; nothing if all is well."""
    held = [
        (e, operation.reason, operation.message)
        for e in observed.executors
        if (operation := e.operations.get(verb)) and operation.progress is Progress.PENDING and operation.reason
    ]
    if verb is Verb.START:
        held += [(e, e.sight_reason, e.sight_message) for e in observed.executors if e.state is State.STARTING and e.sight_reason]
    if not held:
        if verb is not Verb.STOP:  # in Finishing the message is the verdict's
            step.message = ""
        return
    executor, reason, message = min(held, key=lambda one: (one[0].deployment, one[0].index))
    text = f"{len(held)} executors wait; {executor.deployment}/{executor.index}: {message or reason}"
    step.waits[gate] = (reason, text)
    if verb is not Verb.STOP:
        step.message = text


def with_first(failed: Sequence[ExecutorView], why: str) -> str:
    if not failed:
        return why
    one = min(failed, key=lambda e: (e.deployment, e.index))
    return f"{why}; {one.deployment}/{one.index}: {one.reason} {one.message}".rstrip()


def end_of(observed: Observed) -> str:
    return observed.message or "the experiment ended"


def ids(executors: Sequence[ExecutorView]) -> tuple[ExecutorId, ...]:
    return tuple(executor.id for executor in executors)


def stay(observed: Observed, effects: list[Effect] | None = None) -> Step:
    return Step(phase=observed.phase, reason=observed.reason, message=observed.message, effects=effects or [])
