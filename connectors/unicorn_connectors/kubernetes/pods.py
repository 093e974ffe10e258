"""All pods of a connector, kept in view by LIST and WATCH: who asks gets an answer from memory, and news come by themselves."""

import asyncio
import contextlib
import random
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from unicorn_core.errors import ApiRefused, Broken, UnicornError
from unicorn_core.naming import ExecutorId
from unicorn_kube import KubeClient
from unicorn_kube.resource import PODS

from unicorn_connectors.kubernetes.sightings import PodView, view

_WATCH_SECONDS = 300.0  # then all are listed again: what a watch missed is found
_REMEMBERED = 1000
_PAUSES = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)  # seconds between tries


class Pods:
    """In view while `run` runs and the last try to look succeeded."""

    def __init__(self, kube: KubeClient, selector: str, namespace: str | None, on_news: Callable[[ExecutorId], None]) -> None:
        self._kube, self._selector, self._namespace = kube, selector, namespace
        self._on_news = on_news
        self._views: dict[str, PodView] = {}  # by uid
        self._uids: dict[ExecutorId, set[str]] = {}
        self._gone: deque[str] = deque(maxlen=_REMEMBERED)  # uids: an answer about them may come late
        self._changed: dict[str, asyncio.Event] = defaultdict(asyncio.Event)  # by uid, of pods that somebody waits for
        self._looked = asyncio.Event()  # the first try ended, well or not
        self.error: UnicornError | None = None  # why they are out of view
        self.in_view = False

    async def ready(self, seconds: float) -> bool:
        """Whether they are in view; for the first look it waits so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._looked.wait()
        return self.in_view

    def __iter__(self) -> Iterator[PodView]:
        return iter(list(self._views.values()))

    def of(self, executor: ExecutorId, namespace: str) -> PodView | None:
        """Its newest pod there (empty: wherever); None also while nothing is in view. Others may give theirs the same labels."""
        views = [self._views[uid] for uid in self._uids.get(executor, ())] if self.in_view else []
        known = [pod for pod in views if namespace in ("", pod.namespace)]
        return max(known, key=lambda pod: pod.fence, default=None)

    def put(self, pod: Mapping[str, Any]) -> None:
        """What a request of ours has returned: the watch may be behind it."""
        uid = pod["metadata"]["uid"]
        before = self._views.get(uid)
        after = view(pod, before)
        if after is None or uid in self._gone or (before is not None and after.version <= before.version):
            return
        self._views[uid] = after
        self._uids.setdefault(after.executor, set()).add(uid)
        self._wake(uid)
        if before is None or (before.state, before.final) != (after.state, after.final):
            self._on_news(after.executor)

    def drop(self, uid: str) -> None:
        """It is gone."""
        before = self._views.pop(uid, None)
        self._gone.append(uid)
        self._wake(uid)
        if before is not None:
            self._forget(uid, before.executor)
            self._on_news(before.executor)

    def _forget(self, uid: str, executor: ExecutorId) -> None:
        self._uids[executor].discard(uid)
        if not self._uids[executor]:
            del self._uids[executor]

    async def ended(self, uid: str, gone: bool = False) -> None:
        """Until this pod is final or gone, or (`gone`) until it is gone."""
        try:
            while (known := self._views.get(uid)) is not None and (gone or not known.final):
                self._changed[uid].clear()
                await self._changed[uid].wait()
        finally:
            self._changed.pop(uid, None)

    async def run(self) -> None:
        """For ever; a failure is kept in `error`, and tried again."""
        failures = 0
        while True:
            try:
                version = await self._list()
                failures = 0
                await self._watch(version)
            except (UnicornError, LookupError, TypeError, ValueError) as error:
                if isinstance(error, ApiRefused) and error.status == 410:
                    continue  # the version is too old: list again
                unreadable = Broken(f"a pod that cannot be read: {error!r}")
                self.in_view, self.error = False, error if isinstance(error, UnicornError) else unreadable
                self._looked.set()
                pause = _PAUSES[min(failures, len(_PAUSES) - 1)]
                failures += 1
                await asyncio.sleep(pause * random.uniform(0.7, 1.3))  # noqa: S311 jitter

    async def _list(self) -> str:
        listing = await self._kube.list(PODS, self._namespace, label_selector=self._selector)
        present = {item["metadata"]["uid"] for item in listing.items}
        # One made after the LIST began is in our memory and not in its answer.
        newest = int(listing.resource_version)
        for uid in [uid for uid, known in self._views.items() if uid not in present and known.version <= newest]:
            self.drop(uid)
        for item in listing.items:
            self.put(item)
        self.in_view, self.error = True, None
        self._looked.set()
        return listing.resource_version

    async def _watch(self, version: str) -> None:
        events = self._kube.watch(PODS, self._namespace, self._selector, resource_version=version, seconds=_WATCH_SECONDS)
        async with contextlib.aclosing(events):
            async for kind, item in events:
                if kind in ("ADDED", "MODIFIED"):
                    self.put(item)
                elif kind == "DELETED":
                    self.drop(item["metadata"]["uid"])

    def _wake(self, uid: str) -> None:
        if uid in self._changed:
            self._changed[uid].set()
