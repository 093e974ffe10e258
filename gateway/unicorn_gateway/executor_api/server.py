"""One process of the executor gateway, from its settings to its graceful end."""

import asyncio
import contextlib
from collections.abc import Callable

import structlog
from aiohttp import web
from unicorn_store import connect

from unicorn_gateway import serving
from unicorn_gateway.executor_api.agent import Agent
from unicorn_gateway.executor_api.app import make_app
from unicorn_gateway.executor_api.authentication import Authenticator
from unicorn_gateway.executor_api.gateway import Gateway
from unicorn_gateway.executor_api.keys import KeyRing
from unicorn_gateway.executor_api.openapi import document
from unicorn_gateway.settings import ExecutorSettings

_log = structlog.get_logger(__name__)


async def serve(
    settings: ExecutorSettings, *, stop: asyncio.Event | None = None, ready: Callable[[str], None] = lambda url: None
) -> None:
    """Serve until SIGTERM or SIGINT, or until `stop`; `ready` gets the URL once it listens. Raises Refused (settings)."""
    stop = stop or serving.stop_by_signal()
    ring = KeyRing(settings.token_public_keys)
    ring.load()
    tls = serving.tls(settings)
    agent = Agent.load(settings.agent) if settings.agent else None
    listening = serving.bind(settings)
    store = await connect(
        settings.database_url, application_name="unicorn-executor-gateway", max_size=settings.database_connections
    )
    gateway = Gateway(store, settings, Authenticator(ring), agent=agent, openapi=document())
    # handler_cancellation off: what an executor sent is stored even when it does not wait for the answer.
    timeout = settings.stop_timeout.total_seconds()
    runner = web.AppRunner(make_app(gateway), access_log=None, shutdown_timeout=1, handler_cancellation=False)
    await runner.setup()
    loop = asyncio.get_running_loop()
    background = asyncio.create_task(gateway.run())
    try:
        server = await loop.create_server(serving.protocols(runner, settings), sock=listening, ssl=tls, backlog=4096)
        url = serving.url(listening, tls is not None)
        _log.info("listening", address=url, port=listening.getsockname()[1])
        ready(url)
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait([stopping, background], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        _log.info("stopping")
        gateway.drain()
        server.close()
        with contextlib.suppress(TimeoutError):  # before aiohttp's own shutdown, which reads no more of a body that is on its way
            async with asyncio.timeout(timeout):
                await gateway.left.wait()
        await runner.cleanup()
        with contextlib.suppress(Exception):  # heartbeats of the last moment; the next process hears the next ones
            await gateway.pulse.tick()
        if background.done():
            background.result()
    finally:
        background.cancel()
        await asyncio.gather(background, return_exceptions=True)
        await runner.cleanup()
        await store.close()
        _log.info("stopped")
