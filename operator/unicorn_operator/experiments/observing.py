"""Everything the planner wants to know about one experiment: from the caches, and two queries."""

from collections.abc import Sequence
from dataclasses import replace

from unicorn_core.errors import Problem
from unicorn_core.planning.views import FINAL_PHASES, ConnectorState, ExecutorView, Observed
from unicorn_store.experiments import ExecutorRow, read_attempt

from unicorn_operator import finalizers
from unicorn_operator.cache import Caches
from unicorn_operator.experiments.resolution import Resolved
from unicorn_operator.experiments.subject import Subject, moment_of, optional_moment, phase_of, wish_of
from unicorn_operator.world import World


async def observe(subject: Subject, world: World) -> Observed:
    """As the custom resource's status and the records say."""
    status = subject.status
    attempt = status.get("attempt") or (subject.spec.attempt if subject.spec else 1)
    namespace = world.caches.namespaces.get("", subject.namespace) or {}
    seen = Observed(
        wish=wish_of(subject.spec, attempt, 0),
        phase=phase_of(status),
        phase_start=optional_moment(status.get("phaseStartTime")),
        attempt=attempt,
        reason=status.get("reason", ""),
        message=status.get("message", ""),
        start_time=optional_moment(status.get("startTime")),
        completion_time=optional_moment(status.get("completionTime")),
        conditions=tuple(entry for entry in status.get("conditions") or () if entry["type"] != "Reconciled"),
        has_finalizer=finalizers.has(subject.item),
        deleting="deletionTimestamp" in subject.item["metadata"],
        namespace_terminating="deletionTimestamp" in namespace.get("metadata", {}),
    )
    return await refresh(seen, subject, world)


async def refresh(seen: Observed, subject: Subject, world: World) -> Observed:
    """The same standing, with the records as they are now."""
    standing, rows = await read_attempt(world.store, subject.uid, seen.attempt)
    return replace(
        seen,
        wish=wish_of(subject.spec, seen.attempt, len(rows)),
        snapshot=standing.snapshot,
        queued=standing.queued,
        allocation_pause="the database was restored; all connectors are being observed first" if standing.paused else "",
        reception_restored=standing.reception_restored,
        executors=tuple(_with_connector(row, world.caches) for row in rows),
        may_enforce=world.observed_since_start(),
        problems=subject.problems if seen.phase not in FINAL_PHASES else (),
    )


def judge_spec(seen: Observed, resolved: Resolved, problems: Sequence[Problem]) -> Observed:
    """What Pending has to know: whether the spec is right and all that it refers to is there."""
    return replace(seen, problems=(*seen.problems, *problems, *resolved.problems), missing=resolved.missing)


def _with_connector(row: ExecutorRow, caches: Caches) -> ExecutorView:
    if row.node_uid is None:
        return row.view
    node = caches.target_nodes.by_uid(str(row.node_uid))
    connector = caches.connectors.by_uid(str(row.connector_uid))
    if connector is None:
        return replace(row.view, connector=ConnectorState.GONE)
    going = [item["metadata"].get("deletionTimestamp") for item in (connector, node) if item is not None]
    since = min((moment_of(at) for at in going if at), default=None)
    if since is not None:
        return replace(row.view, connector=ConnectorState.DELETING, connector_deleting_since=since)
    return row.view
