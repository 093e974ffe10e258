"""Doing what a plan asks for. Each effect is idempotent and short: a row or two, never a node."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import assert_never
from uuid import UUID

from unicorn_core.naming import ExecutorId
from unicorn_core.planning.views import (
    AddFinalizer,
    Allocate,
    AllocationResult,
    CancelOperations,
    Effect,
    FreeLeases,
    LeaveQueue,
    Operate,
    RecordOrphans,
    Release,
    Settle,
    TakeSnapshot,
    Verb,
)
from unicorn_core.resources import dump
from unicorn_kube.resource import EXPERIMENTS
from unicorn_store.experiments import take_snapshot
from unicorn_store.leases import free_leases, record_orphans

from unicorn_operator import finalizers
from unicorn_operator.cache import key_of
from unicorn_operator.experiments.allocating import try_to_allocate
from unicorn_operator.experiments.resolution import Resolved
from unicorn_operator.experiments.subject import Subject
from unicorn_operator.world import World


async def apply(
    effects: Iterable[Effect], subject: Subject, resolved: Resolved | None, world: World, now: datetime
) -> tuple[Subject, AllocationResult | None]:
    """All of them, in order. The subject may come back with a newer object; the answer of an allocation is passed on."""
    result = None
    for effect in effects:
        match effect:
            case AddFinalizer():
                item = await finalizers.add(world.kube, EXPERIMENTS, subject.item)
                world.caches.experiments.put(item)
                subject = replace(subject, item=item)
            case TakeSnapshot():
                await _snapshot(subject, effect.attempt, resolved, world)
            case Allocate():
                result = await try_to_allocate(subject, effect.attempt, world, now)
            case LeaveQueue():
                async with world.store.connection() as connection:
                    await world.store.queries.leave_queue(connection, uid=subject.uid)
                _wake(await _waiting_for_what(subject, world), world)
            case _:
                await _record(effect, world)
    return subject, result


async def _snapshot(subject: Subject, attempt: int, resolved: Resolved | None, world: World) -> None:
    if subject.spec is None or resolved is None:
        raise ValueError("a snapshot needs a spec whose references are resolved")
    await take_snapshot(
        world.store,
        uid=subject.uid,
        namespace=subject.namespace,
        name=subject.name,
        user=subject.user,
        attempt=attempt,
        spec=dump(subject.spec),
        created=subject.created,
        deployments=resolved.deployments,
    )


async def _record(effect: Operate | CancelOperations | Settle | Release | FreeLeases | RecordOrphans, world: World) -> None:
    queries, ids = world.store.queries, list(effect.executors)
    match effect:
        case FreeLeases():
            await _free(ids, world)
            return
        case RecordOrphans():
            await record_orphans(world.store, ids, effect.reason)
            world.ask_usage()
            world.wake_operations()  # what is under way for them is not wanted any more
            return
    async with world.store.connection() as connection:
        match effect:
            case Operate(verb=Verb.PREPARE):
                await queries.operate_prepare(connection, ids=ids)
            case Operate(verb=Verb.START):
                await queries.operate_start(connection, ids=ids)
            case Operate(verb=verb):
                await queries.operate_end(connection, ids=ids, verb=verb)
            case CancelOperations():
                await queries.cancel_operations(connection, ids=ids, verbs=[str(verb) for verb in effect.verbs])
            case Settle():
                await queries.settle(connection, ids=ids, state=effect.state, reason=effect.reason, message=effect.message)
            case Release():
                await queries.release(connection, ids=ids)
            case _:
                assert_never(effect)
    if isinstance(effect, Operate):
        world.wake_operations()


async def _free(ids: list[ExecutorId], world: World) -> None:
    freed = await free_leases(world.store, ids)
    async with world.store.connection() as connection:
        waiting = [row["experiment_uid"] async for row in world.store.queries.read_waiting(connection, nodes=freed)]
    _wake(waiting, world)


async def _waiting_for_what(subject: Subject, world: World) -> list[UUID]:
    """Those who stood behind it in the queue: all who wait, since its own row is gone."""
    async with world.store.connection() as connection:
        return [row["experiment_uid"] async for row in world.store.queries.read_all_waiting(connection)]


def _wake(uids: Iterable[UUID], world: World) -> None:
    for uid in uids:
        if (item := world.caches.experiments.by_uid(str(uid))) is not None:
            world.queue.add(key_of(item, "Experiment"))
