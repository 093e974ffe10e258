"""The routes without a token: health, metrics, the OpenAPI document."""

from typing import Any

from aiohttp import web

from unicorn_gateway.problems import unavailable
from unicorn_gateway.user_api.routing import Call, Route, Schema

_STATUS: Schema = {"type": "object", "properties": {"status": {"type": "string"}}, "required": ["status"]}


async def healthz(call: Call) -> Any:
    return {"status": "ok"}


async def readyz(call: Call) -> Any:
    if call.api.draining:
        raise unavailable("stopping")
    if call.api.trouble:
        raise unavailable("PostgreSQL is away: " + call.api.trouble)
    return {"status": "ok"}


async def metrics(call: Call) -> web.Response:
    headers = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
    return web.Response(body=call.api.metrics.text(), headers=headers)


async def openapi(call: Call) -> Any:
    return call.api.openapi


ROUTES = (
    Route("GET", "/healthz", healthz, "The process lives", _STATUS, authenticated=False),
    Route("GET", "/readyz", readyz, "The process serves", _STATUS, authenticated=False),
    Route("GET", "/metrics", metrics, "For Prometheus", "text/plain", authenticated=False),
    Route("GET", "/openapi.json", openapi, "This document", {"type": "object"}, authenticated=False),
)
