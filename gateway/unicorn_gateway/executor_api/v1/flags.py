"""/x/{token}/api/v1/experiment/{experiment}/flag/{name}: the flags of the attempt, as netunicorn's tasks know them."""

import json
from dataclasses import replace

from aiohttp import web
from unicorn_store import executor_gateway as rows
from unicorn_store import flags as store
from unicorn_store.flags import Flag, FlagKey, Writer

from unicorn_gateway import bodies
from unicorn_gateway.executor_api import limits, looks
from unicorn_gateway.executor_api.authentication import Caller
from unicorn_gateway.executor_api.flag_requests import key_of, lock_caller, locked_flag, out_of_range
from unicorn_gateway.executor_api.gateway import Gateway
from unicorn_gateway.executor_api.messages import INT64
from unicorn_gateway.executor_api.v1.access import admit_task, require_own, visitor
from unicorn_gateway.executor_api.v1.messages import V1FlagSet
from unicorn_gateway.problems import ProblemError


async def get(request: web.Request, gateway: Gateway) -> web.Response:
    """404 and null for one that was never written."""
    _, key = await _place(request, gateway)
    flag = await looks.at_flag(gateway.store, key)
    body = {"text_value": flag.text, "int_value": flag.integer} if flag.version else None
    return web.Response(status=200 if flag.version else 404, text=json.dumps(body), content_type="application/json")


async def post(request: web.Request, gateway: Gateway) -> None:
    """Both values are set: an absent text is none, an absent number 0."""
    caller, key = await _place(request, gateway)
    body = await bodies.read(request, limits.FLAG_BODY, gateway.settings.body_timeout.total_seconds())
    try:
        message = bodies.parse(body, V1FlagSet)
    except ProblemError as problem:
        raise ProblemError(422, problem.reason, problem.detail) from problem
    if not -(2**63) <= message.int_value <= INT64:
        raise out_of_range()
    async with gateway.store.transaction() as connection:
        await lock_caller(connection, caller)
        flag = await locked_flag(connection, key)
        await store.write(connection, key, Flag(key.name, message.text_value, message.int_value, flag.version + 1))
        await rows.tell(connection, "flag", key.experiment)


async def increment(request: web.Request, gateway: Gateway) -> None:
    await _add(request, gateway, 1)


async def decrement(request: web.Request, gateway: Gateway) -> None:
    await _add(request, gateway, -1)


async def _add(request: web.Request, gateway: Gateway, amount: int) -> None:
    caller, key = await _place(request, gateway)
    await gateway.additions.add(Writer(caller.executor, caller.fence, caller.instance), key, amount)


async def _place(request: web.Request, gateway: Gateway) -> tuple[Caller, FlagKey]:
    """Whose request it is, and of which flag. Raises ProblemError 401, 403, 404, 410, 422, 429."""
    caller = visitor(request, gateway).caller
    session = await admit_task(gateway, caller)
    require_own("the experiment", request.match_info["experiment"], session.experiment)
    try:
        key = key_of(request, session)
    except ProblemError as problem:
        raise ProblemError(422, problem.reason, problem.detail) from problem
    return replace(caller, instance=session.instance or ""), key
