"""/v2/flags/{name}: values that the executors of an attempt share."""

from dataclasses import asdict
from typing import Any

from aiohttp import web
from unicorn_store import Connection
from unicorn_store import executor_gateway as rows
from unicorn_store import flags as store
from unicorn_store.flags import Flag, FlagKey, Write

from unicorn_gateway import bodies
from unicorn_gateway.executor_api import barriers, limits, looks, queries
from unicorn_gateway.executor_api.authentication import Caller
from unicorn_gateway.executor_api.flag_requests import key_of, lock_caller, locked_flag, out_of_range
from unicorn_gateway.executor_api.gateway import Gateway
from unicorn_gateway.executor_api.messages import INT64, FlagPost, FlagSet
from unicorn_gateway.executor_api.sessions import Session
from unicorn_gateway.problems import ProblemError, malformed


async def get(request: web.Request, gateway: Gateway) -> Any:
    """The answer's members."""
    _, session = await gateway.session(request)
    seconds = queries.wait_seconds(request, 0)
    version = queries.integer(request, "version", -1, INT64)
    key = key_of(request, session)
    if seconds == 0 or version < 0:
        return asdict(await looks.at_flag(gateway.store, key))
    return asdict(await gateway.flags.until(key, lambda flag: flag.version > version, seconds))


async def put(request: web.Request, gateway: Gateway) -> Any:
    caller, session = await gateway.session(request)
    body = await bodies.read(request, limits.FLAG_BODY, gateway.settings.body_timeout.total_seconds())
    message = bodies.parse(body, FlagSet)
    if message.text is None and message.integer is None:
        raise malformed("text or integer must be there")
    if message.text is not None and len(message.text.encode()) > 64 * limits.KIB:
        raise ProblemError(413, "TooLarge", "the text is over 64 KiB")
    return await _write(gateway, caller, session, key_of(request, session), message)


async def post(request: web.Request, gateway: Gateway) -> Any:
    caller, session = await gateway.session(request)
    body = await bodies.read(request, limits.FLAG_BODY, gateway.settings.body_timeout.total_seconds())
    message = bodies.parse(body, FlagPost)
    if (message.add is None) == (message.barrier is None):
        raise malformed("either add or barrier must be there")
    key = key_of(request, session)
    if message.barrier:
        return await barriers.arrive(gateway, caller, key, Write(session.id, message.run, message.operation))
    return await _write(gateway, caller, session, key, message)


def applied(flag: Flag, message: FlagSet | FlagPost) -> Flag:
    """The flag after this write. Raises ProblemError 422 when the number leaves 64 bits."""
    given = (message.integer if isinstance(message, FlagSet) else message.add) or 0
    if isinstance(message, FlagSet):
        text = flag.text if message.text is None else message.text
        number = flag.integer if message.integer is None else message.integer
    else:
        text, number = flag.text, flag.integer + given
    if not all(-(2**63) <= value <= INT64 for value in (given, number)):
        raise out_of_range()
    return Flag(flag.name, text, number, flag.version + 1)


async def _write(gateway: Gateway, caller: Caller, session: Session, key: FlagKey, message: FlagSet | FlagPost) -> Any:
    write = Write(session.id, message.run, message.operation)
    async with gateway.store.transaction() as connection:
        await lock_caller(connection, caller)
        answer = await store.first_answer(connection, write)
        if answer is None:
            answer = await _apply(connection, key, message)
            await store.keep_answer(connection, write, answer)
            if not answer["conflict"]:
                await rows.tell(connection, "flag", key.experiment)
    if answer["conflict"]:
        raise ProblemError(409, "Conflict", "the flag has another version", flag=answer["flag"])
    return answer["flag"]


async def _apply(connection: Connection, key: FlagKey, message: FlagSet | FlagPost) -> dict[str, Any]:
    """{"conflict": whether ifVersion was another, "flag": as it is then}."""
    wanted = message.if_version if isinstance(message, FlagSet) else None
    flag = (await store.read_locked(connection, key) or Flag(key.name)) if wanted else await locked_flag(connection, key)
    if wanted is not None and flag.version != wanted:
        return {"conflict": True, "flag": asdict(flag)}
    after = applied(flag, message)
    await store.write(connection, key, after)
    return {"conflict": False, "flag": asdict(after)}
