"""What each connector said last: its health and its nodes. Asked for beside the passes, which never wait for a node."""

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from unicorn_core.connector import Connector, DiscoveredNode, Health, NodeName
from unicorn_core.errors import UnicornError
from unicorn_core.text import plain

_SOONER = timedelta(seconds=5)  # after a first failure: one lost packet is no outage

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Inventory:
    """`nodes` is the last complete discovery, however old; None before the first."""

    checked_at: datetime
    health: Health
    failures: int = 0  # looks in a row that found it unhealthy
    contact_at: datetime | None = None  # when it was healthy last
    nodes: Mapping[NodeName, DiscoveredNode] | None = None
    discovered_at: datetime | None = None
    problem: str = ""  # why the last discovery failed

    @property
    def is_down(self) -> bool:
        """Unhealthy for more than one look, or since we know it: its nodes cannot be used."""
        return not self.health.healthy and (self.failures > 1 or self.contact_at is None)


async def look(connector: Connector, before: Inventory | None, now: Callable[[], datetime]) -> Inventory:
    """Ask once. Never raises for what a deployment system does."""
    health = await connector.check()
    at = now()
    if not health.healthy:
        base = before or Inventory(at, health)
        return replace(base, checked_at=at, health=health, failures=base.failures + 1)
    known = before or Inventory(at, health)
    found = replace(known, checked_at=at, health=health, failures=0, contact_at=at, problem="")
    try:
        nodes = {node.name: node for node in await connector.discover()}
    except UnicornError as error:
        return replace(found, problem=plain(f"{error.reason}: {error}"))
    return replace(found, nodes=nodes, discovered_at=now())


class Inventories:
    """A background look for each connector, at its interval; `changed` hears when one has ended."""

    def __init__(self, now: Callable[[], datetime], changed: Callable[[UUID], None]) -> None:
        self._now, self._changed = now, changed
        self._known: dict[UUID, Inventory] = {}
        self._loops: dict[UUID, tuple[asyncio.Task[None], Connector, timedelta]] = {}
        self._kicks: dict[UUID, asyncio.Event] = {}

    def of(self, uid: UUID) -> Inventory | None:
        """None before the first look has ended."""
        return self._known.get(uid)

    def keep(self, uid: UUID, connector: Connector, interval: timedelta) -> None:
        """Look at this connector at this interval from now on; at once when it is new or was made anew."""
        running = self._loops.get(uid)
        if running is not None and running[1] is connector and running[2] == interval:
            return
        self._end_loop(uid)
        self._kicks[uid] = asyncio.Event()
        task = asyncio.create_task(self._run(uid, connector, interval, self._kicks[uid]), name=f"inventory {uid}")
        self._loops[uid] = (task, connector, interval)

    def kick(self, uid: UUID) -> None:
        """Look now."""
        if event := self._kicks.get(uid):
            event.set()

    def drop(self, uid: UUID) -> None:
        """Its connector is gone, or cannot be made."""
        self._end_loop(uid)
        self._known.pop(uid, None)

    async def close(self) -> None:
        tasks = [task for task, _, _ in self._loops.values()]
        for uid in list(self._loops):
            self.drop(uid)
        await asyncio.gather(*tasks, return_exceptions=True)

    def _end_loop(self, uid: UUID) -> None:
        running = self._loops.pop(uid, None)
        if running is not None:
            running[0].cancel()
        self._kicks.pop(uid, None)

    async def _run(self, uid: UUID, connector: Connector, interval: timedelta, kicked: asyncio.Event) -> None:
        while True:
            kicked.clear()
            try:
                inventory = await look(connector, self._known.get(uid), self._now)
            except Exception as error:  # a fault of ours; the others and the next look go on
                log.error("a look at a connector failed", connector=str(uid), exc_info=error)
                inventory = Inventory(self._now(), Health(False, "Fault", plain(str(error))), 1)
            self._known[uid] = inventory
            self._changed(uid)
            pause = min(interval, _SOONER) if inventory.failures == 1 else interval
            try:
                async with asyncio.timeout(pause.total_seconds() * random.uniform(0.9, 1.0)):  # noqa: S311
                    await kicked.wait()
            except TimeoutError:
                pass
