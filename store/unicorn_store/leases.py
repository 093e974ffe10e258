"""How slots are given back: a lease ends or becomes an orphan, an orphan ends. Each function is one transaction."""

from collections.abc import Sequence
from uuid import UUID

from unicorn_core.reasons import OrphanReason

from unicorn_store.pool import Connection, Store


async def free_leases(store: Store, executors: Sequence[UUID]) -> list[UUID]:
    """Nothing of them runs any more. Answers the nodes on which something became free. Raises StoreUnavailable."""
    async with store.transaction() as connection:
        await store.queries.lock_leased_slots(connection, ids=executors)
        slots = [(row["node_uid"], row["slot"]) async for row in store.queries.delete_leases(connection, ids=executors)]
        await store.queries.cancel_every_operation(connection, ids=executors)
        await _unclaim(store, connection, slots)
    return _nodes(slots)


async def record_orphans(store: Store, executors: Sequence[UUID], reason: str) -> None:
    """They could not be shown to be gone: their leases become orphan records. Raises StoreUnavailable."""
    async with store.transaction() as connection:
        await _orphan(store, connection, executors, reason)


async def release_orphans(store: Store, executors: Sequence[UUID]) -> list[UUID]:
    """They are gone after all. Answers the nodes on which something became free. Raises StoreUnavailable."""
    async with store.transaction() as connection:
        return _nodes(await release(store, connection, executors))


async def release(store: Store, connection: Connection, executors: Sequence[UUID]) -> list[tuple[UUID, int]]:
    """The same within a transaction; answers the slots that they kept."""
    await store.queries.lock_orphaned_slots(connection, ids=executors)
    slots = [(row["node_uid"], row["slot"]) async for row in store.queries.delete_orphans(connection, ids=executors)]
    await _unclaim(store, connection, slots)
    return slots


async def abandon_experiment(store: Store, uid: UUID) -> list[UUID]:
    """Its resource is gone: its record is closed, and what it leases goes the orphan way. Answers which executors do.

    Raises StoreUnavailable.
    """
    async with store.transaction() as connection:
        left = [row["executor_id"] async for row in store.queries.leases_of_experiment(connection, uid=uid)]
        await _orphan(store, connection, left, OrphanReason.RESOURCE_GONE)  # claims first, as everywhere, then operations
        await store.queries.close_abandoned(connection, uid=uid)
    return left


async def abandon_old_attempts(store: Store) -> list[UUID]:
    """What attempts that are over lease goes the orphan way. Answers which executors do. Raises StoreUnavailable."""
    async with store.transaction() as connection:
        left = [row["executor_id"] async for row in store.queries.leases_of_old_attempts(connection)]
        await _orphan(store, connection, left, OrphanReason.ATTEMPT_OVER)
    return left


async def sweep_claims(store: Store) -> list[UUID]:
    """Delete claims that nothing refers to. Answers the nodes on which something became free. Raises StoreUnavailable."""
    async with store.transaction() as connection:
        rows = store.queries.lock_unreferenced_slots(connection)
        return await _unclaim(store, connection, [(row["node_uid"], row["slot"]) async for row in rows])


async def _orphan(store: Store, connection: Connection, executors: Sequence[UUID], reason: str) -> None:
    if not executors:
        return
    await store.queries.lock_leased_slots(connection, ids=executors)
    await store.queries.move_leases_to_orphans(connection, ids=executors, reason=reason)
    await store.queries.cancel_every_operation(connection, ids=executors)


async def _unclaim(store: Store, connection: Connection, slots: Sequence[tuple[UUID, int]]) -> list[UUID]:
    """The claims of these slots, which are locked, go with the last lease and orphan on them."""
    nodes, numbers = [node for node, _ in slots], [slot for _, slot in slots]
    rows = store.queries.delete_unreferenced_claims(connection, nodes=nodes, slots=numbers)
    return list(dict.fromkeys([row["node_uid"] async for row in rows]))


def _nodes(slots: Sequence[tuple[UUID, int]]) -> list[UUID]:
    return list(dict.fromkeys(node for node, _ in slots))
