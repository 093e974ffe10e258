"""Who leads: a Lease of the Kubernetes API, short, given back at a graceful stop; and a fence for whoever cannot renew it.

The rules are client-go's: another's Lease is over when its record has not changed for its duration, measured by our own
monotonic clock from when we saw it first. Wall clocks are written for people and never compared.
Why not `kubernetes.aio.leaderelection`: docs/decisions/leader-election.md.
"""

import asyncio
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn

import structlog
from unicorn_core.errors import ApiUnavailable, Broken, Conflict, NotFound
from unicorn_core.text import plain
from unicorn_kube import KubeClient
from unicorn_kube.resource import LEASES

NAME = "unicorn-operator"
EXIT_LOST = 4

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Terms:
    """Seconds. A leader ends itself when `duration` passed since it began its last successful renewal."""

    duration: float = 15.0
    renew_deadline: float = 10.0  # a request to the API takes no longer, so that the fence is never reached by a slow answer
    retry: float = 2.0


class LeadershipLost(Exception):
    """Somebody else leads, or the Lease could not be renewed in time. The process must end at once."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A record of the Lease and when, on our monotonic clock, we saw it first."""

    holder: str
    record: tuple[Any, ...]
    since: float
    duration: float

    def is_over(self, now: float) -> bool:
        return not self.holder or now >= self.since + self.duration


def look(before: Seen | None, lease: dict[str, Any], now: float, terms: Terms) -> Seen:
    """What we know after reading the Lease: an unchanged record keeps the time at which it was seen first."""
    spec = lease.get("spec") or {}
    record = (lease["metadata"].get("uid"), spec.get("holderIdentity"), spec.get("renewTime"), spec.get("leaseTransitions"))
    if before is not None and before.record == record:
        return before
    return Seen(spec.get("holderIdentity") or "", record, now, float(spec.get("leaseDurationSeconds") or terms.duration))


class Election:
    """`campaign` until we lead, then `hold`; `release` when the process ends and nothing of ours acts any more."""

    def __init__(
        self,
        kube: KubeClient,
        namespace: str,
        identity: str,
        terms: Terms | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kube, self._namespace, self.identity = kube, namespace, identity
        self.terms = terms or Terms()
        self._clock = clock
        self._seen: Seen | None = None
        self._lease: dict[str, Any] | None = None  # as we wrote it last, while we lead
        self.renewed_at: float | None = None  # when the last successful renewal began
        self.waiting_for = ""  # who leads, or why we cannot know

    @property
    def leads(self) -> bool:
        return self.renewed_at is not None

    async def campaign(self) -> None:
        """Return when we lead. Waits as long as it takes; an API server that does not answer is waited for too."""
        while not await self._try():  # noqa: ASYNC110 what it waits for happens elsewhere
            await asyncio.sleep(self.terms.retry)

    async def hold(self) -> NoReturn:
        """Renew for as long as we live. Raises LeadershipLost."""
        while True:
            await asyncio.sleep(self.terms.retry)
            if not await self._renew():
                raise LeadershipLost(f"the Lease is held by {self.waiting_for or 'nobody'}")
            if self.renewed_at is None or self._clock() > self.renewed_at + self.terms.renew_deadline:
                raise LeadershipLost(f"the Lease could not be renewed for {self.terms.renew_deadline:.0f} s: {self.waiting_for}")

    async def release(self) -> None:
        """Give the Lease back, so that a successor starts at once. Best effort: it ends by itself anyway."""
        if self._lease is None:
            return
        spec = {**self._lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": _micro_time()}
        try:
            await self._replace(self._lease, spec)
        except Broken as error:
            log.warning("the lease could not be given back", error=plain(str(error)))
        self._lease, self.renewed_at = None, None

    async def _try(self) -> bool:
        began = self._clock()
        try:
            lease = await self._get()
        except NotFound:
            return await self._create(began)
        except Broken as error:
            return self._cannot_know(error)
        self._seen = look(self._seen, lease, self._clock(), self.terms)
        if self._seen.holder != self.identity and not self._seen.is_over(self._clock()):
            self.waiting_for = self._seen.holder
            return False
        old = lease.get("spec") or {}
        spec = self._spec(_micro_time(), int(old.get("leaseTransitions") or 0) + (self._seen.holder != self.identity))
        try:
            self._lease = await self._replace(lease, spec)
        except Broken as error:
            return self._cannot_know(error)
        self.renewed_at, self.waiting_for = began, ""
        return True

    async def _create(self, began: float) -> bool:
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": NAME, "namespace": self._namespace},
            "spec": self._spec(_micro_time(), 0),
        }
        try:
            self._lease = await self._kube.create(LEASES, body)
        except Broken as error:
            return self._cannot_know(error)
        self.renewed_at, self.waiting_for = began, ""
        return True

    async def _renew(self) -> bool:
        """False when another holds it. A request that failed changes nothing: the next one may succeed in time."""
        assert self._lease is not None
        began = self._clock()
        spec = {**self._lease["spec"], "renewTime": _micro_time()}
        try:
            self._lease = await self._replace(self._lease, spec)
            self.renewed_at, self.waiting_for = began, ""
        except (Conflict, NotFound):
            return await self._reconsider(began)
        except Broken as error:
            self._cannot_know(error)
        return True

    async def _reconsider(self, began: float) -> bool:
        """The Lease is not as we left it: our write went through without its answer, or another has it."""
        try:
            lease = await self._get()
        except NotFound:
            return False
        except Broken as error:
            self._cannot_know(error)
            return True
        holder = (lease.get("spec") or {}).get("holderIdentity") or ""
        if holder != self.identity:
            self.waiting_for = holder
            return False
        self._lease = lease  # the next renewal stands on this version
        return True

    async def _replace(self, lease: dict[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
        """Raises Conflict when the Lease is not the one we know."""
        version = {"resourceVersion": lease["metadata"]["resourceVersion"], "uid": lease["metadata"]["uid"]}
        return await self._in_time(self._kube.patch_merge(LEASES, self._namespace, NAME, {"metadata": version, "spec": spec}))

    async def _get(self) -> dict[str, Any]:
        return await self._in_time(self._kube.get(LEASES, self._namespace, NAME))

    async def _in_time(self, request: Awaitable[dict[str, Any]]) -> dict[str, Any]:
        """Within the time that leaves room for another try before the deadline."""
        try:
            async with asyncio.timeout(self.terms.retry * 2):
                return await request
        except TimeoutError as error:
            raise ApiUnavailable("no answer in time about the lease") from error

    def _spec(self, acquired: str, transitions: int) -> dict[str, Any]:
        return {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": int(self.terms.duration),
            "acquireTime": acquired,
            "renewTime": acquired,
            "leaseTransitions": transitions,
        }

    def _cannot_know(self, error: Broken) -> bool:
        text = plain(str(error))
        if text != self.waiting_for:
            log.warning("no answer about the lease", error=text)
        self.waiting_for = text
        return False


class Fence:
    """Ends the process when the Lease may be another's, whatever the event loop is doing. A thread, as a loop can hang."""

    def __init__(self, election: Election, clock: Callable[[], float] = time.monotonic) -> None:
        self._election, self._clock = election, clock
        self._down = threading.Event()
        self._thread = threading.Thread(target=self._guard, name="fence", daemon=True)

    def __enter__(self) -> "Fence":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._down.set()
        self._thread.join()

    def _guard(self) -> None:
        while not self._down.wait(0.2):
            renewed = self._election.renewed_at
            if renewed is not None and self._clock() > renewed + self._election.terms.duration:
                sys.stderr.write("unicorn-operator: the lease ended before it could be renewed; another may lead now\n")
                sys.stderr.flush()
                os._exit(EXIT_LOST)


def _micro_time() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
