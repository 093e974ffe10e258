"""Bring one experiment one step closer to its spec. Safe to repeat at any time."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog
from unicorn_core.admission import check_experiment
from unicorn_core.errors import Broken, Conflict, NotFound, Refused, StoreUnavailable
from unicorn_core.planning.experiment import advance, plan_experiment
from unicorn_core.planning.views import (
    FINAL_PHASES,
    AddFinalizer,
    AllocationResult,
    DeleteResource,
    Observed,
    Phase,
    Plan,
    RemoveFinalizer,
    State,
    TakeSnapshot,
)
from unicorn_core.text import plain
from unicorn_kube.resource import EXPERIMENTS
from unicorn_store.experiments import mirror_status
from unicorn_store.graphs import report_results

from unicorn_operator import events, finalizers
from unicorn_operator.experiments.applying import apply
from unicorn_operator.experiments.compiling import compile_environments
from unicorn_operator.experiments.edits import guarded
from unicorn_operator.experiments.observing import judge_spec, observe, refresh
from unicorn_operator.experiments.reporting import status_of
from unicorn_operator.experiments.resolution import Resolved, resolve, serialized_graphs, unasked_arguments
from unicorn_operator.experiments.subject import Subject, optional_moment, subject_of
from unicorn_operator.experiments.urgency import DELAYS, Urgency, urgency
from unicorn_operator.key import Key
from unicorn_operator.status import changes, condition_of, write_status
from unicorn_operator.world import World

ROUNDS = 64  # of plan and apply in one pass; a plan that needs more does not converge, and that is a fault of ours
REPAIR_INTERVAL = timedelta(seconds=60)  # an experiment that is not over is looked at this often, whatever news was lost

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Pass:
    """Where one pass came to rest."""

    subject: Subject
    observed: Observed
    plan: Plan


async def reconcile(key: Key, world: World, now: datetime) -> timedelta | None:
    """Answers when to look again. Raises Waiting, Refused and Broken for the queue's back-off, after the status shows why."""
    item = world.caches.experiments.get(key.namespace, key.name)
    if item is None:
        return None
    subject = subject_of(item, trust_user=world.settings.webhook)
    try:
        subject, refused_edit = await guarded(subject, world)
        work = await _converge(subject, refused_edit, world, now)
        return await _conclude(key, work, world, now)
    except Conflict:
        raise
    except NotFound as error:
        raise Conflict(f"the cache lags: {error}") from error  # look at the newer object, soon at first
    except (Broken, Refused) as problem:  # nobody expects a Refused here: what is wrong with a spec is found before
        await _show(problem, subject, world)
        raise


async def _converge(subject: Subject, refused_edit: str, world: World, now: datetime) -> Pass:
    """Plan and apply until nothing is left to do now. Nothing is written to the custom resource but its finalizer."""
    observed = replace(await observe(subject, world), refused_edit=refused_edit)
    if observed.phase is Phase.PREPARING:
        observed = await _compiled(observed, subject, world, now)
    allocation: AllocationResult | None = None
    resolved: Resolved | None = None
    for _ in range(ROUNDS):
        if observed.phase is Phase.PENDING and resolved is None and subject.spec is not None and not observed.snapshot:
            graphs = serialized_graphs(subject.spec, subject.namespace, world.caches)
            there = await report_results(world.store, subject.namespace, graphs)
            resolved = resolve(subject.spec, subject.namespace, world.caches, there)
            problems = check_experiment(subject.spec) + ([] if world.settings.webhook else unasked_arguments(resolved))
            observed = judge_spec(observed, resolved, problems)
        plan = plan_experiment(replace(observed, allocation=allocation), now)
        if plan.effects:
            subject, answer = await apply(plan.effects, subject, resolved, world, now)
            allocation = answer or allocation
            observed = replace(observed, has_finalizer=finalizers.has(subject.item))
            observed = await _after(plan, observed, subject, world)
            continue
        if plan.attempt != observed.attempt:
            observed = await refresh(advance(observed, plan), subject, world)
            resolved, allocation = None, None
            continue
        if plan.phase is not observed.phase:
            observed = advance(observed, plan)
            if plan.phase is Phase.PREPARING:
                observed = await _compiled(observed, subject, world, now)
            continue
        return Pass(subject, observed, plan)
    raise Broken(f"the plan of {subject.namespace}/{subject.name} does not come to rest; this is a fault of the operator")


async def _compiled(observed: Observed, subject: Subject, world: World, now: datetime) -> Observed:
    """On entering Preparing, and at each pass in it: as long as an executor waits for its environment."""
    if all(executor.state is not State.PENDING for executor in observed.executors):
        return replace(observed, environments=())
    since = observed.phase_start or now
    return replace(observed, environments=await compile_environments(subject, observed.attempt, since, world))


async def _after(plan: Plan, observed: Observed, subject: Subject, world: World) -> Observed:
    """What is observed once the plan's effects took place; asked for only where it is not known."""
    match plan.effects:
        case (AddFinalizer(),):
            return observed
        case (TakeSnapshot(),):
            return replace(observed, snapshot=True)
        case _:
            return replace(await refresh(observed, subject, world), problems=observed.problems)


async def _conclude(key: Key, work: Pass, world: World, now: datetime) -> timedelta | None:
    """One status write, only if changed, its mirror before it; then what comes last of all.

    The mirror comes first: the gateway takes an end from it, and an end must not be known to people only.
    """
    subject, plan = work.subject, work.plan
    status = status_of(subject, work.observed, plan)
    item = world.caches.experiments.get(key.namespace, key.name) or subject.item
    soonest = timedelta(milliseconds=10)
    planned = max(plan.look_again_at - now, soonest) if plan.look_again_at else None
    if changes(item, status, now):
        if (left := _may_wait(key, work, status, world, now)) > timedelta():
            return min(left, planned) if planned else left
        await _mirror(subject, status, world)
        written = await write_status(world, "Experiment", item, status)
        world.pace.wrote(key, now)
        if written and plan.phase is Phase.FAILED and subject.status.get("phase") != Phase.FAILED:
            await events.emit(world, "Experiment", item, "Warning", plan.reason, plan.message)
    if plan.last:
        await _finish(work, world)
        world.pace.forget(key)
        return None
    if plan.phase in FINAL_PHASES:
        return planned
    return min(planned or REPAIR_INTERVAL, REPAIR_INTERVAL)


async def _mirror(subject: Subject, status: dict[str, object], world: World) -> None:
    started = optional_moment(str(status.get("startTime") or "") or None)
    ended = optional_moment(str(status.get("completionTime") or "") or None)
    await mirror_status(
        world.store,
        uid=subject.uid,
        namespace=subject.namespace,
        name=subject.name,
        user=subject.user,
        spec=subject.item.get("spec") or {},
        created=subject.created,
        status=status,
        started=started,
        ended=ended,
    )


async def _finish(work: Pass, world: World) -> None:
    for effect in work.plan.last:
        item = world.caches.experiments.by_uid(str(work.subject.uid))
        if item is None:
            return
        match effect:
            case RemoveFinalizer():
                async with world.store.connection() as connection:
                    await world.store.queries.record_deletion(connection, uid=work.subject.uid)
                await finalizers.remove(world.kube, EXPERIMENTS, item)
            case DeleteResource():
                subject = work.subject
                await world.kube.delete(EXPERIMENTS, subject.namespace, subject.name, uid=str(subject.uid))


def _may_wait(key: Key, work: Pass, status: dict[str, object], world: World, now: datetime) -> timedelta:
    """How long the write of `status` may wait; zero or less: it is to be written now."""
    match urgency(work.subject.status, status, (executor.state for executor in work.observed.executors)):
        case Urgency.AT_ONCE:
            return timedelta()
        case Urgency.PROGRESS:
            return world.pace.interval_left(key, now)
        case patient:
            return world.pace.delay_left(key, now, DELAYS[patient])


async def _show(problem: Broken | Refused, subject: Subject, world: World) -> None:
    """Let people see why nothing moves. Everything else in the status stays as it is; of one that is new it is Pending."""
    item = world.caches.experiments.by_uid(str(subject.uid)) or subject.item
    old = {"phase": Phase.PENDING, **(item.get("status") or {})}
    if condition_of(item, "Reconciled").get("reason") == problem.reason:
        return
    kept = [
        {name: value for name, value in entry.items() if name != "lastTransitionTime"}
        for entry in old.get("conditions") or ()
        if entry["type"] != "Reconciled"
    ]
    shown = {"type": "Reconciled", "status": "False", "reason": problem.reason, "message": plain(str(problem))}
    try:
        await write_status(world, "Experiment", item, {**old, "conditions": [*kept, shown]}, judged=False)
    except Broken as second:
        if not isinstance(problem, StoreUnavailable):
            log.debug("the reason could not be shown", error=str(second))
