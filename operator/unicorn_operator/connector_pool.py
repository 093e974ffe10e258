"""The connectors that can be used: one object for each Connector resource, made again when its spec or credentials change."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import structlog
from unicorn_connectors.registry import check_config, connector_type
from unicorn_core.connector import Connector, ConnectorContext
from unicorn_core.errors import Broken, Problem, Refused, UnicornError, Waiting
from unicorn_core.naming import ExecutorId
from unicorn_core.reasons import ConnectorReason
from unicorn_core.resources.connector import ConnectorSpec
from unicorn_core.text import plain

from unicorn_operator.guarded import Guarded
from unicorn_operator.settings import Settings

OnNews = Callable[[UUID, ExecutorId], None]
_CLOSE_SECONDS = 10.0
_RETIRE_SECONDS = 300.0  # calls under way on an old object may end by themselves within this

log = structlog.get_logger(__name__)


class NotMade(Broken):
    """The connector's own code failed while it was made; it is tried again."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """A Secret's data; `version` changes with it. Never shown."""

    version: str
    data: dict[str, bytes]

    def __repr__(self) -> str:
        return f"Credentials({self.version})"


@dataclass(frozen=True, slots=True)
class Identity:
    """Which resource it is, and which version of it a connector was made from."""

    uid: UUID
    namespace: str
    name: str
    generation: int


@dataclass(slots=True)
class _Entry:
    made_from: tuple[int, str]
    type: str
    made: Guarded | UnicornError  # the error that making it ended with


class ConnectorPool:
    """`get` for those who use connectors; `refresh` and `drop` for the reconciler of Connectors."""

    def __init__(self, settings: Settings, on_news: OnNews) -> None:
        self._settings = settings
        self._on_news = on_news
        self._entries: dict[UUID, _Entry] = {}
        self._retiring: set[asyncio.Task[None]] = set()

    def get(self, uid: UUID) -> Connector:
        """The connector of this Connector; each call on it has a time limit and raises errors of ours only.

        Raises Waiting (not made yet, e.g. just after a start, or deleted) or Refused (its configuration is wrong).
        """
        entry = self._entries.get(UUID(str(uid)))
        if entry is None:
            raise Waiting("ConnectorNotReady", "the connector has not been set up yet", timedelta(seconds=2))
        if isinstance(entry.made, UnicornError):
            raise entry.made
        return entry.made

    def type_of(self, uid: UUID) -> str:
        """Its spec.type, for metrics; empty when unknown."""
        entry = self._entries.get(UUID(str(uid)))
        return entry.type if entry else ""

    def refresh(self, identity: Identity, spec: ConnectorSpec, credentials: Credentials | None) -> Connector:
        """The connector made from this spec and these credentials. Calls under way on an older one may end.

        Raises Refused (unknown type, wrong config, not permitted here) or NotMade.
        """
        made_from = (identity.generation, credentials.version if credentials else "")
        entry = self._entries.get(identity.uid)
        if entry is None or entry.made_from != made_from:
            made = self._made(identity, spec, credentials)
            self._retire(entry)
            entry = self._entries[identity.uid] = _Entry(made_from, spec.type, made)
        if isinstance(entry.made, Broken):
            del self._entries[identity.uid]  # the next try may succeed
        if isinstance(entry.made, UnicornError):
            raise entry.made
        return entry.made

    def refuse(self, identity: Identity, type: str, error: UnicornError) -> None:
        """It cannot be made for a reason found elsewhere (no Secret, invalid spec): `get` says so."""
        self._retire(self._entries.get(identity.uid))
        self._entries[identity.uid] = _Entry((-1, ""), type, error)

    def drop(self, uid: UUID) -> None:
        """Its resource is gone."""
        self._retire(self._entries.pop(uid, None))

    async def close(self) -> None:
        """Close all of them. Bounded."""
        for uid in list(self._entries):
            self.drop(uid)
        for task in self._retiring:
            task.cancel()
        await asyncio.gather(*self._retiring, return_exceptions=True)

    def _made(self, identity: Identity, spec: ConnectorSpec, credentials: Credentials | None) -> Guarded | UnicornError:
        try:
            if spec.type == "local" and not self._settings.allow_local:
                problem = Problem("spec.type", "local is not allowed here", "start the operator with UNICORN_ALLOW_LOCAL=true")
                return Refused(problem, ConnectorReason.NOT_PERMITTED)
            context = ConnectorContext(
                name=identity.name,
                namespace=identity.namespace,
                uid=str(identity.uid),
                config=check_config(spec.type, spec.config),
                credentials=credentials.data if credentials else {},
                state_directory=self._settings.state_directory,
                notify=lambda executor: self._on_news(identity.uid, executor),
            )
            return Guarded(connector_type(spec.type).create(context), f"{identity.namespace}/{identity.name}")
        except UnicornError as error:
            return error
        except Exception as error:
            log.error("a connector could not be made", connector=f"{identity.namespace}/{identity.name}", exc_info=error)
            return NotMade(f"the connector could not be made: {type(error).__name__}: {plain(str(error), 200)}")

    def _retire(self, entry: _Entry | None) -> None:
        if entry is None or isinstance(entry.made, UnicornError):
            return
        task = asyncio.create_task(_closed(entry.made))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)


async def _closed(connector: Guarded) -> None:
    """Close it once its calls under way have ended. Never raises."""
    try:
        async with asyncio.timeout(_RETIRE_SECONDS):
            await connector.idle()
    except TimeoutError:
        pass
    finally:
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await connector.close()
        except Exception as error:
            log.warning("a connector did not close well", connector=connector.display, error=type(error).__name__)
