"""Who uses which node, read from PostgreSQL for all nodes at once, and not more often than statuses may be written."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import timedelta
from uuid import UUID

import structlog
from unicorn_core.errors import Broken
from unicorn_core.text import plain
from unicorn_store import Store
from unicorn_store.nodes import Usage, node_usage

INTERVAL = timedelta(seconds=10)  # as often as a TargetNode's status may be written
NONE = Usage()

log = structlog.get_logger(__name__)


class NodeUsage:
    """`first` hears that it can be read at all, `changed` of each node whose usage is another than at the last reading."""

    def __init__(self, store: Store, changed: Callable[[UUID], None], first: Callable[[], None]) -> None:
        self._store, self._changed, self._first = store, changed, first
        self._known: Mapping[UUID, Usage] | None = None
        self._asked = asyncio.Event()

    def of(self, node: UUID) -> Usage:
        """What is known of this node."""
        return (self._known or {}).get(node, NONE)

    @property
    def is_known(self) -> bool:
        """Whether it could be read at all since the start."""
        return self._known is not None

    def ask(self) -> None:
        """Read again soon."""
        self._asked.set()

    async def run(self) -> None:
        """For ever. The database being away changes nothing that is known."""
        while True:
            self._asked.clear()
            try:
                await self.read()
            except Broken as error:
                log.warning("the usage of nodes is not known", reason=error.reason, error=plain(str(error)))
            try:
                async with asyncio.timeout(INTERVAL.total_seconds()):
                    await self._asked.wait()
            except TimeoutError:
                pass

    async def read(self) -> None:
        """Raises StoreUnavailable, Broken."""
        before, self._known = self._known, await node_usage(self._store)
        if before is None:
            self._first()
            return
        for node in {*before, *self._known}:
            if before.get(node, NONE) != self._known.get(node, NONE):
                self._changed(node)
