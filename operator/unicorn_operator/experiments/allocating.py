"""The effect that gives an experiment its nodes: decided by core on what the database says, in one transaction under one lock."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from unicorn_core.planning.allocation import Allocation, Demand, Shortage, allocate, candidates
from unicorn_core.planning.views import AllocationResult
from unicorn_core.resources import AllocationMode, EnvironmentSpec, ExperimentSpec
from unicorn_store import Connection, Store
from unicorn_store.experiments import ExecutorTerms, grant, read_claims, read_deployments

from unicorn_operator.experiments.resolution import demands, environment_of
from unicorn_operator.experiments.subject import Subject
from unicorn_operator.operations import enqueue
from unicorn_operator.world import World


async def try_to_allocate(subject: Subject, attempt: int, world: World, now: datetime) -> AllocationResult:
    """Leases for all executors (AllOrNothing), or for those that can have one (BestEffort); else a place in the queue."""
    spec = subject.spec
    if spec is None:
        raise ValueError("an experiment whose spec cannot be read is never allocated")
    bodies = await read_deployments(world.store, subject.uid, attempt)
    environments = {name: environment_of(body) for name, body in bodies.items()}
    wanted = await _with_platforms(
        demands(spec, subject.namespace, environments, world.caches, subject.tags), environments, subject.namespace, world
    )
    contested = sorted(candidates(wanted))
    store = world.store
    async with store.transaction() as connection:
        await store.queries.lock_allocation(connection)
        place = {"uid": subject.uid, "nodes": contested, "priority": spec.priority, "since": subject.created}
        ahead = await store.queries.count_ahead(connection, **place)
        claims = await read_claims(store, connection, contested)
        found = allocate(wanted, claims, subject.holder)
        blocked = ahead > 0 and spec.allocation.when_busy == "Queue"
        if blocked or (found.shortages and not _enough(spec, found)):
            if spec.allocation.when_busy == "Queue" and not any(one.hopeless for one in found.shortages):
                await store.queries.wait_for_nodes(connection, **place)
            return await _explain(store, connection, found, ahead, place)
        waited = await store.queries.stands_in_queue(connection, uid=subject.uid)
        await grant(
            store,
            connection,
            uid=subject.uid,
            attempt=attempt,
            holder=subject.holder,
            placements=found.placements,
            terms=_terms(spec, bodies, len(found.placements)),
        )
        behind: list[UUID] = []
        if waited:  # those behind it have moved up, and show it
            behind = [row["experiment_uid"] async for row in store.queries.read_waiting(connection, nodes=contested)]
    enqueue(behind, world)
    return AllocationResult(allocated=True)


async def _with_platforms(
    wanted: Iterable[Demand], environments: Mapping[str, EnvironmentSpec | None], namespace: str, world: World
) -> list[Demand]:
    """With the architectures that the environments have images for, as far as they are known before they are compiled."""

    async def known(one: Demand) -> Demand:
        environment = environments.get(one.deployment)
        return replace(one, platforms=await world.images.platforms(environment, namespace) if environment else None)

    return await asyncio.gather(*map(known, wanted))


def _enough(spec: ExperimentSpec, found: Allocation) -> bool:
    """BestEffort takes what there is, unless that is nothing and waiting was asked for."""
    if spec.allocation.mode is AllocationMode.ALL_OR_NOTHING:
        return False
    placed = any(one.offer for one in found.placements)
    return bool(found.placements) and (placed or spec.allocation.when_busy != "Queue")


def _terms(spec: ExperimentSpec, bodies: Mapping[str, Mapping[str, Any]], executors: int) -> Mapping[str, ExecutorTerms]:
    """An executor that has nobody to wait for is released by the gateway, without asking us."""
    return {
        one.name: ExecutorTerms(
            keep_alive=one.keep_alive,
            report_results=bodies[one.name]["reportResults"],
            release_on_check_in=not spec.start.together or executors == 1,
        )
        for one in spec.deployments
    }


async def _explain(
    store: Store, connection: Connection, found: Allocation, ahead: int, place: Mapping[str, object]
) -> AllocationResult:
    shortages = sorted(found.shortages, key=lambda one: not one.hopeless)
    shortage = shortages[0] if shortages else Shortage("", "Queued", "")
    holder = await store.queries.describe_holder(connection, holder=shortage.holder) if shortage.holder else ""
    message = f"{shortage.deployment}: {shortage.message}" if shortage.deployment else ""
    waiting_for = f"node {shortage.node}" + (f", held by {holder}" if holder else "") if shortage.node else ""
    if ahead:
        first = await store.queries.first_ahead(connection, **place)
        before = f"experiment {first['namespace']}/{first['name']} comes first" if first else ""
        message = "; ".join(filter(None, (before, message)))
        waiting_for = waiting_for or before
    return AllocationResult(
        allocated=False,
        reason="Queued" if ahead and not found.shortages else shortage.reason,
        message="; ".join(filter(None, (message, waiting_for if waiting_for not in message else ""))),
        position=ahead + 1,
        waiting_for=waiting_for,
        hopeless=any(one.hopeless for one in found.shortages),
    )
