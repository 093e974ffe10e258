"""Cancelling single executors."""

from typing import Any
from uuid import UUID

from unicorn_store import mediator

from unicorn_gateway.problems import ProblemError
from unicorn_gateway.user_api.mediator import texts
from unicorn_gateway.user_api.mediator.messages import ExecutorsCancellation
from unicorn_gateway.user_api.routing import Call

_LIMIT = 4 * 1024 * 1024


async def cancel(call: Call) -> Any:
    """All that run of those named; 400 when one is unknown, or none runs. Its contexts have no connector to go to yet."""
    caller = call.caller
    await call.api.authorize(caller, "patch", "experiments", caller.namespace)
    message = await requested(call)
    wanted = [_uuid(text) for text in message.executors]
    known = {one.id: one for one in await mediator.cancellable(call.api.store, caller.namespace, filter(None, wanted))}
    unknown = [text for text, id in zip(message.executors, wanted, strict=True) if id not in known]
    if unknown:
        raise texts.foreign_executors(caller.name, unknown)
    running = [id for id, one in known.items() if not one.ended]
    if not running:
        raise texts.nothing_to_cancel(caller.name, message.executors)
    await mediator.cancel_executors(call.api.store, running)
    return texts.CANCELLATION_STARTED


async def requested(call: Call) -> ExecutorsCancellation:
    """Raises ProblemError 422 for what is no cancellation."""
    try:
        return await call.message(ExecutorsCancellation, _LIMIT)
    except ProblemError as problem:
        if problem.status != 400:
            raise
        raise ProblemError(422, "Invalid", problem.detail) from problem


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
