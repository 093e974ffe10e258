"""POST /v2/executor/events: numbered events, stored iff they continue the stored ones; an empty list is a heartbeat."""

from dataclasses import dataclass
from typing import Any

from aiohttp import web
from unicorn_store import executor_gateway as rows
from unicorn_store.executor_gateway import Batch

from unicorn_gateway import bodies
from unicorn_gateway.executor_api import limits
from unicorn_gateway.executor_api.authentication import Caller, check
from unicorn_gateway.executor_api.gateway import Gateway
from unicorn_gateway.executor_api.messages import Event, EventsRequest, Log, LogDropped
from unicorn_gateway.executor_api.sessions import Session
from unicorn_gateway.problems import ProblemError, malformed, unavailable

_TRIES = 5  # a batch meets a rival only when an agent sends twice at once


@dataclass(frozen=True, slots=True)
class Rows:
    """The events of a batch as rows; `upto` of a log row: bytes of text in the batch up to and with it."""

    events: list[dict[str, Any]]
    logs: list[dict[str, Any]]
    log_bytes: int


async def post(request: web.Request, gateway: Gateway) -> Any:
    """The answer's members."""
    caller, session = await gateway.session(request)
    body = await bodies.read(request, limits.EVENTS_BODY, gateway.settings.body_timeout.total_seconds())
    message = bodies.parse(body, EventsRequest)
    if message.events:
        return await _store(gateway, caller, session, message)
    return await _heartbeat(gateway, caller, session, message)


async def _heartbeat(gateway: Gateway, caller: Caller, session: Session, message: EventsRequest) -> Any:
    """No query: the tick writes it. While PostgreSQL is away it is not acknowledged."""
    if not gateway.pulse.works:
        raise unavailable("the store is away")
    if message.first > session.last_seq + 1:  # perhaps another gateway stored what came before
        session = await _fresh(gateway, caller)
        if message.first > session.last_seq + 1:
            raise _gap(session.last_seq + 1)
    gateway.metrics.heartbeats.inc()
    if session.final:
        return {"stored": session.last_seq, "commands": []}
    return _answer(session.last_seq, session.cancel)


async def _store(gateway: Gateway, caller: Caller, session: Session, message: EventsRequest) -> Any:
    last = message.first + len(message.events) - 1
    await _require_blobs(gateway, caller, message.events)
    known = session.last_seq
    for _ in range(_TRIES):
        if message.first <= known + 1 <= last:
            batch = _batch(caller, message, known)
            async with gateway.store.connection() as connection:
                stored = await rows.store_batch(connection, batch)
            if stored is not None:
                session.last_seq = stored.last_seq
                session.cancel = stored.cancel
                gateway.metrics.events.inc(len(batch.events) + len(batch.logs))
                gateway.metrics.truncated.inc(truncated(batch, stored.log_before))
                if stored.state == "Lost" and not stored.late:
                    await gateway.pulse.revive([session.id])
                return _answer(stored.last_seq, stored.cancel and not stored.late)
        # It does not continue what we have in mind: look at the row, which decides.
        session = await _fresh(gateway, caller)
        known = session.last_seq
        if last <= known:
            return _answer(known, session.cancel and not session.final)
        if message.first > known + 1:
            raise _gap(known + 1)
    raise unavailable("other events of this executor are being stored")


def truncated(batch: Batch, log_before: int) -> int:
    """Bytes of its log that were counted and not stored; the statement decides by the same comparison."""
    fit = [row["upto"] for row in batch.logs if log_before + row["upto"] <= batch.log_quota]
    return batch.log_bytes - max(fit, default=0)


async def _fresh(gateway: Gateway, caller: Caller) -> Session:
    session = await gateway.sessions.load(caller.executor)
    if session is None:
        raise ProblemError(404, "NotFound", "there is no such executor")
    check(caller, session)
    return session


def _batch(caller: Caller, message: EventsRequest, before: int) -> Batch:
    """What of the message comes after `before`."""
    made = to_rows(message.events[before + 1 - message.first :], before + 1)
    return Batch(
        executor=caller.executor,
        instance=caller.instance,
        fence=caller.fence,
        before=before,
        last=message.first + len(message.events) - 1,
        boot_id=message.boot_id,
        events=made.events,
        logs=made.logs,
        log_bytes=made.log_bytes,
        log_quota=limits.LOG_QUOTA,
    )


def to_rows(events: list[Event], first: int) -> Rows:
    """`first`: the number of the first of these events. Raises ProblemError 400 for a value that JSON does not know."""
    stored, logs, log_bytes = [], [], 0
    for number, event in enumerate(events, first):
        if isinstance(event, Log):
            log_bytes += len((event.text or "").encode())
            row = {"seq": number, "task": event.task, "run": event.run, "stream": event.stream, "wall": event.wall}
            logs.append({**row, "content": event.text, "blob": event.blob, "upto": log_bytes})
            continue
        row = {"seq": number, "kind": event.kind, "wall": event.wall, "mono": event.mono}
        if not isinstance(event, LogDropped):
            row |= {"task": event.task, "run": event.run, "try": event.try_}
        body = event.model_dump(by_alias=True, exclude_unset=True, exclude=_COLUMNS)
        bodies.require_json(body)
        stored.append({**row, "body": body})
    return Rows(stored, logs, log_bytes)


_COLUMNS = {"kind", "task", "run", "try_", "wall", "mono"}


async def _require_blobs(gateway: Gateway, caller: Caller, events: list[Event]) -> None:
    named = {digest for event in events if (digest := getattr(event, "blob", None)) is not None}
    if not named:
        return
    async with gateway.store.connection() as connection:
        there = await rows.complete_blobs(connection, caller.executor, named)
    if missing := named - there:
        raise malformed(f"the blob {min(missing)} is not complete; it must be there before an event names it")


def _answer(stored: int, cancel: bool) -> Any:
    return {"stored": stored, "commands": [{"command": "Cancel"}] if cancel else []}


def _gap(expected: int) -> ProblemError:
    return ProblemError(409, "SequenceGap", f"the next event is number {expected}", expected=expected)
