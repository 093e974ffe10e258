"""Flags of an experiment's attempt, as its executors have them."""

import asyncio
import time
from typing import Any
from uuid import UUID

from unicorn_store import Store, flags, mediator
from unicorn_store.flags import Flag, FlagKey

from unicorn_gateway.problems import ProblemError
from unicorn_gateway.user_api.mediator import texts
from unicorn_gateway.user_api.mediator.experiments import Experiments, Found
from unicorn_gateway.user_api.mediator.messages import FlagValues
from unicorn_gateway.user_api.routing import Call

_LIMIT = 512 * 1024
_FLAGS = 10_000  # of an attempt
_PATIENCE = 5.0  # for the operator to record an experiment that was made just now
_PAUSE = 0.05


async def get(call: Call, name: str, flag: str) -> Any:
    """400 when nobody has set it."""
    found = await _experiment(call, name, "get")
    experiment = found.experiment
    async with call.api.store.connection() as connection:
        value = await flags.read(connection, FlagKey(experiment.uid, experiment.attempt, _checked(flag)))
    if not value.version:
        raise texts.flag_not_found(flag, name)
    return {"text_value": value.text, "int_value": value.integer}


async def post(call: Call, name: str, flag: str) -> Any:
    """Text and integer are set both: what is absent is null, or 0. Raises ProblemError 422 for anything else than flag values."""
    found = await _experiment(call, name, "patch")
    values = await _values(call)
    checked = _checked(flag)
    if found.item is None:
        raise texts.without_executors(name)
    uid = found.experiment.uid
    attempt = await _recorded(call.api.store, uid, name)
    async with call.api.store.transaction() as connection:
        key = FlagKey(uid, attempt, checked)
        before = await flags.read_locked(connection, key)
        if before is None:
            if await flags.count(connection, key) >= _FLAGS:
                raise ProblemError(422, "TooManyFlags", f"an experiment has at most {_FLAGS} flags")
            await flags.create(connection, key)
            before = await flags.read_locked(connection, key)
        version = (before.version if before else 0) + 1
        await flags.write(connection, key, Flag(checked, values.text_value, values.int_value, version))
        await mediator.tell_flag(connection, uid)
    return None


async def _experiment(call: Call, name: str, verb: str) -> Found:
    await call.api.authorize(call.caller, verb, "experiments", call.caller.namespace)
    return await Experiments(call.api.store, call.api.kube, call.caller.namespace).require(name)


async def _values(call: Call) -> FlagValues:
    try:
        return await call.message(FlagValues, _LIMIT)
    except ProblemError as problem:
        if problem.status != 400:
            raise
        raise ProblemError(422, "Invalid", problem.detail) from problem


def _checked(flag: str) -> str:
    if not 1 <= len(flag) <= 128 or not flag.isprintable():
        raise texts.declined("A flag's name has 1 to 128 printable characters")
    return flag


async def _recorded(store: Store, uid: UUID, name: str) -> int:
    """The attempt whose flags these are, once there is a record of it."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        async with store.connection() as connection:
            attempt = await mediator.attempt_of(connection, uid)
        if attempt is not None:
            return attempt
        if time.monotonic() > deadline:
            raise texts.without_executors(name)
        await asyncio.sleep(_PAUSE)
