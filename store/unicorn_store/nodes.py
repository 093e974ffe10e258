"""Who uses the nodes: leases and orphans as TargetNodes and Connectors show them, and the release of orphans by hand."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from uuid import UUID

from unicorn_store import leases
from unicorn_store.pool import Store


@dataclass(frozen=True, slots=True)
class Usage:
    """Of one node. `holders`: up to five experiments as namespace/name."""

    used: int = 0
    holders: tuple[str, ...] = ()
    orphans: int = 0
    orphaned_slots: int = 0
    orphan_executors: tuple[str, ...] = ()  # up to five
    orphan_message: str = ""  # of the first


async def node_usage(store: Store) -> Mapping[UUID, Usage]:
    """Of every node that is in use. Raises StoreUnavailable."""
    async with store.transaction() as connection:
        leases = [row async for row in store.queries.leases_by_node(connection)]
        orphans = {row["node_uid"]: row async for row in store.queries.orphans_by_node(connection)}
    found = {row["node_uid"]: Usage(row["used"], tuple(row["holders"])) for row in leases}
    for node, row in orphans.items():
        found[node] = replace(
            found.get(node, Usage()),
            orphans=row["orphans"],
            orphaned_slots=row["slots"],
            orphan_executors=tuple(row["executors"]),
            orphan_message=row["message"] or "",
        )
    return found


async def experiments_on_connector(store: Store, connector: UUID) -> list[UUID]:
    """Those that hold a lease on one of its nodes. Raises StoreUnavailable."""
    async with store.connection() as connection:
        return [
            row["experiment_uid"] async for row in store.queries.experiments_on_connector(connection, connector_uid=connector)
        ]


async def experiments_on_node(store: Store, node: UUID) -> list[UUID]:
    """Those that hold a lease on it. Raises StoreUnavailable."""
    async with store.connection() as connection:
        return [row["experiment_uid"] async for row in store.queries.experiments_on_node(connection, node_uid=node)]


async def release_orphans(store: Store, node: UUID, executors: Iterable[UUID] | None) -> list[UUID]:
    """Free what orphans of this node kept, on a person's word: all, or these. Answers which. Raises StoreUnavailable."""
    chosen = None if executors is None else set(executors)
    async with store.transaction() as connection:
        there = [row["executor_id"] async for row in store.queries.orphans_on_node(connection, node_uid=node)]
        released = [executor for executor in there if chosen is None or executor in chosen]
        await leases.release(store, connection, released)
        await store.queries.tell_waiting_for_node(connection, node_uid=node)
    return released


async def connectors_of_orphans(store: Store, node: UUID) -> set[UUID]:
    """Through which its orphans could be stopped. Raises StoreUnavailable."""
    async with store.connection() as connection:
        return {row["connector_uid"] async for row in store.queries.orphans_on_node(connection, node_uid=node)}
