"""The next step of an experiment: `plan_experiment(observed, now)`. Pure; every phase of the design's table is one function.

A plan with effects is applied, then all is observed and planned again; a plan without effects is the state of rest whose status
is written. Every plan of a phase that is not final either names when to look again or what will wake it.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from unicorn_core.planning.conditions import end_conditions, gate_conditions
from unicorn_core.planning.rules import (
    Step,
    begin,
    cancel_single,
    deadline,
    end_of,
    fail_those_that_cannot_start,
    fail_those_without_connector,
    fail_those_without_environment,
    hold_to_deadline,
    leave_queue,
    lose_the_silent,
    say_what_holds,
    settle,
    settle_clean_exits,
    settle_exits_without_report,
    short_of_quorum,
    stay,
    stop,
    wind_down,
    with_first,
)
from unicorn_core.planning.verdict import final_phase, judge
from unicorn_core.planning.views import (
    FINAL_PHASES,
    SETTLED_STATES,
    AddFinalizer,
    Allocate,
    DeleteResource,
    Observed,
    Phase,
    Plan,
    Release,
    RemoveFinalizer,
    State,
    TakeSnapshot,
    Verb,
)

NOT_STARTED = frozenset({State.PENDING, State.PREPARING, State.PREPARED})
UNSURE_LOOK = timedelta(seconds=10)  # how often to look whether deadlines may be enforced again


def plan_experiment(observed: Observed, now: datetime) -> Plan:
    """One step; raises nothing for anything that a user or a node may have done."""
    if not (observed.has_finalizer or observed.deleting or observed.namespace_terminating):
        return _plan(observed, stay(observed, [AddFinalizer()]), now)
    if observed.phase_start is None:
        observed = replace(observed, phase_start=now)
    step = _interrupted(observed) or PHASES[observed.phase](observed, now)
    if observed.refused_edit and step.phase not in FINAL_PHASES:
        step.waits["Accepted"] = ("EditRefused", observed.refused_edit)
    return _plan(observed, step, now)


def advance(observed: Observed, plan: Plan) -> Observed:
    """What is observed once the plan's phase is taken: to plan on within one pass, before anything is written.

    A new attempt has records, problems and missing references of its own: read them before planning again.
    """
    moved = replace(
        observed,
        phase=plan.phase,
        phase_start=plan.phase_start,
        attempt=plan.attempt,
        reason=plan.reason,
        message=plan.message,
        conditions=plan.conditions,
        start_time=plan.start_time,
        completion_time=plan.completion_time,
    )
    if plan.attempt == observed.attempt:
        return moved
    return replace(moved, snapshot=False, executors=(), environments=(), allocation=None, queued=False)


def _interrupted(observed: Observed) -> Step | None:
    """What ends an attempt in any phase: deletion, cancellation, records that are gone."""
    if observed.phase in FINAL_PHASES or observed.phase is Phase.FINISHING:
        return None
    step = stay(observed)
    if observed.deleting or observed.namespace_terminating:
        return step.finish("Deleted", "the experiment was deleted")
    if observed.wish.desired == "Cancelled":
        return step.finish("CancelRequested", "spec.desiredState is Cancelled")
    if observed.phase not in (Phase.PENDING, Phase.ALLOCATING) and not (observed.snapshot and observed.executors):
        return step.finish("RecordsLost", "the database knows nothing of this attempt; was it restored to an earlier state?")
    return None


# --- the phases ----------------------------------------------------------------------------------------------------------


def _pending(observed: Observed, now: datetime) -> Step:
    step = stay(observed)
    if observed.problems:
        reasons = {problem.reason for problem in observed.problems}
        reason, message = reasons.pop() if len(reasons) == 1 else "Invalid", "; ".join(map(str, observed.problems))
        step.waits["Accepted"] = (reason, message)
        return step.finish(reason, message)
    if observed.missing:
        message = "waiting for " + ", ".join(sorted(observed.missing))
        step.waits["Accepted"] = ("ReferenceNotFound", message)
        step.message, step.waits_for = message, "the missing objects"
        return hold_to_deadline(step, observed, observed.wish.deadlines.allocate, now, "AllocateDeadlineExceeded", message)
    if observed.wish.deployments == 0:
        return step.finish("Completed", "it has no deployments")
    if not observed.snapshot:
        step.effects.append(TakeSnapshot(observed.attempt))
        return step
    step.phase, step.message = Phase.ALLOCATING, ""
    return step


def _allocating(observed: Observed, now: datetime) -> Step:
    step = stay(observed)
    if not observed.snapshot:
        step.phase = Phase.PENDING
        return step
    if observed.executors:
        step.phase = Phase.PREPARING
        return step
    result = observed.allocation
    if observed.allocation_pause:
        step.waits["Allocated"] = ("Paused", observed.allocation_pause)
        step.message, step.waits_for = observed.allocation_pause, "the first observation of every connector"
    elif result is None:
        step.effects.append(Allocate(observed.attempt))
        return step
    elif result.allocated:
        return step.finish("Completed", "there was nothing to run")
    elif result.hopeless or not observed.wish.queue_when_busy:
        step.waits["Allocated"] = (result.reason, result.message)
        return step.finish(result.reason, result.message)
    else:
        step.waits["Allocated"] = (result.reason, result.message)
        step.message, step.waits_for = result.message, "nodes becoming free or ready"
        step.queue = {"position": result.position, "waitingFor": result.waiting_for}
    return hold_to_deadline(step, observed, observed.wish.deadlines.allocate, now, "AllocateDeadlineExceeded", step.message)


def _preparing(observed: Observed, now: datetime) -> Step:
    step = stay(observed)
    cancel_single(observed, step, now)
    fail_those_without_connector(observed, step, now)
    fail_those_without_environment(observed, step)
    held = {deployment for deployment, _ in observed.environments}
    begin(step, Verb.PREPARE, [e for e in observed.executors if e.state is State.PENDING and e.deployment not in held])
    if step.effects:
        return step
    failed = [e for e in observed.executors if e.state is State.FAILED and Verb.START not in e.operations]
    if failed and observed.wish.all_or_nothing:
        return step.finish("PreparationFailed", with_first(failed, "all executors are needed (AllOrNothing)"))
    if short := short_of_quorum(observed):
        return step.finish("QuorumNotMet", short)
    if not any(e.state in (State.PENDING, State.PREPARING) for e in observed.executors):
        step.phase = Phase.READY if observed.wish.desired == "Ready" else Phase.STARTING
        step.message = ""
        return step
    if observed.environments:
        text = _hindrances_text(observed)
        step.waits["EnvironmentsReady"] = (observed.environments[0][1].reason, text)
        step.message = text
    else:
        say_what_holds(step, observed, Verb.PREPARE, "Prepared")
    step.waits_for = "environments and the connectors' answers"
    return hold_to_deadline(step, observed, observed.wish.deadlines.prepare, now, "PrepareDeadlineExceeded", step.message)


def _hindrances_text(observed: Observed) -> str:
    """What holds environments up; deployments that wait for the same are named together."""
    waiting: dict[str, list[str]] = {}
    for deployment, why in sorted(observed.environments, key=lambda one: one[0]):
        waiting.setdefault(why.message, []).append(deployment)
    return "; ".join(f"{_named(deployments)}: {message}" for message, deployments in waiting.items())


def _named(deployments: list[str], shown: int = 3) -> str:
    more = len(deployments) - shown
    return ", ".join(deployments[:shown]) + (f" and {more} more" if more > 0 else "")


def _ready(observed: Observed, now: datetime) -> Step:
    step = stay(observed)
    cancel_single(observed, step, now)
    fail_those_without_connector(observed, step, now)
    if step.effects:
        return step
    if observed.wish.desired != "Ready":
        step.phase, step.message = Phase.STARTING, ""
        return step
    if short := short_of_quorum(observed):
        return step.finish("QuorumNotMet", short)
    step.message, step.waits_for = "prepared; waiting for spec.desiredState: Running", "spec.desiredState"
    return hold_to_deadline(step, observed, observed.wish.deadlines.hold, now, "HoldDeadlineExceeded", "held for too long")


def _starting(observed: Observed, now: datetime) -> Step:
    step = stay(observed)
    cancel_single(observed, step, now)
    fail_those_without_connector(observed, step, now)
    fail_those_that_cannot_start(observed, step)
    begin(step, Verb.START, [e for e in observed.executors if e.state is State.PREPARED and not e.cancel_requested])
    if step.effects:
        return step
    if short := short_of_quorum(observed):
        return step.finish("QuorumNotMet", short)
    wish = observed.wish
    missing = [e for e in observed.executors if e.state is State.STARTING]
    if not wish.together or not missing:
        return _release(observed, step)
    end = deadline(observed, wish.deadlines.start)
    if observed.may_enforce and now >= end:
        settle(step, missing, State.FAILED, "NotCheckedIn", "did not check in before the start deadline")
        stop(step, missing)
        return step
    say_what_holds(step, observed, Verb.START, "Started")
    step.waits_for = "check-ins"
    step.look.append(end)
    return step


def _release(observed: Observed, step: Step) -> Step:
    ready = [e.id for e in observed.executors if e.state is State.CHECKED_IN and not e.cancel_requested]
    if ready:
        step.effects.append(Release(tuple(ready)))
        return step
    step.phase, step.message = Phase.RUNNING, ""
    return step


def _running(observed: Observed, now: datetime) -> Step:
    step = stay(observed)
    cancel_single(observed, step, now)
    fail_those_without_connector(observed, step, now)
    fail_those_that_cannot_start(observed, step)
    settle_clean_exits(observed, step)
    settle_exits_without_report(observed, step)
    lose_the_silent(observed, step, now)
    stragglers = [e for e in observed.executors if e.state is State.CHECKED_IN and not e.cancel_requested]
    if due_ones := [e.id for e in stragglers if e.id not in step.settled]:
        step.effects.append(Release(tuple(due_ones)))
    forgotten = [e for e in observed.executors if e.state in NOT_STARTED and not e.cancel_requested]
    settle(step, forgotten, State.FAILED, "RecordsLost", "the database does not know that it was started")
    stop(step, forgotten)
    if step.effects:
        return step
    if short := short_of_quorum(observed):
        return step.finish("QuorumNotMet", short)
    if all(e.state in SETTLED_STATES for e in observed.executors):
        return step.finish(*judge(observed.executors, observed.wish.tolerate))
    step.message, step.waits_for = "", "the executors' reports"
    why = "the executors did not end within spec.deadlines.run"
    return hold_to_deadline(step, observed, observed.wish.deadlines.run, now, "RunDeadlineExceeded", why)


def _finishing(observed: Observed, now: datetime) -> Step:
    """Stop, clean up, free. A lease goes on evidence; without it, it becomes an orphan at the deadline. The end always comes."""
    step = stay(observed)
    step.effects.extend(leave_queue(observed))
    end = deadline(observed, observed.wish.deadlines.cleanup)
    wind_down(observed, [e for e in observed.executors if e.leased], step, now, lambda _: end)
    if step.effects:
        return step
    if any(e.leased for e in observed.executors):
        step.waits_for = "executors being stopped and cleaned up"
        say_what_holds(step, observed, Verb.STOP, "CleanedUp")
        return step
    verdict = final_phase(step.reason)
    unsettled = [e for e in observed.executors if e.state not in SETTLED_STATES]
    if unsettled:
        cancelled = verdict is Phase.CANCELLED
        settle(step, unsettled, State.CANCELLED if cancelled else State.FAILED, step.reason, end_of(observed))
        return step
    step.phase = verdict
    return step


def _final(observed: Observed, now: datetime) -> Step:
    step = stay(observed, leave_queue(observed))
    if leftovers := [e for e in observed.executors if e.leased]:  # a janitor's finding, or a restored database
        limit = observed.wish.deadlines.cleanup
        wind_down(observed, leftovers, step, now, lambda e: (at := e.recorded(Verb.STOP)) and at + limit)
        step.waits_for = "leftovers being stopped"
    late = [e for e in observed.executors if e.state not in SETTLED_STATES]  # heard of just as the end was being written
    settle(step, late, State.LOST, "ExecutorTimedOut", "was heard of after the end")
    if step.effects or leftovers:
        return step
    if observed.deleting:
        step.last.append(RemoveFinalizer())
        return step
    if observed.wish.attempt > observed.attempt:
        return Step(phase=Phase.PENDING)
    if observed.wish.ttl is not None and observed.completion_time is not None:
        end = observed.completion_time + observed.wish.ttl
        if now >= end:
            step.last.append(DeleteResource())
        else:
            step.look.append(end)
    return step


PHASES: dict[Phase, Callable[[Observed, datetime], Step]] = {
    Phase.PENDING: _pending,
    Phase.ALLOCATING: _allocating,
    Phase.PREPARING: _preparing,
    Phase.READY: _ready,
    Phase.STARTING: _starting,
    Phase.RUNNING: _running,
    Phase.FINISHING: _finishing,
    Phase.SUCCEEDED: _final,
    Phase.FAILED: _final,
    Phase.CANCELLED: _final,
}


def _plan(observed: Observed, step: Step, now: datetime) -> Plan:
    moved = step.phase is not observed.phase
    final = step.phase in FINAL_PHASES
    orphans = sum(1 for e in observed.executors if e.orphaned)
    restarted = moved and observed.phase in FINAL_PHASES
    conditions = gate_conditions(observed, step.phase, waits=step.waits)
    conditions += end_conditions(step.phase, step.reason, step.message, orphans)
    running = step.phase not in (Phase.PENDING, Phase.ALLOCATING)
    if not observed.may_enforce:
        step.look.append(now + UNSURE_LOOK)
    return Plan(
        phase=step.phase,
        phase_start=now if moved or observed.phase_start is None else observed.phase_start,
        attempt=observed.wish.attempt if restarted else observed.attempt,
        reason=step.reason,
        message=step.message,
        effects=tuple(step.effects),
        last=tuple(step.last),
        look_again_at=min((at for at in step.look if at > now), default=now if moved else None),
        waits_for=step.waits_for,
        conditions=tuple(conditions),
        start_time=None if restarted else observed.start_time or (now if running and observed.executors else None),
        completion_time=(observed.completion_time or now) if final else None,
        queue=step.queue,
    )
