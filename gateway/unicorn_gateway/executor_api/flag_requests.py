"""What the routes of flags and barriers have in common."""

from aiohttp import web
from unicorn_store import Connection
from unicorn_store import executor_gateway as rows
from unicorn_store import flags as store
from unicorn_store.flags import Flag, FlagKey

from unicorn_gateway.executor_api import limits
from unicorn_gateway.executor_api.authentication import Caller, check
from unicorn_gateway.executor_api.sessions import Session
from unicorn_gateway.problems import ProblemError, malformed


def key_of(request: web.Request, session: Session) -> FlagKey:
    """Raises ProblemError 400."""
    name = request.match_info["name"]
    if not 1 <= len(name) <= 128 or not name.isprintable():
        raise malformed("a flag's name has 1 to 128 printable characters")
    return FlagKey(session.experiment, session.attempt, name)


async def lock_caller(connection: Connection, caller: Caller) -> None:
    """Writes of one executor go one by one. Raises ProblemError 404, 410."""
    row = await rows.lock(connection, caller.executor)
    if row is None:
        raise ProblemError(404, "NotFound", "there is no such executor")
    check(caller, row)


async def locked_flag(connection: Connection, key: FlagKey) -> Flag:
    """Made if it is not there, within the limit; locked until the end of the transaction. Raises ProblemError 422."""
    flag = await store.read_locked(connection, key)
    if flag is None:
        if await store.count(connection, key) >= limits.FLAGS:
            raise too_many_flags()
        await store.create(connection, key)
        flag = await store.read_locked(connection, key)
    return flag or Flag(key.name)


def too_many_flags() -> ProblemError:
    return ProblemError(422, "TooManyFlags", f"an experiment has at most {limits.FLAGS} flags")


def out_of_range() -> ProblemError:
    return ProblemError(422, "OutOfRange", "64-bit integers only")
