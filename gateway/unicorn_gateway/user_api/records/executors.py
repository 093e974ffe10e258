"""Executors of an attempt: listed, one, its task runs, events, what it reported, its blobs, and its cancellation."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from aiohttp import web
from unicorn_store import Store, history, mediator, records
from unicorn_store.blobs import BlobKey
from unicorn_store.executor_gateway import FINAL
from unicorn_store.history import ExecutorFilter, Place

from unicorn_gateway.problems import ProblemError
from unicorn_gateway.user_api.records import messages
from unicorn_gateway.user_api.records import parameters as p
from unicorn_gateway.user_api.records.finding import attempt_of, executor_of, experiment_of
from unicorn_gateway.user_api.records.paging import key_in, page, place_key, word_of
from unicorn_gateway.user_api.records.parameters import Query
from unicorn_gateway.user_api.records.streaming import stream
from unicorn_gateway.user_api.routing import Call

LIST = (p.LIMIT, p.CONTINUE, p.ATTEMPT, p.STATE, p.DEPLOYMENT, p.NODE)
TASKS = (p.LIMIT, p.CONTINUE, p.TASK)
EVENTS = (p.LIMIT, p.CONTINUE, p.AFTER, p.KIND, p.TASK)
_PART = 1024 * 1024
_OCTETS = "application/octet-stream"


async def listing(call: Call) -> Any:
    query = Query(call.request, LIST)
    experiment = await experiment_of(call)
    wanted = ExecutorFilter(query.listed(p.STATE, p.STATES), query.text(p.DEPLOYMENT), query.text(p.NODE))
    limit, attempt = query.integer(p.LIMIT), attempt_of(query, experiment)
    after = key_in(query.text(p.CONTINUE), place_key) or Place()
    found = await history.executors(call.api.store, experiment.uid, attempt, wanted, after, limit + 1)
    return page(found, limit, lambda one: word_of(one.position, one.deployment, one.index), _executor)


async def get(call: Call) -> Any:
    Query(call.request, ())
    return _executor((await executor_of(call)).executor)


async def cancel(call: Call) -> Any:
    """Its agent is told to end; the others go on. Raises ProblemError 409 when it has ended."""
    Query(call.request, ())
    found = await executor_of(call, "patch")
    if found.executor.state in FINAL or found.experiment.completed_at is not None:
        raise ProblemError(409, "Conflict", f"the executor is {found.executor.state} already")
    await mediator.cancel_executors(call.api.store, [found.executor.id])
    return messages.ExecutorCancelled(id=found.executor.id).told()


async def tasks(call: Call) -> Any:
    query = Query(call.request, TASKS)
    found = await executor_of(call)
    limit = query.integer(p.LIMIT)
    after = key_in(query.text(p.CONTINUE), sequence_key) or 0
    runs = await history.task_runs(call.api.store, found.executor.id, query.text(p.TASK), after, limit + 1)
    return page(runs, limit, lambda run: word_of(run.seq), _task_run)


async def events(call: Call) -> Any:
    query = Query(call.request, EVENTS)
    found = await executor_of(call)
    limit = query.integer(p.LIMIT)
    after = max(query.integer(p.AFTER), key_in(query.text(p.CONTINUE), sequence_key) or 0)
    kinds = query.listed(p.KIND, p.KINDS)
    listed = await history.events(call.api.store, found.executor.id, kinds, query.text(p.TASK), after, limit + 1)
    return page(listed, limit, lambda event: word_of(event.seq), _event)


async def result(call: Call) -> Any:
    """Results over 1 MB are in a blob: its bytes are under …/blobs/."""
    Query(call.request, ())
    id = (await executor_of(call)).executor.id
    told, facts = await history.result(call.api.store, id), await history.report(call.api.store, id)
    report = messages.ReportFacts(size=facts.size, final=facts.final, received_at=facts.received_at) if facts else None
    if told is None:
        return messages.Result(report=report).told()
    members = {name: getattr(told, name) for name in ("outcome", "reason", "message", "blob", "late", "received_at")}
    document = messages.Result(**members, report=report).told()
    return document if told.results is None else {**document, "results": told.results}  # nulls within are the tasks'


async def report(call: Call) -> web.StreamResponse:
    """The bytes that netunicorn's client gets: a pickle of the executor's making. Whoever loads it runs what is in it."""
    Query(call.request, ())
    id = (await executor_of(call)).executor.id
    if await history.report(call.api.store, id) is None:
        raise ProblemError(404, "NotFound", "the executor has sent no such report")
    return await stream(call, _OCTETS, _report(call.api.store, id), name=f"{id}.pickle")


async def blob(call: Call) -> web.StreamResponse:
    """What was too large for an event, a log chunk or the result."""
    Query(call.request, ())
    id, digest = (await executor_of(call)).executor.id, call.path("sha256")
    key = BlobKey(id, digest)
    if len(digest) != 64 or not digest.isalnum() or await history.blob_size(call.api.store, key) is None:
        raise ProblemError(404, "NotFound", "the executor has no such blob")
    return await stream(call, _OCTETS, records.blob(call.api.store, key), name=digest)


async def _report(store: Store, id: UUID) -> AsyncIterator[bytes]:
    start = 0
    while part := await history.report_part(store, id, start, _PART):
        yield part
        start += len(part)


def sequence_key(key: list[Any]) -> int:
    (sequence,) = key
    if not isinstance(sequence, int) or isinstance(sequence, bool) or not 0 <= sequence <= p.INT64:
        raise ValueError("no sequence")
    return sequence


def moment_of(seconds: float | None) -> datetime | None:
    """An executor's clock may show anything; what is no time is left out."""
    try:
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _executor(found: history.Executor) -> dict[str, Any]:
    names = (
        "id",
        "attempt",
        "deployment",
        "index",
        "state",
        "reason",
        "message",
        "exit_code",
        "log_bytes",
        "cancel_requested_at",
    )
    times = ("checked_in_at", "released_at", "heard_at", "finished_at")
    members = {name: getattr(found, name) for name in (*names, *times)}
    return messages.Executor(**members, node=found.node_name, events=found.last_seq).told()


def _task_run(run: history.TaskRun) -> dict[str, Any]:
    body = run.body or {}
    document = messages.TaskRun(
        sequence=run.seq,
        task=run.task,
        run=run.run,
        try_=run.try_,
        started_at=moment_of(run.started),
        finished_at=moment_of(run.finished),
        seconds=run.seconds,
        outcome=body.get("outcome"),
        blob=body.get("blob"),
        error=body.get("error"),
        reason=body.get("reason"),
    ).told()
    return {**document, "value": body["value"]} if "value" in body else document


def _event(event: history.Event) -> dict[str, Any]:
    names = ("kind", "task", "run", "try_", "mono", "boot_id", "received_at", "late")
    members = {name: getattr(event, name) for name in names}
    document = messages.Event(**members, sequence=event.seq, wall=moment_of(event.wall), body={}).told()
    return {**document, "body": event.body}
