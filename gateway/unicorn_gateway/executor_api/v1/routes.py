"""The routes of netunicorn's protocol, each with and without a slash at its end."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from aiohttp import web

from unicorn_gateway.executor_api.gateway import Gateway
from unicorn_gateway.executor_api.route import Query, Route
from unicorn_gateway.executor_api.v1 import flags, graphs, reports
from unicorn_gateway.executor_api.v1.access import visitor
from unicorn_gateway.executor_api.v1.messages import V1Flag, V1FlagSet, V1Report

PREFIX = "/x/{token}"
_FLAG = f"{PREFIX}/api/v1/experiment/{{experiment}}/flag/{{name}}"
_JSON = "application/json"
_FOREIGN = {403: "Forbidden: another executor's or experiment's", 422: "Malformed"}


async def _health(request: web.Request, gateway: Gateway) -> Any:
    if "token" in request.match_info:
        visitor(request, gateway)
    return "OK"


_REPORT = Route(
    "POST",
    f"{PREFIX}/api/v1/executor/result",
    reports.post,
    "A heartbeat (state 1) or the final report of netunicorn's executor",
    _JSON,
    V1Report,
    problems={**_FOREIGN, 413: "TooLarge: beyond all measure"},
    holds=True,
    frequent=True,
)
_GRAPH = Route(
    "GET",
    f"{PREFIX}/api/v1/executor/execution_graph",
    graphs.get,
    "Check in and wait for the release: the pickled graph in base64; as text without a body: end",
    f"{_JSON}, text/plain",
    queries=(Query("executor_id", "its own", text=True, required=True),),
    problems=_FOREIGN,
    others={204: "Not released yet"},
    waits=True,
    holds=True,
    frequent=True,
)
_ONCE = (
    _REPORT,
    _GRAPH,
    replace(_GRAPH, path=f"{PREFIX}/api/v1/executor/pipeline", summary="The same under its former name"),
    Route(
        "GET",
        _FLAG,
        flags.get,
        "A flag; 404 and null when it was never written",
        V1Flag,
        problems=_FOREIGN,
        others={404: "null: never written"},
        frequent=True,
    ),
    Route(
        "POST",
        _FLAG,
        flags.post,
        "Set a flag: both its values",
        _JSON,
        V1FlagSet,
        problems={403: _FOREIGN[403], 413: "TooLarge", 422: "Malformed, OutOfRange, TooManyFlags"},
        frequent=True,
    ),
    *(
        Route(
            "POST",
            f"{_FLAG}/{name}",
            handler,
            f"{name.capitalize()} a flag by one",
            _JSON,
            problems={403: _FOREIGN[403], 422: "Malformed, OutOfRange, TooManyFlags"},
            frequent=True,
        )
        for name, handler in (("increment", flags.increment), ("decrement", flags.decrement))
    ),
    Route("GET", f"{PREFIX}/health", _health, "The process lives", _JSON, frequent=True),
    Route("GET", "/health", _health, "The process lives, as netunicorn says it", _JSON, token=False, frequent=True),
)


def _both_spellings() -> Iterator[Route]:
    for route in _ONCE:
        yield route
        yield replace(route, path=route.path + "/", quick=route is _REPORT)


ROUTES = tuple(_both_spellings())
