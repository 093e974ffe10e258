"""kopf as our informer: it watches, we note what came and queue who is concerned. No handler of ours can fail or wait."""

import asyncio
import itertools
import logging
from collections.abc import Callable, Iterator
from typing import Any

import kopf
from unicorn_core.naming import GROUP, KOPF_FINALIZER, VERSION
from unicorn_kube import KubeConfig, Resource
from unicorn_kube.resource import CONNECTORS, ENVIRONMENTS, EXPERIMENTS, NAMESPACES, PIPELINES, TARGET_NODES

from unicorn_operator.cache import Caches, Object, key_of
from unicorn_operator.dependents import dependents
from unicorn_operator.queue import WorkQueue

WATCHED: dict[str, Resource] = {
    "Experiment": EXPERIMENTS,
    "Pipeline": PIPELINES,
    "Environment": ENVIRONMENTS,
    "Connector": CONNECTORS,
    "TargetNode": TARGET_NODES,
    "Namespace": NAMESPACES,
}


class Inbox:
    """Takes news of objects, whoever brings them: into the cache, and into the queue whoever is concerned."""

    def __init__(self, caches: Caches, queue: WorkQueue) -> None:
        self._caches, self._queue = caches, queue

    def take(self, kind: str, type: str | None, item: Object) -> None:
        """`type`: as a watch names it; None or anything but DELETED is a version of the object."""
        cache = self._caches.by_kind[kind]
        key = key_of(item, kind)
        old = cache.get(key.namespace, key.name)
        news = cache.remove(item) if type == "DELETED" else cache.put(item)
        if not news:
            return
        if kind != "Namespace":
            self._queue.add(key)
        for other in dependents(self._caches, kind, None if type == "DELETED" else old, item):
            self._queue.add(other)

    def missed(self, kind: str, item: Object) -> None:
        """A listing showed what no watch did; the cache knows it already."""
        if kind != "Namespace":
            self._queue.add(key_of(item, kind))
        for other in dependents(self._caches, kind, None, item):
            self._queue.add(other)


def registry_of(inbox: Inbox, config: KubeConfig) -> kopf.OperatorRegistry:
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    def login(**_: Any) -> kopf.ConnectionInfo:
        return connection_of(config)

    for kind, resource in WATCHED.items():
        handler = _handler(kind, inbox)
        if resource.group == GROUP:
            kopf.on.event(GROUP, VERSION, resource.plural, registry=registry, id=f"note-{resource.plural}")(handler)
        else:
            kopf.on.event(resource.version, resource.plural, registry=registry, id=f"note-{resource.plural}")(handler)
    return registry


def _handler(kind: str, inbox: Inbox) -> Callable[..., Any]:
    async def note(event: Any, **_: Any) -> None:
        item = event["object"]
        inbox.take(kind, event["type"], {"kind": kind, **item, "metadata": dict(item["metadata"])})

    return note


def connection_of(config: KubeConfig) -> kopf.ConnectionInfo:
    """kopf asks again when the API refuses it, so a rotated token is read again."""
    token = config.token
    if config.token_file:
        with open(config.token_file) as file:
            token = file.read().strip()
    return kopf.ConnectionInfo(
        server=config.server,
        ca_data=config.ca or None,
        insecure=not config.verify or None,
        token=token or None,
        certificate_data=config.client_certificate or None,
        private_key_data=config.client_key or None,
        default_namespace=config.namespace,
    )


class _Endless:
    """Back-offs without an end: an API server that is away is waited for."""

    def __iter__(self) -> Iterator[float]:
        return itertools.chain((0.2, 0.5, 1.0, 2.0), itertools.repeat(3.0))


class _NoMemory(kopf.DiffBaseStorage):
    """kopf compares each object with what it last handled. We handle events only: it need not copy every object for that."""

    def build(self, *, body: Any, extra_fields: Any = None) -> Any:
        return {}

    def fetch(self, *, body: Any) -> None:
        return None

    def store(self, *, body: Any, patch: Any, essence: Any) -> None:
        """Nothing is kept."""


def settings_of() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    prefix = GROUP
    settings.persistence.finalizer = KOPF_FINALIZER
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=f"kopf.{prefix}")
    settings.persistence.diffbase_storage = _NoMemory()
    settings.posting.enabled = False
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 310
    settings.watching.inactivity_timeout = 90.0
    settings.watching.chunk_size = 500
    settings.networking.request_timeout = 10
    settings.networking.connect_timeout = 5
    settings.networking.error_backoffs = _Endless()
    settings.networking.enforce_retry_after = True
    settings.queueing.exit_timeout = 0.5
    settings.process.ultimate_exiting_timeout = None  # we end the process ourselves
    return settings


async def watch(inbox: Inbox, config: KubeConfig, namespaces: tuple[str, ...], own_signals: Callable[[], None]) -> None:
    """For ever. Only the leader watches. `own_signals` puts back the signal handlers that kopf replaces."""
    logging.getLogger("kopf").setLevel(logging.WARNING)
    identity: Any = "unicorn-operator"  # else kopf asks for the user's name, which a pod's uid does not have
    known = set(asyncio.all_tasks())
    tasks = await kopf.spawn_tasks(
        registry=registry_of(inbox, config),
        settings=settings_of(),
        standalone=True,
        identity=identity,
        clusterwide=not namespaces,
        namespaces=namespaces,
    )
    own_signals()
    await kopf.run_tasks(tasks, ignored=known)
