"""What a reconciler may touch: the caches, the stores, the queue. Made once, in the shell."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from unicorn_operator.key import Key

if TYPE_CHECKING:
    from unicorn_kube import KubeClient
    from unicorn_store import Store

    from unicorn_operator.cache import Caches
    from unicorn_operator.connector_pool import ConnectorPool
    from unicorn_operator.images import Images
    from unicorn_operator.metrics import Metrics
    from unicorn_operator.pace import Pace
    from unicorn_operator.queue import WorkQueue
    from unicorn_operator.settings import Settings
    from unicorn_operator.signing import TokenSigner


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class World:
    settings: "Settings"
    kube: "KubeClient"
    store: "Store"
    caches: "Caches"
    queue: "WorkQueue"
    connectors: "ConnectorPool"
    signer: "TokenSigner"
    images: "Images"
    metrics: "Metrics"
    pace: "Pace"
    wake_operations: Callable[[], None]  # operations were recorded: run them now
    ask_usage: Callable[[], None]  # leases became orphans or orphans went: read who uses the nodes now
    observed_since_start: Callable[[], bool]  # nodes were looked at since we lead; deadlines may be enforced
    closing: Callable[[], bool]  # the process ends: cancellation is not ours to swallow
    agent_sha256: str = ""
    gateway_ca: str = ""
    now: Callable[[], datetime] = utc_now


Reconcile = Callable[[Key, World, datetime], Awaitable[timedelta | None]]  # the answer: look again after that long
