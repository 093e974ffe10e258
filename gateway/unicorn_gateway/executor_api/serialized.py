"""Serialized graphs for our agent: GET /v2/executor/graph, and PUT /v2/executor/report for what there is so far. Never loaded."""

import io
from typing import Any

from aiohttp import web
from unicorn_store import executor_gateway as rows
from unicorn_store import graphs, reports

from unicorn_gateway import bodies, sending
from unicorn_gateway.executor_api import limits
from unicorn_gateway.executor_api.authentication import check
from unicorn_gateway.executor_api.gateway import Gateway
from unicorn_gateway.problems import ProblemError, malformed, unavailable


async def graph(request: web.Request, gateway: Gateway) -> web.Response:
    """Its bytes; the assignment names their SHA-256."""
    caller, _ = await gateway.session(request)
    if gateway.downloads >= gateway.settings.downloads_in_flight:
        raise unavailable("too many downloads at once")
    gateway.downloads += 1
    try:
        async with gateway.store.connection() as connection:
            content = await graphs.read_graph_of(connection, caller.executor)
        if content is None:
            raise ProblemError(404, "NotFound", "this executor's graph is not a serialized one")
        response = web.Response(body=io.BytesIO(content), content_type="application/octet-stream")
        await sending.send(request, response, gateway.settings.body_timeout.total_seconds())
        return response
    finally:
        gateway.downloads -= 1


async def report(request: web.Request, gateway: Gateway) -> Any:
    """The answer's members."""
    caller, session = await gateway.session(request)
    content = await bodies.read(request, limits.REPORT, gateway.settings.body_timeout.total_seconds())
    gateway.heard(caller, session)
    if not content:
        raise malformed("a report is not empty")
    async with gateway.store.transaction() as connection:
        row = await rows.lock(connection, caller.executor)
        if row is None:
            raise ProblemError(404, "NotFound", "there is no such executor")
        check(caller, row)
        stored = not row.final and await reports.put_report(connection, row.id, content, final=False)
    return {"stored": stored}
