"""Experiments, their executors and leases, as the planner sees them. Reads give values of core, writes take them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from unicorn_core.errors import Conflict
from unicorn_core.naming import ExecutorId, executor_id
from unicorn_core.planning.allocation import Claims, Placement
from unicorn_core.planning.views import (
    ConnectorState,
    ExecutorView,
    Operation,
    Progress,
    Sight,
    State,
    Verb,
)
from unicorn_core.resources.characters import storable

from unicorn_store.pool import Connection, Store


@dataclass(frozen=True, slots=True)
class Standing:
    """What concerns the whole attempt."""

    snapshot: bool
    queued: bool
    paused: bool  # the database was restored, not all connectors have been observed since
    reception_restored: datetime


@dataclass(frozen=True, slots=True)
class ExecutorRow:
    """A view and where it belongs: the connector's state is not the database's to know."""

    view: ExecutorView
    node_uid: UUID | None
    connector_uid: UUID | None


@dataclass(frozen=True, slots=True)
class DeploymentSnapshot:
    """What one deployment of an attempt runs."""

    deployment: str
    position: int
    graph: Mapping[str, Any]  # executor protocol's form, placeholders still inside
    params: Mapping[str, str]
    body: Mapping[str, Any]  # environment, cleanup, keepAliveSeconds
    serialized: str | None = None  # the digest of its graph, where that is a serialized one of the namespace


@dataclass(frozen=True, slots=True)
class ExecutorTerms:
    """What all executors of a deployment have in common."""

    keep_alive: timedelta
    report_results: bool
    release_on_check_in: bool


async def read_attempt(store: Store, uid: UUID, attempt: int) -> tuple[Standing, list[ExecutorRow]]:
    """How it stands, and its executors in the order of their deployments. Raises StoreUnavailable."""
    async with store.connection() as connection:
        rows = [row async for row in store.queries.read_attempt(connection, uid=uid, attempt=attempt)]
    first = rows[0]
    standing = Standing(first["snapshot"], first["queued"], first["paused"], first["reception_restored"])
    return standing, [_executor(row) for row in rows if row["id"] is not None]


def _executor(row: Any) -> ExecutorRow:
    operations = {
        Verb(verb): Operation(Progress(state), created, reason, message)
        for verb, state, created, reason, message in row["operations"]
    }
    view = ExecutorView(
        id=ExecutorId(row["id"]),
        deployment=row["deployment"],
        index=row["index"],
        keep_alive=row["keep_alive"],
        state=State(row["state"]),
        reason=row["reason"],
        message=row["message"],
        node=row["node_name"],
        leased=row["leased"],
        orphaned=row["orphaned"],
        connector=ConnectorState.PRESENT,
        cleanup=row["cleanup"],
        report_results=row["report_results"],
        netunicorn=row["netunicorn"],
        cancel_requested=row["cancel_requested_at"],
        checked_in=row["checked_in_at"],
        released=row["released_at"],
        heard=row["heard_at"],
        sight=Sight(row["sighting"]),
        sight_reason=row["sighting_reason"],
        sight_message=row["sighting_message"],
        exit_code=row["exit_code"],
        gone_since=row["gone_since"],
        gone_count=row["gone_count"],
        operations=operations,
    )
    return ExecutorRow(view, row["node_uid"], row["connector_uid"])


async def read_recorded_spec(store: Store, uid: UUID, attempt: int | None) -> Mapping[str, Any] | None:
    """The spec with which the attempt (None: the last one) began; None before its snapshot. Raises StoreUnavailable."""
    async with store.connection() as connection:
        spec: Mapping[str, Any] | None = await store.queries.read_recorded_spec(connection, uid=uid, attempt=attempt)
        return spec


async def read_deployments(store: Store, uid: UUID, attempt: int) -> dict[str, Mapping[str, Any]]:
    """Deployment -> the body of its snapshot, in the deployments' order."""
    async with store.connection() as connection:
        rows = store.queries.read_deployments(connection, uid=uid, attempt=attempt)
        return {row["deployment"]: row["body"] async for row in rows}


async def take_snapshot(
    store: Store,
    *,
    uid: UUID,
    namespace: str,
    name: str,
    user: str,
    attempt: int,
    spec: Mapping[str, Any],
    created: datetime,
    deployments: Sequence[DeploymentSnapshot],
) -> None:
    """Record the experiment and what this attempt runs. Taken once: later edits of what it refers to change nothing."""
    async with store.transaction() as connection:
        await store.queries.record_experiment(
            connection, uid=uid, namespace=namespace, name=name, user_name=user, attempt=attempt, spec=spec, created_at=created
        )
        await store.queries.record_snapshot(
            connection,
            [
                {
                    "uid": uid,
                    "attempt": attempt,
                    "deployment": one.deployment,
                    "position": one.position,
                    "graph": one.graph,
                    "params": one.params,
                    "body": one.body,
                    "graph_namespace": namespace if one.serialized else None,
                    "graph_sha256": one.serialized,
                }
                for one in deployments
            ],
        )


async def read_claims(store: Store, connection: Connection, nodes: Iterable[UUID]) -> Claims:
    rows = store.queries.read_claims(connection, nodes=list(nodes))
    return {row["node_uid"]: dict(zip(row["slots"], row["holders"], strict=True)) async for row in rows}


async def grant(
    store: Store,
    connection: Connection,
    *,
    uid: UUID,
    attempt: int,
    holder: str,
    placements: Sequence[Placement],
    terms: Mapping[str, ExecutorTerms],
) -> None:
    """Record executors with their claims and leases. The caller holds the allocation lock. Raises Conflict."""
    ids = [executor_id(uid, attempt, one.deployment, one.index) for one in placements]
    leased = [(one, id_) for one, id_ in zip(placements, ids, strict=True) if one.offer is not None]
    nodes = [one.offer.uid for one, _ in leased if one.offer]
    slots = [one.slot for one, _ in leased]
    await store.queries.insert_claims(connection, nodes=nodes, slots=slots, holder=holder)
    await store.queries.lock_slots(connection, nodes=nodes, slots=slots)
    if await store.queries.count_foreign_claims(connection, nodes=nodes, slots=slots, holder=holder):
        raise Conflict("a slot was claimed by somebody else meanwhile")  # the transaction is rolled back
    await store.queries.insert_executors(
        connection,
        uid=uid,
        attempt=attempt,
        ids=ids,
        deployments=[one.deployment for one in placements],
        indexes=[one.index for one in placements],
        nodes=[one.offer.uid if one.offer else None for one in placements],
        node_names=[one.offer.name if one.offer else "" for one in placements],
        addresses=[one.offer.address if one.offer else "" for one in placements],
        properties=[storable(one.offer.properties) if one.offer else {} for one in placements],  # a connector may say anything
        connectors=[one.offer.connector_uid if one.offer else None for one in placements],
        states=[State.PENDING if one.offer else State.FAILED for one in placements],
        reasons=[one.reason for one in placements],
        messages=[one.message for one in placements],
        keep_alives=[terms[one.deployment].keep_alive for one in placements],
        report=[terms[one.deployment].report_results for one in placements],
        release=[terms[one.deployment].release_on_check_in for one in placements],
    )
    await store.queries.insert_leases(connection, uid=uid, nodes=nodes, slots=slots, ids=[id_ for _, id_ in leased])
    await store.queries.leave_queue(connection, uid=uid)


async def mirror_status(
    store: Store,
    *,
    uid: UUID,
    namespace: str,
    name: str,
    user: str,
    spec: Mapping[str, Any],
    created: datetime,
    status: Mapping[str, Any],
    started: datetime | None,
    ended: datetime | None,
) -> None:
    """The record of the experiment, as its custom resource says it now; also of one whose spec nobody should have taken."""
    status = storable(status)
    async with store.connection() as connection:
        await store.queries.mirror_status(
            connection,
            uid=uid,
            namespace=namespace,
            name=name,
            user_name=user,
            attempt=status["attempt"],
            phase=status["phase"],
            reason=status.get("reason", ""),
            message=status.get("message", ""),
            spec=storable(spec),
            status=status,
            created_at=created,
            started_at=started,
            completed_at=ended,
        )
