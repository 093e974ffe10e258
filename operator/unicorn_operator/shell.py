"""The process: what it waits for, who leads, how it ends.

A standby has its webhooks, its probes and its place in the election. The leader has all the rest, in one task group: when
one of its tasks ends, the process ends with it, and says why.
"""

import asyncio
import contextlib
import functools
import os
import secrets
import signal
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from typing import TypeVar

import structlog
from unicorn_connectors.registry import check_config
from unicorn_core.errors import ApiUnavailable, Broken, Refused, StoreUnavailable
from unicorn_core.text import plain
from unicorn_kube import KubeClient, KubeConfig
from unicorn_store import connect, migrate

from unicorn_operator import images
from unicorn_operator.admission import AdmissionSettings, configuration_name, serve_admission, unregister
from unicorn_operator.election import EXIT_LOST, Election, Fence, LeadershipLost
from unicorn_operator.health import Health, served
from unicorn_operator.leading import Leader
from unicorn_operator.metrics import Metrics
from unicorn_operator.settings import Settings

T = TypeVar("T")
PATIENCE = timedelta(seconds=2)
STOP = timedelta(seconds=20)  # a leader has this long to end by itself

log = structlog.get_logger(__name__)


async def run(settings: Settings) -> int:
    """Until a signal (0), the loss of leadership or the death of a task. Raises Refused for settings that cannot work."""
    images.check(settings)
    stop = asyncio.Event()
    install_signals(stop)
    health, metrics = Health(), Metrics()
    async with contextlib.AsyncExitStack() as stack:
        store = await connect(settings.dsn, application_name="unicorn-operator", max_size=settings.database_connections)
        stack.push_async_callback(store.close)
        config = await asyncio.to_thread(KubeConfig.load, settings.kubeconfig or None)
        port = await stack.enter_async_context(served(health, metrics, settings.health_host, settings.health_port))
        kube = await stack.enter_async_context(KubeClient(config, on_request=metrics.requested))
        identity = settings.replica(secrets.token_hex(4))
        log.info("started", identity=identity, health_port=port, api=config.server)
        leader = Leader(settings, config, kube, store, health, metrics, stop)
        election = Election(kube, settings.namespace or config.namespace, identity)
        admission = _admission(settings, config, health)  # raises Refused for wrong settings before anything is begun
        tasks = {asyncio.create_task(admission, name="admission")} if admission else set()
        leading = asyncio.create_task(_serve(settings, health, election, leader, kube, stop), name="leading")
        return await _until_stopped(leading, tasks, election, stop)


async def _serve(
    settings: Settings, health: Health, election: Election, leader: Leader, kube: KubeClient, stop: asyncio.Event
) -> int:
    await patiently("the Kubernetes API", kube.version, health)
    await patiently("PostgreSQL", functools.partial(asyncio.to_thread, migrate, settings.dsn), health)
    if not settings.webhook:
        name = configuration_name(settings.namespace or kube.config.namespace, settings.watch_namespaces)
        await patiently("the Kubernetes API", functools.partial(unregister, kube, name), health)
    health.stage = "Standby"
    log.info("standing by", identity=election.identity)
    await election.campaign()
    with Fence(election):
        log.info("leading", identity=election.identity)
        try:
            return await _lead(election, leader, stop)
        finally:
            health.stage = "Stopping"
            # Nothing of ours acts any more: a successor may start at once.
            await election.release()


async def _lead(election: Election, leader: Leader, stop: asyncio.Event) -> int:
    code = 0
    try:
        async with asyncio.TaskGroup() as group:
            holding = group.create_task(_hold(election), name="lease")
            await leader.lead(lambda: install_signals(stop))
            holding.cancel()
    except* Exception as group_of:
        for line in _reasons(group_of):
            log.error("the operator ends", reason=line)
        code = 1
    return code


async def _hold(election: Election) -> None:
    """The process does not outlive its leadership: tidying up would be acting beside the next leader."""
    try:
        await election.hold()
    except LeadershipLost as lost:
        log.error("leadership lost", reason=str(lost))
        os._exit(EXIT_LOST)


async def _until_stopped(
    leading: "asyncio.Task[int]", others: "set[asyncio.Task[None]]", election: Election, stop: asyncio.Event
) -> int:
    """A leader ends by itself when it is asked to; whoever only waits is cancelled. The webhooks are served to the last."""
    asked = asyncio.create_task(stop.wait(), name="asked to stop")
    code = 0
    try:
        done, _ = await asyncio.wait({leading, asked, *others}, return_when=asyncio.FIRST_COMPLETED)
        for task in done & others:
            log.error("the operator ends", reason=f"{task.get_name()} has ended: {task.exception() or 'without a reason'}")
            code = 1
            stop.set()
        if not leading.done() and election.leads:
            await asyncio.wait({leading}, timeout=STOP.total_seconds())
        if leading.done():
            return leading.result() or code
        leading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            return await leading or code
        return code
    finally:
        for task in (asked, *others):
            task.cancel()
        await asyncio.gather(asked, *others, return_exceptions=True)


def _admission(settings: Settings, config: KubeConfig, health: Health) -> Coroutine[None, None, None] | None:
    """The webhooks, which every replica serves; None where they are switched off."""
    if not settings.webhook:
        return None
    admission = AdmissionSettings(
        namespace=settings.namespace or config.namespace,
        watched=settings.watch_namespaces,
        host=settings.webhook_host,
        port=settings.webhook_port,
        url=settings.webhook_url,
        service=settings.webhook_service,
        service_port=settings.webhook_service_port,
        certificate_directory=settings.webhook_certificate_directory,
        trusted_users=settings.webhook_trusted_users,
    )
    health.waiting("webhooks", "not served yet")
    loop = asyncio.get_running_loop()

    def ready(_port: int) -> None:
        loop.call_soon_threadsafe(health.has, "webhooks")

    return serve_admission(admission, config, check_config, ready)


async def patiently(what: str, attempt: Callable[[], Awaitable[T]], health: Health) -> T:
    """Try until it is there; each new reason is logged once. Raises what does not pass by waiting."""
    reason = ""
    while True:
        try:
            result = await attempt()
        except (ApiUnavailable, StoreUnavailable) as error:
            text = plain(str(error))
            if text != reason:
                log.warning(f"waiting for {what}", reason=text)
            reason = text
            health.waiting(what, text)
            await asyncio.sleep(PATIENCE.total_seconds())
            continue
        if reason:
            log.info(f"{what} is there")
        health.has(what)
        return result


def install_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)


def _reasons(group: BaseExceptionGroup[Exception]) -> list[str]:
    """One line for each of the errors that ended it."""
    lines = []
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            lines += _reasons(error)
        elif isinstance(error, Refused | Broken):
            lines.append(plain(f"{error.reason}: {error}"))
        else:
            log.error("a fault", exc_info=error)
            lines.append(plain(f"{type(error).__name__}: {error}"))
    return lines
