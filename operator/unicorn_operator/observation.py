"""Looking at nodes: what connectors say of our executors, and what is there that should not be."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from unicorn_core.connector import Done, Exited, Handle, Node, NodeName, Running, Seen, Sighting, Unreachable
from unicorn_core.errors import Broken, UnicornError, Waiting
from unicorn_core.naming import ExecutorId
from unicorn_core.planning.views import Sight
from unicorn_core.text import plain

from unicorn_operator.cache import key_of
from unicorn_operator.operations import NO_HURRY, STOP_GRACE, enqueue
from unicorn_operator.world import World

INTERVAL = timedelta(seconds=5)
CALL_LIMIT = timedelta(seconds=30)  # then a connector counts as one that does not answer
SETTLING = timedelta(seconds=30)  # after our start, connectors that are not made yet are waited for so long
SOON = timedelta(milliseconds=200)  # news of many executors are looked at together
ON_ITS_WAY = frozenset({Sight.WAITING, Sight.RUNNING})  # nothing follows from these but what people are shown

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Look:
    """What one executor looks like to its connector."""

    executor: UUID
    sight: Sight
    reason: str = ""
    message: str = ""
    exit_code: int | None = None


def look_at(executor: UUID, sighting: Sighting | None) -> Look | None:
    """None: nothing can be said (this connector cannot observe, or gave no answer for the node)."""
    match sighting:
        case Seen(executors):
            match executors.get(ExecutorId(executor)):
                case None:
                    return Look(executor, Sight.ABSENT)
                case Running(started=False, hopeless=True, reason=reason, message=message):
                    return Look(executor, Sight.HOPELESS, reason, message)
                case Running(started=started, reason=reason, message=message):
                    return Look(executor, Sight.RUNNING if started else Sight.WAITING, reason, message)
                case Exited(code, reason, message):
                    return Look(executor, Sight.EXITED, reason, message, code)
        case Unreachable(reason, message):
            return Look(executor, Sight.UNREACHABLE, reason, message)
    return None


@dataclass(frozen=True, slots=True)
class Answer:
    """What one connector said of its executors."""

    looks: Sequence[Look] = ()
    seen: Mapping[NodeName, Sighting] = field(default_factory=dict)
    answered: bool = False  # it was asked and said something, if only that it cannot reach them
    whole: bool = False  # and it saw every node


@dataclass(slots=True)
class Observer:
    """Looks every INTERVAL, and soon after a connector had news. A connector that is being asked holds up no other."""

    news: asyncio.Event = field(default_factory=asyncio.Event)
    complete: bool = False  # every connector with executors was asked since we lead; one that is not made yet, for SETTLING
    _began: datetime | None = None
    _asked: set[UUID] = field(default_factory=set)  # connectors that are being looked through
    _answered: set[UUID] = field(default_factory=set)  # since we lead
    _restored: datetime | None = None  # the restoration of the database that is being made good
    _clear: set[UUID] = field(default_factory=set)  # connectors that were seen whole since then, without strangers
    _waiting_for: tuple[str, ...] = ()  # connectors, after a restoration of the database

    async def run(self, world: World) -> None:
        """Until cancelled. A database that is away is waited for."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                try:
                    await self._round(tasks, world)
                except Broken as error:
                    log.warning("observation waits", reason=error.reason, error=str(error))
                try:
                    async with asyncio.timeout(INTERVAL.total_seconds()):
                        await self.news.wait()
                    await asyncio.sleep(SOON.total_seconds())
                except TimeoutError:
                    pass
                self.news.clear()

    async def _round(self, tasks: asyncio.TaskGroup, world: World) -> None:
        """Ask each connector that is not being asked already, and take stock of what was answered before."""
        self._began = self._began or world.now()
        async with world.store.connection() as connection:
            rows = [row async for row in world.store.queries.read_watched_executors(connection)]
            restoration = await world.store.queries.read_restoration(connection)
        pending = restoration["restored_at"] if restoration["observed_at"] is None else None
        if pending != self._restored:
            self._restored, self._clear = pending, set()
        groups: dict[UUID, list[Mapping[str, Any]]] = defaultdict(list)
        for row in rows:
            groups[row["connector_uid"]].append(row)
        if pending is not None:
            for item in world.caches.connectors:
                groups.setdefault(UUID(item["metadata"]["uid"]), [])
        await self._take_stock(set(groups), world)
        for connector, members in groups.items():
            if connector not in self._asked:
                self._asked.add(connector)
                tasks.create_task(self._look_through(connector, members, pending, world))

    async def _take_stock(self, connectors: set[UUID], world: World) -> None:
        if self._restored is not None and connectors <= self._clear:
            async with world.store.connection() as connection:
                await world.store.queries.mark_observed(connection)
            log.info("every connector was observed after the restoration of the database", since=str(self._restored))
            self._restored = None
            self._release_all(world)
        elif self._restored is not None and connectors <= self._answered:
            self._say_what_holds(connectors - self._clear, world)
        settled = self._began is not None and world.now() - self._began >= SETTLING
        there = connectors if not settled else set()
        if not self.complete and there <= self._answered:
            self.complete = True
            self._release_all(world)

    async def _look_through(
        self, connector: UUID, rows: Sequence[Mapping[str, Any]], restored: datetime | None, world: World
    ) -> None:
        """One connector's answer, recorded as it comes. A database that is away is waited for."""
        nodes = {row["node_name"]: Node(row["node_name"], row["node_address"], row["node_properties"]) for row in rows}
        if restored is not None:
            nodes |= _all_nodes(connector, world)
        try:
            answer = await _ask(connector, rows, nodes, world)
            await _record(answer.looks, world)
            alone = await _stop_strangers(connector, nodes, answer.seen, {row["id"] for row in rows}, world, restored is not None)
        except Broken as error:
            log.warning("observation waits", reason=error.reason, error=str(error))
            return
        except Exception as error:
            log.error("what was observed could not be used, by a fault of ours or of a connector", exc_info=error)
            return
        finally:
            self._asked.discard(connector)
        before = len(self._answered) + len(self._clear)
        if answer.answered or world.caches.connectors.by_uid(str(connector)) is None:
            self._answered.add(connector)
        if alone and answer.whole and restored is not None and restored == self._restored:
            self._clear.add(connector)
        if len(self._answered) + len(self._clear) > before:
            self.news.set()  # it may have been the last that was waited for

    def _say_what_holds(self, silent: set[UUID], world: World) -> None:
        """Once for each change: a connector that never answers must be mended or deleted by a person."""
        known = (world.caches.connectors.by_uid(str(uid)) for uid in silent)
        names = tuple(sorted(f"{item['metadata']['namespace']}/{item['metadata']['name']}" for item in known if item))
        if names != self._waiting_for:
            self._waiting_for = names
            log.warning("no node is given out until these connectors were observed on all of their nodes", connectors=names)

    def _release_all(self, world: World) -> None:
        for item in world.caches.experiments:
            world.queue.add(key_of(item, "Experiment"))


async def _ask(connector_uid: UUID, rows: Sequence[Mapping[str, Any]], nodes: Mapping[NodeName, Node], world: World) -> Answer:
    """The looks at this connector's executors. Raises nothing: every error, also a fault of ours, is something it said."""
    try:
        connector = world.connectors.get(connector_uid)
        async with asyncio.timeout(CALL_LIMIT.total_seconds()):
            seen = await connector.observe(list(nodes.values()))
        looks = [look for row in rows if (look := look_at(row["id"], seen.get(row["node_name"]))) is not None]
        whole = not any(isinstance(one, Unreachable) for one in seen.values())
    except Waiting:
        return Answer()
    except Exception as error:
        match error:
            case UnicornError():
                reason, message = error.reason, plain(str(error))
            case TimeoutError():
                reason, message = "ConnectorTimedOut", "it did not say what runs on its nodes"
            case _:
                log.error("an observation failed by a fault of ours or of a connector", exc_info=error)
                reason, message = "Fault", f"{type(error).__name__}; the operator's log has it"
        return Answer([Look(row["id"], Sight.UNREACHABLE, reason, message) for row in rows], answered=True)
    return Answer(looks, seen, answered=True, whole=whole)


def _all_nodes(connector_uid: UUID, world: World) -> dict[NodeName, Node]:
    item = world.caches.connectors.by_uid(str(connector_uid))
    if item is None:
        return {}
    path = f"{item['metadata']['namespace']}/{item['metadata']['name']}"
    specs = (node["spec"] for node in world.caches.target_nodes.find("connector", path))
    return {spec["nodeName"]: Node(spec["nodeName"], spec.get("address", "")) for spec in specs}


async def _stop_strangers(
    connector_uid: UUID,
    nodes: Mapping[NodeName, Node],
    seen: Mapping[NodeName, Sighting],
    known: set[UUID],
    world: World,
    everything: bool,
) -> bool:
    """Ours by their labels, but not leased: left over from a lost record. Those of another installation are not in our records,
    so ids that we never had are only touched after a restoration, when records of ours may be missing.

    Answers whether none is left: until then their nodes must not be given out.
    """
    running = {
        UUID(str(executor)): nodes[name]
        for name, sighting in seen.items()
        if isinstance(sighting, Seen) and name in nodes
        for executor, state in sighting.executors.items()
        if isinstance(state, Running) and UUID(str(executor)) not in known
    }
    if not running:
        return True
    async with world.store.connection() as connection:
        rows = [row async for row in world.store.queries.read_owners(connection, ids=list(running))]
    leased = {row["id"] for row in rows if row["leased"] or row["orphaned"]}
    owned = {row["id"]: row for row in rows}
    strangers = [id_ for id_ in running if id_ not in leased and (id_ in owned or everything)]
    if not strangers:
        return True
    log.warning("stopping executors that nothing owns", connector=str(connector_uid), executors=[str(id_) for id_ in strangers])
    handles = [
        Handle(
            ExecutorId(id_),
            running[id_],
            owned[id_]["namespace"] if id_ in owned else "",
            str(owned[id_]["experiment_uid"]) if id_ in owned else "",
        )
        for id_ in strangers
    ]
    try:
        async with asyncio.timeout((CALL_LIMIT + STOP_GRACE).total_seconds()):
            outcomes = await world.connectors.get(connector_uid).stop(handles, STOP_GRACE)
    except (UnicornError, TimeoutError) as error:
        log.warning("executors that nothing owns could not be stopped", error=plain(str(error)) or "ConnectorTimedOut")
        return False
    return all(isinstance(outcomes.get(handle.executor), Done) for handle in handles)


async def _record(looks: Sequence[Look], world: World) -> None:
    if not looks:
        return
    async with world.store.connection() as connection:
        rows = world.store.queries.record_sightings(
            connection,
            ids=[look.executor for look in looks],
            sightings=[look.sight for look in looks],
            reasons=[plain(str(look.reason)) for look in looks],
            messages=[plain(str(look.message)) for look in looks],
            codes=[look.exit_code for look in looks],
        )
        changed = [(row["experiment_uid"], Sight(row["sighting"])) async for row in rows]
    touched = {uid for uid, sight in changed if sight not in ON_ITS_WAY}
    enqueue(touched, world)
    enqueue({uid for uid, _ in changed} - touched, world, within=NO_HURRY)
