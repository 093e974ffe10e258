"""The routes without a token: the agent, health, metrics, the OpenAPI document."""

from typing import Any

from aiohttp import web

from unicorn_gateway.executor_api.gateway import Gateway
from unicorn_gateway.problems import ProblemError, unavailable


async def agent(request: web.Request, gateway: Gateway) -> web.Response:
    if gateway.agent is None:
        raise ProblemError(404, "NotFound", "this gateway serves no agent")
    headers = {"ETag": f'"{gateway.agent.etag}"', "Cache-Control": "no-cache"}
    if any(tag.value == gateway.agent.etag for tag in request.if_none_match or ()):
        return web.Response(status=304, headers=headers)
    return web.Response(body=gateway.agent.content, content_type="application/zip", headers=headers)


async def healthz(request: web.Request, gateway: Gateway) -> Any:
    return {"status": "ok"}


async def readyz(request: web.Request, gateway: Gateway) -> Any:
    if gateway.draining:
        raise unavailable("stopping")
    if not gateway.pulse.works:
        raise unavailable("PostgreSQL is away: " + (gateway.pulse.trouble or "slow"))
    return {"status": "ok"}


async def metrics(request: web.Request, gateway: Gateway) -> web.Response:
    gateway.metrics.sessions.set(len(gateway.sessions))
    gateway.metrics.store_works.set(gateway.pulse.works)
    return web.Response(body=gateway.metrics.text(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


async def openapi(request: web.Request, gateway: Gateway) -> Any:
    return gateway.openapi
