"""The aiohttp application: one wrapper around every route does what all routes need."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import structlog
from aiohttp import web
from unicorn_core.errors import Broken, StoreUnavailable

from unicorn_gateway import sending
from unicorn_gateway.executor_api.gateway import Gateway
from unicorn_gateway.executor_api.route import AT_ONCE, Route
from unicorn_gateway.executor_api.routes import ROUTES
from unicorn_gateway.problems import ProblemError, respond, unavailable

GATEWAY = web.AppKey("gateway", Gateway)
_EXECUTOR = "/api/v1/executor"
_RESULT = f"{_EXECUTOR}/result"
_access = structlog.get_logger("access")
_log = structlog.get_logger(__name__)


def make_app(gateway: Gateway) -> web.Application:
    app = web.Application()
    app[GATEWAY] = gateway
    for route in ROUTES:
        endpoint = _endpoint(route, gateway)
        if route.method == "GET":
            app.router.add_get(route.path, endpoint, allow_head=False, expect_handler=_expect)
        else:
            app.router.add_route(route.method, route.path, endpoint, expect_handler=_expect)
    unmatched = Route("*", "unmatched", _unmatched, "", "", token=False)
    lost = replace(unmatched, holds=True)  # an executor of netunicorn without the prefix of its URLs
    quick = replace(lost, quick=True)
    for method, path, which in (
        ("POST", _RESULT + "/", quick),
        ("*", _EXECUTOR + "/{tail:.*}", lost),
        ("*", "/{tail:.*}", unmatched),
    ):
        app.router.add_route(method, path, _endpoint(which, gateway), expect_handler=_expect)
    return app


async def _expect(request: web.Request) -> web.StreamResponse | None:
    """`Expect: 100-continue`, as curl sends it with large bodies; whatever else is expected cannot be had."""
    if request.headers.getall("Expect") == ["100-continue"]:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # of the answer
        return None
    return respond(ProblemError(417, "Malformed", "the only expectation that can be met is 100-continue"))


def _endpoint(route: Route, gateway: Gateway) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Rate and overload, errors as problem documents, metrics, access log."""

    async def endpoint(request: web.Request) -> web.StreamResponse:
        started = time.perf_counter()
        gateway.present += 1
        try:
            response = await _answered(route, request, gateway)
            if route.holds and response.status != 200 and not request.get(AT_ONCE, route.quick):
                stranger = response.status == 401 or not route.token
                await gateway.hold(time.perf_counter() - started, stranger=stranger)
            await sending.send(request, response, gateway.settings.body_timeout.total_seconds())
        finally:
            gateway.present -= 1
            if gateway.draining and not gateway.present:
                gateway.left.set()
        if gateway.draining:
            response.force_close()
        seconds = time.perf_counter() - started
        gateway.metrics.answered(route.name, response.status, seconds)
        if not route.frequent or response.status >= 400:
            _access.info("request", route=route.name, status=response.status, seconds=round(seconds, 4), peer=request.remote)
        return response

    return endpoint


async def _answered(route: Route, request: web.Request, gateway: Gateway) -> web.StreamResponse:
    counts = not route.waits
    gateway.running += counts
    try:
        if gateway.running > gateway.settings.requests_in_flight and route.token:
            raise unavailable("too many requests at once")
        answer = await route.handler(request, gateway)
        return answer if isinstance(answer, web.StreamResponse) else _json(answer)
    except ProblemError as problem:
        return respond(problem)
    except StoreUnavailable as error:
        _log.warning("the store is away", route=route.name, error=str(error))
        return respond(unavailable("the store is away", 2))
    except asyncio.CancelledError:
        raise
    except Exception as error:
        _log.exception("a request failed", route=route.name, cause=type(error).__name__)
        detail = "the store failed" if isinstance(error, Broken) else "a fault of the gateway"
        return respond(ProblemError(500, "Internal", detail))
    finally:
        gateway.running -= counts


def _json(answer: Any) -> web.Response:
    body = json.dumps(answer, separators=(",", ":")).encode()
    return web.Response(body=body, content_type="application/json")


async def _unmatched(request: web.Request, gateway: Gateway) -> Any:
    """404, or 405 where another method would do."""
    allowed = set()
    for resource in request.app.router.resources():
        match, methods = await resource.resolve(request)
        if match is None and methods:
            allowed |= methods
    if allowed:
        methods_text = ", ".join(sorted(allowed))
        raise ProblemError(405, "MethodNotAllowed", f"allowed: {methods_text}", headers={"Allow": methods_text})
    raise ProblemError(404, "NotFound", "there is no such route")
