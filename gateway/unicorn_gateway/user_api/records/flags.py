"""The flags that the executors of an experiment's last attempt share."""

from dataclasses import asdict
from typing import Any

from unicorn_store import flags as store
from unicorn_store import history, mediator
from unicorn_store.flags import Flag, FlagKey
from unicorn_store.history import Experiment

from unicorn_gateway.problems import ProblemError, malformed
from unicorn_gateway.user_api.records import messages
from unicorn_gateway.user_api.records import parameters as p
from unicorn_gateway.user_api.records.finding import experiment_of
from unicorn_gateway.user_api.records.messages import FlagAdd, FlagSet
from unicorn_gateway.user_api.records.paging import key_in, name_key, page, word_of
from unicorn_gateway.user_api.records.parameters import INT64, Query
from unicorn_gateway.user_api.routing import Call

LIST = (p.LIMIT, p.CONTINUE)
_BODY = 512 * 1024
_TEXT = 64 * 1024
_FLAGS = 10_000  # of an attempt


async def listing(call: Call) -> Any:
    query = Query(call.request, LIST)
    experiment = await experiment_of(call)
    limit = query.integer(p.LIMIT)
    after = key_in(query.text(p.CONTINUE), name_key) or ""
    async with call.api.store.connection() as connection:
        found = await history.flags(connection, call.api.store, experiment.uid, experiment.attempt, after, limit + 1)
    return page(found, limit, lambda flag: word_of(flag.name), _told)


async def get(call: Call) -> Any:
    """One that nobody has written has version 0."""
    Query(call.request, ())
    key = _key(call, await experiment_of(call))
    async with call.api.store.connection() as connection:
        return _told(await store.read(connection, key))


async def put(call: Call) -> Any:
    Query(call.request, ())
    experiment = await experiment_of(call, "patch")
    message = await call.message(FlagSet, _BODY)
    if message.text is None and message.integer is None:
        raise malformed("text or integer must be there")
    if message.text is not None and len(message.text.encode()) > _TEXT:
        raise ProblemError(413, "TooLarge", "the text is over 64 KiB")
    return await _write(call, experiment, message)


async def post(call: Call) -> Any:
    """Adds to its integer."""
    Query(call.request, ())
    return await _write(call, await experiment_of(call, "patch"), await call.message(FlagAdd, _BODY))


def written(flag: Flag, message: FlagSet | FlagAdd) -> Flag:
    """The flag after this write. Raises ProblemError 422 when its integer leaves 64 bits."""
    if isinstance(message, FlagSet):
        text = flag.text if message.text is None else message.text
        integer = flag.integer if message.integer is None else message.integer
    else:
        text, integer = flag.text, flag.integer + message.add
    if not -(2**63) <= integer <= INT64:
        raise ProblemError(422, "OutOfRange", "integers have 64 bits")
    return Flag(flag.name, text, integer, flag.version + 1)


async def _write(call: Call, experiment: Experiment, message: FlagSet | FlagAdd) -> Any:
    key = _key(call, experiment)
    wanted = message.if_version if isinstance(message, FlagSet) else None
    async with call.api.store.transaction() as connection:
        before = await store.read_locked(connection, key)
        if before is None and wanted in (None, 0):
            if await store.count(connection, key) >= _FLAGS:
                raise ProblemError(422, "TooManyFlags", f"an experiment has at most {_FLAGS} flags")
            await store.create(connection, key)
            before = await store.read_locked(connection, key)
        before = before or Flag(key.name)
        if wanted is not None and before.version != wanted:
            raise ProblemError(409, "Conflict", "the flag has another version", flag=asdict(before))
        after = written(before, message)
        await store.write(connection, key, after)
        await mediator.tell_flag(connection, experiment.uid)
    return _told(after)


def _key(call: Call, experiment: Experiment) -> FlagKey:
    name = call.path("flag")
    if not 1 <= len(name) <= 128 or not name.isprintable():
        raise malformed("a flag's name has 1 to 128 printable characters")
    return FlagKey(experiment.uid, experiment.attempt, name)


def _told(flag: Flag) -> dict[str, Any]:
    return messages.Flag(**asdict(flag)).told()
