"""The webhook server and its upkeep, in a thread and an event loop of its own: a long pass of the operator delays no answer."""

import asyncio
import json
import re
import ssl
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from aiohttp import web
from unicorn_core.admission import CheckConfig
from unicorn_core.errors import Broken, Problem, Refused
from unicorn_kube import KubeClient, KubeConfig

from unicorn_operator.admission.keeping import Served, current
from unicorn_operator.admission.registration import MUTATE, TIMEOUT_SECONDS, VALIDATE, register
from unicorn_operator.admission.reviews import Answer, Rules, arguments_to_ask_for, mutate, validate
from unicorn_operator.admission.rights import MayUseArguments, may_use_arguments
from unicorn_operator.admission.settings import AdmissionSettings

BODY_LIMIT = 8 * 1024 * 1024  # an AdmissionReview holds the object twice; etcd takes 1.5 MiB, a request 3 MiB
UPKEEP = timedelta(minutes=1)  # certificates that others renew are noticed, a deleted registration is written again
RETRY = timedelta(seconds=2)
_UID = re.compile(rb'"request":\{"uid":"([0-9a-f-]{36})"')
_HEAD = 1024
_STOP_SECONDS = 2.0  # for requests under way, either way

log = structlog.get_logger(__name__)


async def serve_admission(
    settings: AdmissionSettings,
    kubeconfig: KubeConfig,
    check_config: CheckConfig,
    on_ready: Callable[[int], None] | None = None,
) -> None:
    """Serves until cancelled. `on_ready` is called in the server's thread, with the port, once the webhooks are registered.

    While the Kubernetes API or the certificate is not to be had it retries; it raises only what no retry mends
    (Refused: a port in use).
    """
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def until_stopped() -> None:
        serving = asyncio.create_task(_serve(settings, kubeconfig, check_config, on_ready, stop))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        await asyncio.wait((serving,), timeout=_STOP_SECONDS)
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving

    def thread() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(until_stopped())

    with ThreadPoolExecutor(1, thread_name_prefix="admission") as pool:
        running = asyncio.get_running_loop().run_in_executor(pool, thread)
        try:
            await asyncio.shield(running)
        except asyncio.CancelledError:
            with suppress(RuntimeError):  # it has ended by itself at this very moment
                loop.call_soon_threadsafe(stop.set)
            await running
            raise


async def _serve(
    settings: AdmissionSettings,
    kubeconfig: KubeConfig,
    check_config: CheckConfig,
    on_ready: Callable[[int], None] | None,
    stop: asyncio.Event,
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    async with KubeClient(kubeconfig) as kube:
        if not await _patiently(lambda: _load(settings, kube, context), stop):
            return
        app = application(Rules(check_config, settings.trusted_users), may_use_arguments(kube))
        async with _listening(settings, context, app) as port:
            told = False
            while await _patiently(lambda: _keep_up(settings, kube, context, port), stop):
                if not told:
                    told = True
                    log.info("admission webhooks are served", port=port)
                    if on_ready is not None:
                        on_ready(port)
                if await _stopped_within(stop, UPKEEP):
                    return


async def _keep_up(settings: AdmissionSettings, kube: KubeClient, context: ssl.SSLContext, port: int) -> None:
    served = await _load(settings, kube, context)
    await register(settings, kube, port, served.ca)


async def _load(settings: AdmissionSettings, kube: KubeClient, context: ssl.SSLContext) -> Served:
    """The present certificate, loaded: connections from now on are served with it."""
    served = await current(settings, kube, lambda: datetime.now(UTC))
    with tempfile.NamedTemporaryFile() as file:  # 0600; the ssl module takes files only
        file.write(served.certificate + b"\n" + served.key)
        file.flush()
        try:
            context.load_cert_chain(file.name)
        except ssl.SSLError as error:
            raise Broken("the webhooks' certificate and key are no pair in PEM") from error
    return served


async def _patiently(attempt: Callable[[], Awaitable[object]], stop: asyncio.Event) -> bool:
    """Again and again, until nothing is broken; False when asked to stop before that."""
    said = ""
    while True:
        try:
            await attempt()
            return True
        except Broken as error:
            if str(error) != said:  # once, not every two seconds
                said = str(error)
                log.warning("admission waits", reason=error.reason, message=said)
        if await _stopped_within(stop, RETRY):
            return False


async def _stopped_within(stop: asyncio.Event, span: timedelta) -> bool:
    try:
        async with asyncio.timeout(span.total_seconds()):
            await stop.wait()
    except TimeoutError:
        return False
    return True


@asynccontextmanager
async def _listening(settings: AdmissionSettings, context: ssl.SSLContext, app: web.Application) -> AsyncIterator[int]:
    runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=_STOP_SECONDS)
    await runner.setup()
    try:
        await _start(web.TCPSite(runner, settings.host, settings.port, ssl_context=context), settings)
        yield runner.addresses[0][1]
    finally:
        transports = [handler.transport for handler in (runner.server.connections if runner.server else ())]
        await runner.cleanup()
        for transport in transports:
            if transport is not None:
                transport.abort()  # TLS would wait for the API server's goodbye, and outlive the loop
        await asyncio.sleep(0)


async def _start(site: web.TCPSite, settings: AdmissionSettings) -> None:
    try:
        await site.start()
    except OSError as error:
        message = f"cannot listen on {settings.host}:{settings.port}: {error.strerror}"
        expected = "a free address in UNICORN_WEBHOOK_HOST and UNICORN_WEBHOOK_PORT"
        raise Refused(Problem("UNICORN_WEBHOOK_PORT", message, expected)) from error


def application(rules: Rules, may_use: MayUseArguments) -> web.Application:
    """The two webhooks. A request that is no AdmissionReview is 400: with failurePolicy Fail its object is refused. So it is
    when rights cannot be asked for."""

    async def answer_mutate(request: web.Request) -> web.Response:
        return _respond(mutate(await _request_of(request), rules))

    async def answer_validate(request: web.Request) -> web.Response:
        asked = await _request_of(request)
        paths = arguments_to_ask_for(asked, rules)
        try:
            forbidden = [] if not paths or await may_use(asked["userInfo"], str(asked.get("namespace") or "")) else paths
        except Broken as error:
            log.warning("whether a user may is not known", reason=error.reason, message=str(error))
            raise web.HTTPServiceUnavailable(text="whether you may use additionalArguments cannot be asked now") from error
        return _respond(validate(asked, rules, forbidden))

    app = web.Application(client_max_size=BODY_LIMIT)
    app.add_routes([web.post(MUTATE, answer_mutate), web.post(VALIDATE, answer_validate)])
    return app


async def _request_of(request: web.Request) -> dict[str, Any]:
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            body = await request.read()
    except TimeoutError as error:
        raise web.HTTPRequestTimeout(text="the request takes too long to arrive") from error
    try:
        content = json.loads(body)["request"]
        complete = isinstance(content["uid"], str) and isinstance(content["object"], dict)
        complete = complete and isinstance(content["userInfo"], dict) and isinstance(content["kind"], dict)
    except RecursionError as error:
        raise _too_deep(body) from error
    except (ValueError, KeyError, TypeError) as error:
        raise web.HTTPBadRequest(text="not an AdmissionReview") from error
    if not complete:
        raise web.HTTPBadRequest(text="not an AdmissionReview of a CREATE or UPDATE")
    found: dict[str, Any] = content
    return found


def _too_deep(body: bytes) -> web.HTTPException:
    """An answer to what cannot be read as a whole: its uid stands at the beginning."""
    found = _UID.search(body[:_HEAD])
    if found is None:
        return web.HTTPBadRequest(text="not an AdmissionReview")
    status = {"code": 422, "reason": "Invalid", "message": "the object is nested too deeply; make it flatter"}
    answer = {"uid": found[1].decode(), "allowed": False, "status": status}
    return web.HTTPOk(text=_review(answer), content_type="application/json")


def _respond(answer: Answer) -> web.Response:
    return web.Response(text=_review(answer), content_type="application/json")


def _review(answer: Answer) -> str:
    return json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": answer})
