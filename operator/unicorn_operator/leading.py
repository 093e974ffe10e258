"""What only the leader does: it fills the caches, watches, works the queue, listens to PostgreSQL, runs operations."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import NoReturn
from uuid import UUID

import structlog
from unicorn_core.errors import ApiUnavailable, NotFound
from unicorn_core.text import plain
from unicorn_kube import KubeClient, KubeConfig
from unicorn_store import Store, graphs, listen

from unicorn_operator import experiments, images
from unicorn_operator.cache import Caches, key_of
from unicorn_operator.connector_pool import ConnectorPool
from unicorn_operator.dependents import waiting_for_graphs
from unicorn_operator.health import Health
from unicorn_operator.inventory import Inventories
from unicorn_operator.janitor import keep_clean
from unicorn_operator.key import Key
from unicorn_operator.metrics import Metrics
from unicorn_operator.observation import Observer
from unicorn_operator.operations import OperationRunner
from unicorn_operator.orphans import OrphanStopper
from unicorn_operator.pace import Pace
from unicorn_operator.queue import WorkQueue
from unicorn_operator.reconcilers import environments
from unicorn_operator.reconcilers.connectors import Connectors
from unicorn_operator.reconcilers.target_nodes import TargetNodes
from unicorn_operator.resync import fill, resync
from unicorn_operator.settings import Settings
from unicorn_operator.signing import signer
from unicorn_operator.usage import NodeUsage
from unicorn_operator.watching import Inbox, watch
from unicorn_operator.workers import work
from unicorn_operator.world import Reconcile, World, utc_now

CHANNEL = "unicorn_experiment"
DRAIN = timedelta(seconds=8)
PROGRESS_EVERY = timedelta(seconds=1)  # of each experiment: writes that tell only how far it is
_RETRY = timedelta(seconds=2)

log = structlog.get_logger(__name__)


class TaskEnded(Exception):
    """A task that runs for ever has ended."""


@dataclass(frozen=True)
class Leader:
    """`lead` once, when the Lease is ours."""

    settings: Settings
    config: KubeConfig
    kube: KubeClient
    store: Store
    health: Health
    metrics: Metrics
    stop: asyncio.Event

    async def lead(self, own_signals: Callable[[], None]) -> None:
        """Until `stop` is set: then it returns when the passes under way have ended. Raises what ended one of its tasks."""
        settings, caches = self.settings, Caches()
        queue = WorkQueue(on_wait=self.metrics.waited)
        inbox = Inbox(caches, queue)
        await self._listed(caches, inbox)
        namespace = settings.namespace or self.config.namespace
        async with images.made(settings, namespace, self.kube, self.store, caches, queue, self.metrics, utc_now) as parts:
            await self._lead(namespace, caches, inbox, queue, parts, own_signals)

    async def _lead(
        self,
        namespace: str,
        caches: Caches,
        inbox: Inbox,
        queue: WorkQueue,
        parts: images.Parts,
        own_signals: Callable[[], None],
    ) -> None:
        settings = self.settings
        operations, observer = OperationRunner(), Observer()
        pool = ConnectorPool(settings, lambda _connector, _executor: observer.news.set())
        closing = asyncio.Event()
        wake = _Wake(caches, queue)
        usage = NodeUsage(self.store, wake.node, wake.all_nodes)
        world = World(
            settings=settings,
            kube=self.kube,
            store=self.store,
            caches=caches,
            queue=queue,
            connectors=pool,
            signer=await signer(settings, self.kube, namespace),
            images=parts.images,
            metrics=self.metrics,
            pace=Pace(interval=PROGRESS_EVERY),
            wake_operations=operations.wake.set,
            ask_usage=usage.ask,
            observed_since_start=lambda: observer.complete,
            closing=closing.is_set,
            agent_sha256=await asyncio.to_thread(settings.agent_sha256),
            gateway_ca=await asyncio.to_thread(settings.gateway_ca),
        )
        inventories = Inventories(world.now, wake.connector)
        reconcilers: dict[str, Reconcile] = {
            "Experiment": experiments.reconcile,
            "Environment": environments.reconcile,
            "Connector": Connectors(inventories, usage, wake.experiments).reconcile,
            "TargetNode": TargetNodes(inventories, usage, wake.experiments).reconcile,
        }
        self.metrics.look_at(queue, caches)
        self.health.queue, self.health.stage = queue, "Leading"
        scope = settings.watch_namespaces
        try:
            async with asyncio.TaskGroup() as group:

                def forever(name: str, task: Awaitable[object]) -> None:
                    group.create_task(_forever(name, task, closing), name=name)

                forever("watch", watch(inbox, self.config, scope, own_signals))
                forever("resync", resync(self.kube, caches, inbox, queue, scope, settings.resync_interval))
                forever("listen", self._listen(caches, queue))
                forever("usage", usage.run())
                forever("operations", operations.run(world))
                forever("observation", observer.run(world))
                forever("orphans", OrphanStopper().run(world))
                forever("janitor", keep_clean(world))
                if parts.runner is not None:
                    forever("builds", parts.runner.run())
                for number in range(settings.workers):
                    group.create_task(work(world, reconcilers, self.metrics.passed), name=f"worker {number}")
                forever("stop", self._until_asked(queue))
        except* _Asked:
            log.info("stopped")
        except* Exception as errors:
            if not self.stop.is_set():
                raise
            # What tasks say while they are cancelled is worth a line, and no other exit code.
            log.warning(
                "errors while stopping", errors=[plain(f"{type(error).__name__}: {error}") for error in errors.exceptions]
            )
        finally:
            await inventories.close()
            await pool.close()

    async def _listed(self, caches: Caches, inbox: Inbox) -> None:
        """Everything is in the caches before anything is decided."""
        while True:
            try:
                await fill(self.kube, caches, inbox, self.settings.watch_namespaces)
            except NotFound as error:
                reason = f"the custom resources are not installed (kubectl apply -f crds/): {plain(str(error))}"
                self.health.waiting("custom resources", reason)
                log.warning("waiting for the custom resources", reason=reason)
            except ApiUnavailable as error:
                self.health.waiting("custom resources", plain(str(error)))
                log.warning("waiting for the Kubernetes API", reason=plain(str(error)))
            else:
                self.health.has("custom resources")
                return
            await asyncio.sleep(_RETRY.total_seconds())

    async def _listen(self, caches: Caches, queue: WorkQueue) -> NoReturn:
        """News of experiments. What was told while nobody listened is made good by a pass for each that is not over."""
        lost = ""

        def heard(channel: str, payload: str) -> None:
            if channel == graphs.CHANNEL:
                for key in waiting_for_graphs(caches, payload):
                    queue.add(key)
            elif (item := caches.experiments.by_uid(payload)) is not None:
                queue.add(key_of(item, "Experiment"))

        def connected() -> None:
            nonlocal lost
            lost = ""
            self.health.has("PostgreSQL")
            for key in caches.experiments.all_keys():
                queue.add(key)

        def gone(error: Exception) -> None:
            nonlocal lost
            text = plain(str(error))
            self.health.waiting("PostgreSQL", text)
            if text != lost:
                log.warning("no news from PostgreSQL", reason=text)
            lost = text

        await listen(
            self.settings.dsn,
            [CHANNEL, graphs.CHANNEL],
            heard=heard,
            on_connect=connected,
            on_loss=gone,
            application_name="unicorn-operator-listen",
        )

    async def _until_asked(self, queue: WorkQueue) -> NoReturn:
        await self.stop.wait()
        log.info("stopping")
        self.health.stage = "Stopping"
        queue.close()
        try:
            async with asyncio.timeout(DRAIN.total_seconds()):
                await queue.drained()
        except TimeoutError:
            log.warning("passes under way are given up", seconds=DRAIN.total_seconds())
        raise _Asked


class _Asked(Exception):
    """To stop."""


class _Wake:
    """From uids to keys in the queue; unknown ones are nobody's."""

    def __init__(self, caches: Caches, queue: WorkQueue) -> None:
        self._caches, self._queue = caches, queue

    def experiments(self, uids: list[UUID]) -> None:
        for uid in uids:
            self._add("Experiment", uid)

    def connector(self, uid: UUID) -> None:
        self._add("Connector", uid)

    def node(self, uid: UUID) -> None:
        """And its Connector, which counts its nodes."""
        self._add("TargetNode", uid)
        item = self._caches.target_nodes.by_uid(str(uid))
        if item is not None:
            self._queue.add(Key("Connector", item["metadata"]["namespace"], item["spec"]["connectorRef"]["name"]))

    def all_nodes(self) -> None:
        for key in (*self._caches.target_nodes.all_keys(), *self._caches.connectors.all_keys()):
            self._queue.add(key)

    def _add(self, kind: str, uid: UUID) -> None:
        item = self._caches.by_kind[kind].by_uid(str(uid))
        if item is not None:
            self._queue.add(key_of(item, kind))


async def _forever(name: str, task: Awaitable[object], closing: asyncio.Event) -> NoReturn:
    """Whatever ends it ends the leader: `closing` says so before the others are cancelled."""
    try:
        await task
    finally:
        closing.set()
    raise TaskEnded(f"{name} has ended without a reason")
