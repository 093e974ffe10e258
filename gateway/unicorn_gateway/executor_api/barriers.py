"""Barriers: POST /v2/flags/{name} {"barrier": true} arrives, GET /v2/flags/{name}/barrier waits until it opens."""

from typing import Any

from aiohttp import web
from unicorn_store import flags as store
from unicorn_store.flags import Barrier, FlagKey, Write

from unicorn_gateway.executor_api import queries
from unicorn_gateway.executor_api.authentication import Caller
from unicorn_gateway.executor_api.flag_requests import key_of, lock_caller
from unicorn_gateway.executor_api.gateway import Gateway
from unicorn_gateway.executor_api.looks import Meeting
from unicorn_gateway.executor_api.messages import INT32
from unicorn_gateway.problems import ProblemError


async def arrive(gateway: Gateway, caller: Caller, key: FlagKey, write: Write) -> Any:
    """The answer's members, after a look that is younger than the arrival."""
    async with gateway.store.transaction() as connection:
        await lock_caller(connection, caller)
        meeting = Meeting(key, await store.arrive(connection, key, write))
    return _answer(await gateway.barriers.until(meeting, lambda _: True, 5), meeting)


async def get(request: web.Request, gateway: Gateway) -> Any:
    _, session = await gateway.session(request)
    seconds = queries.wait_seconds(request, 0)
    run, operation = queries.integer(request, "run", None, INT32, 1), queries.integer(request, "operation", None, INT32, 1)
    key = key_of(request, session)
    async with gateway.store.connection() as connection:
        number = await store.meeting_of(connection, key, Write(session.id, run, operation))
    if number is None:
        raise ProblemError(404, "NotFound", "this task run has not arrived at this barrier")
    meeting = Meeting(key, number)
    return _answer(await gateway.barriers.until(meeting, lambda barrier: barrier.opened is not None, seconds), meeting)


def _answer(barrier: Barrier, meeting: Meeting) -> Any:
    is_open = barrier.opened is not None
    members = barrier.opened if barrier.opened is not None else barrier.members
    return {"open": is_open, "arrived": barrier.arrived, "members": members, "version": meeting.number}
