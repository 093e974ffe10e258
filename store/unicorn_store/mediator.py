"""What the mediator keeps for netunicorn's client: its names, its orders, and what became of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from unicorn_store.pool import Connection, Store, statements


@dataclass(frozen=True, slots=True)
class Mediated:
    """An experiment under the name that its user gave it. `uid` and `manifest` both null: there is no Experiment behind it."""

    id: UUID
    namespace: str
    name: str
    user: str  # as Kubernetes knows it
    created: datetime
    resource: str
    uid: UUID | None
    manifest: Mapping[str, Any] | None  # what is still to be made
    orders: Mapping[str, Any]
    error: str | None
    started: datetime | None
    ended: datetime | None
    age: timedelta  # by the database's clock


@dataclass(frozen=True, slots=True)
class Named:
    """The same without what was ordered."""

    id: UUID
    name: str
    resource: str
    uid: UUID | None
    unmade: bool


@dataclass(frozen=True, slots=True)
class NewMediated:
    id: UUID
    namespace: str
    name: str
    user: str
    resource: str
    orders: Mapping[str, Any]
    graphs: Sequence[str]  # digests; they are there
    manifest: Mapping[str, Any] | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Executor:
    """An executor as the client is told of it."""

    id: UUID
    deployment: str
    index: int
    node: str
    node_properties: Mapping[str, Any]
    connector_uid: UUID | None
    state: str
    reason: str
    message: str
    prepared: bool
    report_bytes: int | None  # None: it has not reported
    final: bool  # that report


@dataclass(frozen=True, slots=True)
class Snapshot:
    deployment: str
    graph_sha256: str | None
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Cancellable:
    id: UUID
    experiment: str  # metadata.name
    ended: bool


@dataclass(frozen=True, slots=True)
class Holding:
    """A slot that somebody has."""

    node: UUID
    slot: int
    holder: str  # user:NAME | experiment:UID | …
    user: str | None  # of an experiment
    namespace: str | None


@dataclass(frozen=True, slots=True)
class Lock:
    node: str
    user: str
    connector_uid: UUID | None


@dataclass(frozen=True, slots=True)
class Recent:
    uid: UUID
    shown: str  # the name that its user gave it
    user: str
    phase: str
    desired: str
    message: str
    created: datetime
    started: datetime | None
    nodes: tuple[str, ...]


async def claim(store: Store, new: NewMediated) -> bool:
    """Take the name. False: it is taken already, nothing has changed. Raises StoreUnavailable, as all here do."""
    async with store.transaction() as connection:
        row = await statements().mediator_claim(
            connection,
            id=new.id,
            namespace=new.namespace,
            name=new.name,
            user_name=new.user,
            resource=new.resource,
            manifest=new.manifest,
            orders=new.orders,
            error=new.error,
        )
        if row is None:
            return False
        digests = sorted(set(new.graphs))
        await statements().mediator_keep_graphs(connection, id=new.id, namespace=new.namespace, digests=digests)
        return True


async def by_name(store: Store, namespace: str, name: str) -> Mediated | None:
    async with store.connection() as connection:
        row = await statements().mediator_by_name(connection, namespace=namespace, name=name)
    return None if row is None else _mediated(row)


async def names(store: Store, namespace: str) -> list[Named]:
    """Of a namespace, oldest first."""
    async with store.connection() as connection:
        rows = statements().mediator_of_namespace(connection, namespace=namespace)
        return [Named(row["id"], row["name"], row["resource"], row["uid"], row["unmade"]) async for row in rows]


async def made(store: Store, id: UUID, uid: UUID) -> bool:
    """Its Experiment, and all that belongs to it, exists. False: nobody wants it any more."""
    async with store.connection() as connection:
        return bool(await statements().mediator_made(connection, id=id, uid=uid))


async def end(store: Store, id: UUID, *, started: bool) -> bool:
    """One without an Experiment ends at once, and none is made for it. False: it has ended before."""
    async with store.connection() as connection:
        return bool(await statements().mediator_end(connection, id=id, started=started))


async def forget(store: Store, id: UUID) -> None:
    """The name is free again."""
    async with store.connection() as connection:
        await statements().mediator_forget(connection, id=id)


async def graph_sizes(store: Store, namespace: str, digests: Iterable[str]) -> Mapping[str, int]:
    """Digest -> bytes, of those that are there."""
    wanted = sorted(set(digests))
    if not wanted:
        return {}
    async with store.connection() as connection:
        rows = statements().mediator_graph_sizes(connection, namespace=namespace, digests=wanted)
        return {row["sha256"]: row["size"] async for row in rows}


async def graphs(store: Store, namespace: str, digests: Iterable[str]) -> Mapping[str, bytes]:
    """Digest -> content, of those that are there."""
    wanted = sorted(set(digests))
    if not wanted:
        return {}
    async with store.connection() as connection:
        rows = statements().mediator_graphs(connection, namespace=namespace, digests=wanted)
        return {row["sha256"]: row["content"] async for row in rows}


async def executors(store: Store, uid: UUID, attempt: int) -> list[Executor]:
    async with store.connection() as connection:
        return [_executor(row) async for row in statements().mediator_executors(connection, uid=uid, attempt=attempt)]


async def snapshots(store: Store, uid: UUID, attempt: int) -> list[Snapshot]:
    async with store.connection() as connection:
        rows = statements().mediator_snapshots(connection, uid=uid, attempt=attempt)
        return [Snapshot(row["deployment"], row["graph_sha256"], row["body"]) async for row in rows]


async def cancellable(store: Store, namespace: str, ids: Iterable[UUID]) -> list[Cancellable]:
    """Of these executors those that belong to this namespace."""
    async with store.connection() as connection:
        rows = statements().mediator_cancellable(connection, namespace=namespace, ids=list(ids))
        return [Cancellable(row["id"], row["experiment"], row["ended"]) async for row in rows]


async def cancel_executors(store: Store, ids: Iterable[UUID]) -> None:
    async with store.transaction() as connection:
        await statements().mediator_cancel_executors(connection, ids=list(ids))


async def attempt_of(connection: Connection, uid: UUID) -> int | None:
    """None: nothing of the experiment is recorded yet."""
    attempt: int | None = await statements().mediator_attempt(connection, uid=uid)
    return attempt


async def tell_flag(connection: Connection, experiment: UUID) -> None:
    """Whoever waits for a flag of this experiment looks again."""
    await statements().mediator_tell_flag(connection, experiment=experiment)


async def holdings(store: Store) -> list[Holding]:
    """All slots that somebody has."""
    async with store.connection() as connection:
        rows = statements().mediator_claims(connection)
        return [Holding(row["node_uid"], row["slot"], row["holder"], row["user_name"], row["namespace"]) async for row in rows]


async def locks(store: Store, namespace: str) -> list[Lock]:
    async with store.connection() as connection:
        rows = statements().mediator_locks(connection, namespace=namespace)
        return [Lock(row["node_name"], row["user_name"], row["connector_uid"]) async for row in rows]


async def recent(store: Store, namespace: str, since: datetime | None) -> list[Recent]:
    """Begun after `since`; None: those that are not final."""
    async with store.connection() as connection:
        rows = statements().mediator_recent(connection, namespace=namespace, since=since)
        return [_recent(row) async for row in rows]


def _mediated(row: Any) -> Mediated:
    return Mediated(
        id=row["id"],
        namespace=row["namespace"],
        name=row["name"],
        user=row["user_name"],
        created=row["created_at"],
        resource=row["resource"],
        uid=row["uid"],
        manifest=row["manifest"],
        orders=row["orders"],
        error=row["error"],
        started=row["started_at"],
        ended=row["ended_at"],
        age=row["age"],
    )


def _executor(row: Any) -> Executor:
    return Executor(
        id=row["id"],
        deployment=row["deployment"],
        index=row["index"],
        node=row["node_name"],
        node_properties=row["node_properties"],
        connector_uid=row["connector_uid"],
        state=row["state"],
        reason=row["reason"],
        message=row["message"],
        prepared=row["prepared"],
        report_bytes=row["report_bytes"],
        final=row["final"],
    )


def _recent(row: Any) -> Recent:
    return Recent(
        uid=row["uid"],
        shown=row["shown"],
        user=row["user_name"],
        phase=row["phase"],
        desired=row["desired"] or "Running",
        message=row["message"],
        created=row["created_at"],
        started=row["started_at"],
        nodes=tuple(row["nodes"]),
    )
