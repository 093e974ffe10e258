"""PUT /v2/executor/result: the final report, once."""

from typing import Any

from aiohttp import web
from unicorn_core.text import plain
from unicorn_store import Connection, reports
from unicorn_store import executor_gateway as rows
from unicorn_store.blobs import BlobKey
from unicorn_store.executor_gateway import ExecutorRow, Result

from unicorn_gateway import bodies
from unicorn_gateway.executor_api import limits
from unicorn_gateway.executor_api.authentication import check
from unicorn_gateway.executor_api.gateway import Gateway
from unicorn_gateway.executor_api.messages import ResultRequest
from unicorn_gateway.problems import ProblemError, malformed


def final_state(outcome: str, reason: str, cancel_requested: bool) -> str:
    """What an executor becomes by its result."""
    if outcome == "Success":
        return "Succeeded"
    return "Cancelled" if cancel_requested and reason == "Cancelled" else "Failed"


async def put(request: web.Request, gateway: Gateway) -> Any:
    """The answer's members."""
    caller, session = await gateway.session(request)
    body = await bodies.read(request, limits.RESULT_BODY, gateway.settings.body_timeout.total_seconds())
    message = bodies.parse(body, ResultRequest)
    if message.blob is not None and message.results is not None:
        raise malformed("results and blob exclude each other")
    bodies.require_json(message.results)
    failed = message.outcome == "Failure"
    reason = (plain(message.reason, 64) or "TaskFailed") if failed else ""
    text = plain(message.message) if failed else ""
    async with gateway.store.transaction() as connection:
        row = await rows.lock(connection, caller.executor)
        if row is None:
            raise ProblemError(404, "NotFound", "there is no such executor")
        check(caller, row)
        if message.last_sequence > row.last_seq:
            expected = row.last_seq + 1
            raise ProblemError(409, "SequenceGap", "the events before the result are not all stored", expected=expected)
        if message.blob is not None and not await rows.complete_blobs(connection, row.id, [message.blob]):
            raise malformed("the blob of the results is not complete; it must be there before the result names it")
        if message.report is not None and not row.final:
            await _take_report(connection, BlobKey(row.id, message.report))
        result = Result(message.outcome, reason, text, message.results, message.blob, late=row.final)
        state = await conclude(connection, row, result)
    session.state = state  # what is heard from now on is late
    return {"state": state}


async def conclude(connection: Connection, row: ExecutorRow, result: Result) -> str:
    """Store the result of an executor and end it, unless it has ended. The row is locked. Returns the executor's state."""
    await rows.store_result(connection, row.id, result)
    if row.final:
        return row.state
    state = final_state(result.outcome, result.reason, row.cancel)
    await rows.finish(connection, row.id, state, result.reason, result.message)
    await rows.tell(connection, "experiment", row.experiment_uid)
    await rows.ring_barriers(connection, row.experiment_uid, row.attempt)
    return state


async def _take_report(connection: Connection, blob: BlobKey) -> None:
    if not await reports.take_report(connection, blob):
        raise malformed("the blob of the report is not complete; it must be there before the result names it")
