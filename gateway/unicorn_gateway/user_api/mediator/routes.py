"""The mediator's routes: netunicorn's, as its released client calls them."""

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from unicorn_store import mediator

from unicorn_gateway.user_api.mediator import answering, executors, flags, listing, living, nodes, preparing
from unicorn_gateway.user_api.mediator.experiments import Experiments
from unicorn_gateway.user_api.mediator.messages import ExecutorsCancellation, Experiment, FlagValues
from unicorn_gateway.user_api.mediator.names import name_in
from unicorn_gateway.user_api.routing import Call, Handler, Parameter, Route, Schema, Version

_EXPERIMENT = "/api/v1/experiment/{name}"
_FLAG = "/api/v1/experiment/{name}/flag/{flag}"
_STRING: Schema = {"type": "string"}
_NULL: Schema = {"type": "null"}
_OBJECT: Schema = {"type": "object"}
_CONTEXT: Schema = {"anyOf": [{"type": "object", "additionalProperties": {"type": "object"}}, {"type": "null"}]}
_RESULT: Schema = {
    "type": "object",
    "properties": {
        "node": _OBJECT,
        "execution_graph": {"type": "string", "contentEncoding": "base64"},
        "result": {"type": ["string", "null"], "contentEncoding": "base64"},
        "error": {"type": ["string", "null"]},
    },
    "required": ["node", "execution_graph", "result", "error"],
}
_INFORMATION: Schema = {
    "type": "object",
    "properties": {
        "status": {"type": "integer", "minimum": 0, "maximum": 4},
        "experiment": {
            "type": "object",
            "properties": {"deployment_map": {"type": "array", "items": _OBJECT}, "deployment_context": _CONTEXT},
            "required": ["deployment_map", "deployment_context"],
        },
        "execution_result": {"anyOf": [{"type": "null"}, {"type": "string"}, {"type": "array", "items": _RESULT}]},
    },
    "required": ["status", "experiment", "execution_result"],
}
_POOL: Schema = {
    "type": "object",
    "properties": {
        "node_pool_type": {"enum": ["CountableNodePool", "UncountableNodePool"]},
        "node_pool_data": {"type": "array", "items": _OBJECT},
        "node_pool_metadata": {"type": ["number", "null"]},
    },
    "required": ["node_pool_type", "node_pool_data", "node_pool_metadata"],
}
_FLAG_ANSWER: Schema = {
    "type": "object",
    "properties": {"text_value": {"type": ["string", "null"]}, "int_value": {"type": "integer"}},
    "required": ["text_value", "int_value"],
}


async def health(call: Call) -> Any:
    """Raises StoreUnavailable, ApiUnavailable."""
    async with call.api.store.connection() as connection:
        await connection.execute("SELECT 1")
    await call.api.kube.version()
    return "OK"


async def list_nodes(call: Call) -> Any:
    caller, api = call.caller, call.api
    await api.authorize(caller, "list", "experiments", caller.namespace)
    inventory = await api.catalogue.inventory(caller.namespace)
    taken = nodes.taken_by_others(await mediator.holdings(api.store), caller.kubernetes_user, caller.namespace)
    return nodes.pools(inventory, caller.tags, taken)


async def list_experiments(call: Call) -> Any:
    await call.api.authorize(call.caller, "list", "experiments", call.caller.namespace)
    return await answering.all_of(call, Experiments(call.api.store, call.api.kube, call.caller.namespace))


async def get_experiment(call: Call, name: str) -> Any:
    await call.api.authorize(call.caller, "get", "experiments", call.caller.namespace)
    found = await Experiments(call.api.store, call.api.kube, call.caller.namespace).require(name)
    return await answering.one(call, found)


def _named(handler: Callable[..., Awaitable[Any]], *segments: int) -> Handler:
    """A handler that gets these segments of the path, decoded; netunicorn has no route for a name with a slash."""

    async def handle(call: Call) -> Any:
        raw = call.request.rel_url.raw_path.split("/")
        names = [name_in(raw[segment]) for segment in segments]
        if None in names:
            return web.json_response({"detail": "Not Found"}, status=404)
        return await handler(call, *names)

    return handle


def _route(method: str, path: str, handler: Handler, summary: str, answer: Schema, **more: Any) -> Route:
    return Route(method, path, handler, summary, answer, version=Version.V1, **more)


_TWICE = {404: "NotFound: a name with a slash"}
_INVALID = {422: "Invalid"}
_OPTIONAL_CONTEXT: dict[str, Any] = {"body": _CONTEXT, "body_required": False}
ROUTES = (
    _route("GET", "/api/v1/health", health, "Whether the system is well", _STRING),
    _route("GET", "/api/v1/nodes", list_nodes, "The nodes that the user can have now, in pools", _POOL),
    _route(
        "GET",
        "/api/v1/experiment",
        list_experiments,
        "All experiments of the user's namespace, by name",
        {"type": "object", "additionalProperties": _INFORMATION},
    ),
    _route("GET", _EXPERIMENT, _named(get_experiment, 4), "One experiment, its deployments and results", _INFORMATION,
           problems=_TWICE),
    _route("DELETE", _EXPERIMENT, _named(living.delete, 4), "Delete it: its name is free again", _NULL, problems=_TWICE),
    _route("POST", _EXPERIMENT + "/prepare", _named(preparing.prepare, 4), "Prepare an experiment; answers its name", _STRING,
           body=Experiment, problems=_TWICE),
    _route("POST", _EXPERIMENT + "/start", _named(living.start, 4), "Start it when it is READY; answers its name", _STRING,
           problems={**_TWICE, **_INVALID}, **_OPTIONAL_CONTEXT),
    _route("POST", _EXPERIMENT + "/cancel", _named(living.cancel, 4), "End it", _STRING,
           problems={**_TWICE, **_INVALID}, **_OPTIONAL_CONTEXT),
    _route("POST", "/api/v1/executors/cancel", executors.cancel, "End single executors", _STRING,
           body=ExecutorsCancellation, problems=_INVALID),
    _route("GET", _FLAG, _named(flags.get, 4, 6), "A flag of an experiment", _FLAG_ANSWER, problems=_TWICE),
    _route("POST", _FLAG, _named(flags.post, 4, 6), "Set a flag: its text and its integer", _NULL,
           body=FlagValues, problems={**_TWICE, **_INVALID}),
    _route("GET", "/api/v1/ui/locks", listing.locks, "The nodes that the user's experiments hold", {"type": "array"}),
    _route("GET", "/api/v1/ui/compilations", listing.compilations, "Images being built for the user", {"type": "array"}),
    _route("GET", "/api/v1/ui/running_experiments", listing.running, "Experiments that have not ended", {"type": "array"}),
    _route("GET", "/api/v1/ui/last_experiments", listing.last, "Experiments of the last days", {"type": "array"},
           parameters=(Parameter("days", "how many days back", {"type": "integer", "minimum": 0, "default": listing.DAYS}),),
           problems=_INVALID),
)  # fmt: skip
