"""The aiohttp application: one wrapper around every route does what all routes need."""

import asyncio
import json
import re
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from typing import Any

import structlog
from aiohttp import web

from unicorn_gateway.logs import redacted
from unicorn_gateway.problems import ProblemError
from unicorn_gateway.user_api.callers import Caller
from unicorn_gateway.user_api.failures import answer, problem_of
from unicorn_gateway.user_api.routes import ROUTES
from unicorn_gateway.user_api.routing import Call, Route, Version
from unicorn_gateway.user_api.service import UserApi

API = web.AppKey("api", UserApi)
REQUEST_ID = "X-Request-ID"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PARAMETER = re.compile(r"{(\w+)}")  # which takes no braces, unless it is told to
_QUIET = {"GET /healthz", "GET /readyz", "GET /metrics"}
_access = structlog.get_logger("access")


def make_app(api: UserApi) -> web.Application:
    app = web.Application()
    app[API] = api
    for route in ROUTES:
        endpoint = _endpoint(route, api)
        path = _PARAMETER.sub(r"{\1:[^/]+}", route.path)
        if route.method == "GET":
            app.router.add_get(path, endpoint, allow_head=False)
        else:
            app.router.add_route(route.method, path, endpoint)
    for prefix, version in (("/api/v1", Version.V1), ("", Version.V2)):
        unmatched = Route("*", "unmatched", _unmatched, "", "", version=version, authenticated=False)
        app.router.add_route("*", prefix + "/{tail:.*}", _endpoint(unmatched, api))
    return app


def _endpoint(route: Route, api: UserApi) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Request id, overload, authentication, rate, errors in the route's form, metrics, access log."""

    async def endpoint(request: web.Request) -> web.StreamResponse:
        started = time.perf_counter()
        given = request.headers.get(REQUEST_ID, "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        caller = None
        counts = not route.waits
        api.present += 1
        api.running += counts
        try:
            with structlog.contextvars.bound_contextvars(request=request_id):
                try:
                    if route.name not in _QUIET:
                        api.require_capacity()
                    if route.authenticated:
                        caller = await api.authentication.caller(request)
                        api.pace(caller)
                    with _place(api, route, caller):
                        async with _room(api, caller, request):
                            result = await route.handler(Call(request, api, caller, request_id))
                    response = result if isinstance(result, web.StreamResponse) else _json(result)
                except asyncio.CancelledError:
                    raise
                except Exception as error:
                    response = answer(problem_of(error), route.version, request_id)
        finally:
            api.running -= counts
            api.present -= 1
            if api.draining and not api.present:
                api.left.set()
        if not response.prepared:
            response.headers.setdefault(REQUEST_ID, request_id)
            if api.draining:
                response.force_close()
        seconds = time.perf_counter() - started
        api.metrics.answered(route.name, response.status, seconds)
        if route.name not in _QUIET or response.status >= 400:
            _access.info(
                "request",
                request=request_id,
                route=route.name,
                path=redacted(request.path),
                user=caller.kubernetes_user if caller else None,
                status=response.status,
                seconds=round(seconds, 4),
                peer=api.authentication.address_of(request),
            )
        return response

    return endpoint


def _place(api: UserApi, route: Route, caller: Caller | None) -> AbstractContextManager[None]:
    """One user has so many requests at once, and no more, whatever the others do."""
    if caller is None:
        return nullcontext()
    return (api.waiting if route.waits else api.in_flight).one(caller.kubernetes_user)


def _room(api: UserApi, caller: Caller | None, request: web.Request) -> AbstractAsyncContextManager[None]:
    """Those whom nobody knows send nothing large: the open routes have small limits of their own."""
    return api.room_for(caller, request.content_length) if caller and request.body_exists else nullcontext()


def _json(result: Any) -> web.Response:
    """Numbers that JSON does not know (Infinity) are a fault of ours."""
    body = json.dumps(result, separators=(",", ":"), allow_nan=False).encode()
    return web.Response(body=body, content_type="application/json")


async def _unmatched(call: Call) -> Any:
    """404, or 405 where another method would do."""
    allowed = set()
    for resource in call.request.app.router.resources():
        if resource.canonical.endswith("{tail}"):
            continue
        _, methods = await resource.resolve(call.request)
        allowed |= methods
    if allowed:
        methods_text = ", ".join(sorted(allowed))
        raise ProblemError(405, "MethodNotAllowed", f"allowed: {methods_text}", headers={"Allow": methods_text})
    if call.request.path.startswith("/api/v1/"):
        return web.json_response({"detail": "Not Found"}, status=404)
    raise ProblemError(404, "NotFound", "there is no such route")
