"""One process of the user API, from its settings to its graceful end."""

import asyncio
import contextlib
from collections.abc import Callable

import structlog
from aiohttp import web
from unicorn_kube import KubeClient, KubeConfig
from unicorn_store import connect

from unicorn_gateway import serving
from unicorn_gateway.user_api.app import make_app
from unicorn_gateway.user_api.authentication import Authentication, Parts
from unicorn_gateway.user_api.authentication.tokens import UserTokens
from unicorn_gateway.user_api.openapi import document
from unicorn_gateway.user_api.service import UserApi
from unicorn_gateway.user_api.settings import UserSettings

_log = structlog.get_logger(__name__)


async def serve(
    settings: UserSettings, *, stop: asyncio.Event | None = None, ready: Callable[[str], None] = lambda url: None
) -> None:
    """Serve until SIGTERM or SIGINT, or until `stop`; `ready` gets the URL once it listens. Raises Refused (settings)."""
    stop = stop or serving.stop_by_signal()
    tokens = UserTokens(settings.user_signing_key_file)
    tls = serving.tls(settings)
    kubeconfig = KubeConfig.load(settings.kubeconfig or None)
    listening = serving.bind(settings)
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(listening.close)
        kube = await stack.enter_async_context(KubeClient(kubeconfig))
        store = await connect(
            settings.database_url, application_name="unicorn-user-gateway", max_size=settings.database_connections
        )
        stack.push_async_callback(store.close)
        authentication = Authentication.load(Parts(store, kube), tokens, settings)
        stack.push_async_callback(authentication.close)
        api = UserApi(store, kube, settings, authentication, openapi=document())
        # handler_cancellation off: what a user asked for is done even when they do not wait for the answer.
        runner = web.AppRunner(make_app(api), access_log=None, shutdown_timeout=1, handler_cancellation=False)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        background = asyncio.create_task(api.run())
        stack.push_async_callback(_end, background)
        loop = asyncio.get_running_loop()
        server = await loop.create_server(serving.protocols(runner, settings), sock=listening, ssl=tls, backlog=1024)
        url = serving.url(listening, tls is not None)
        _log.info("listening", address=url, port=listening.getsockname()[1])
        ready(url)
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait([stopping, background], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        _log.info("stopping")
        api.drain()
        server.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(settings.stop_timeout.total_seconds()):
                await api.left.wait()
        if background.done():
            background.result()
    _log.info("stopped")


async def _end(background: asyncio.Task[None]) -> None:
    background.cancel()
    await asyncio.gather(background, return_exceptions=True)
