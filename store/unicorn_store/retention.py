"""How long what is kept: the cut-offs, and their enforcement in batches."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from unicorn_store.pool import Store

BATCH = 1000  # rows a statement: short locks, little to redo
GRAPH_GRACE = timedelta(days=1)  # from a graph's arrival to that of the object that names it


@dataclass(frozen=True, slots=True)
class Periods:
    records: timedelta = timedelta(days=365)  # experiments with all that belongs to them, from their end on
    logs: timedelta = timedelta(days=30)  # log chunks, from their arrival on


@dataclass(frozen=True, slots=True)
class Cutoffs:
    records: datetime  # aware UTC; what ended before goes
    logs: datetime


@dataclass(frozen=True, slots=True)
class Swept:
    logs: int = 0
    executors: int = 0
    experiments: int = 0
    build_logs: int = 0
    builds: int = 0  # what the registry has of them stays there
    names: int = 0  # that netunicorn's clients gave to experiments which are gone


def cutoffs(periods: Periods, now: datetime) -> Cutoffs:
    return Cutoffs(records=now - periods.records, logs=now - periods.logs)


async def sweep(store: Store, periods: Periods, now: datetime) -> Swept:
    """Delete what is too old, a transaction a batch. Safe to repeat and to run twice at once. Raises StoreUnavailable."""
    at = cutoffs(periods, now)
    return Swept(
        logs=await _drain(store, "delete_old_logs", at.logs),
        executors=await _drain(store, "delete_old_executors", at.records),
        experiments=await _drain(store, "delete_old_experiments", at.records),
        build_logs=await _drain(store, "delete_old_build_logs", at.logs),
        builds=await _drain(store, "delete_old_failures", at.logs) + await _drain(store, "delete_old_builds", at.records),
        names=await _drain(store, "mediator_forget_deleted", now),
    )


async def sweep_graphs(
    store: Store, named: Iterable[tuple[str, str]], now: datetime, *, only: Sequence[str] | None = None
) -> int:
    """Delete serialized graphs that nobody refers to any more. `named`: (namespace, digest) of those that live objects name;
    `only`: the namespaces whose objects are known, None: all. Answers how many went. Raises StoreUnavailable."""
    pairs, total = sorted(set(named)), 0
    wanted = {"namespaces": [namespace for namespace, _ in pairs], "digests": [digest for _, digest in pairs]}
    while True:
        async with store.connection() as connection:
            count: int = await store.queries.delete_unused_graphs(
                connection, before=now - GRAPH_GRACE, only=None if only is None else list(only), batch=BATCH, **wanted
            )
        total += count
        if count < BATCH:
            return total


async def _drain(store: Store, name: str, before: datetime) -> int:
    total = 0
    while True:
        async with store.connection() as connection:
            count: int = await getattr(store.queries, name)(connection, before=before, batch=BATCH)
        total += count
        if count < BATCH:
            return total
