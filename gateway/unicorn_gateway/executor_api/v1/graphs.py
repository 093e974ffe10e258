"""GET /x/{token}/api/v1/executor/execution_graph: netunicorn's check-in, and the graph that it runs."""

from base64 import b64encode

from aiohttp import web
from unicorn_store import graphs, reports

from unicorn_gateway.executor_api import assignment
from unicorn_gateway.executor_api.assignment import Step
from unicorn_gateway.executor_api.gateway import Gateway
from unicorn_gateway.executor_api.v1.access import Visitor, require_own, visitor
from unicorn_gateway.problems import ProblemError


async def get(request: web.Request, gateway: Gateway) -> web.Response:
    """The graph; 204 when it is not released within the hold; 200 without a body ends an executor that is not to run."""
    visiting = visitor(request, gateway)
    given = request.query.get("executor_id")
    if given is None:
        raise ProblemError(422, "Malformed", "the query parameter executor_id is missing")
    require_own("executor_id", given, visiting.caller.executor)
    try:
        content = await _graph(gateway, visiting)
    except ProblemError as problem:
        if problem.status not in (404, 410):
            raise
        content = b""
    if content is None:
        return web.Response(status=204)
    if not content:
        return web.Response(content_type="text/plain")
    return web.Response(body=b'"' + b64encode(content) + b'"', content_type="application/json")


async def _graph(gateway: Gateway, visiting: Visitor) -> bytes | None:
    """None: not yet. Empty: never. Raises ProblemError 404, 410."""
    caller = visiting.caller
    known = gateway.sessions.known(caller.executor)
    session = await gateway.standing(caller, check_in=known is None or known.instance is None)
    step = await assignment.arrive(gateway, caller, session, gateway.settings.netunicorn_hold.total_seconds())
    if step is Step.WAIT:
        return None
    if step is not Step.RUN:
        return b""
    async with gateway.store.connection() as connection:
        if await reports.standing(connection, caller.executor) is not None:
            return b""  # it runs already, and was started twice
        content = await graphs.read_graph_of(connection, caller.executor)
    if content is None:
        await assignment.fail(gateway, session, "GraphInvalid", "no serialized graph was recorded for this deployment")
        return b""
    return content
