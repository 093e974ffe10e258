"""What an executor and its tasks have printed: pages of chunks, or text that goes on while it is printed."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

from aiohttp import web
from unicorn_store import Store, history, records
from unicorn_store.blobs import BlobKey
from unicorn_store.history import LogChunk, LogFilter

from unicorn_gateway.problems import unavailable
from unicorn_gateway.user_api.records import messages
from unicorn_gateway.user_api.records import parameters as p
from unicorn_gateway.user_api.records.executors import moment_of
from unicorn_gateway.user_api.records.finding import executor_of
from unicorn_gateway.user_api.records.parameters import Query
from unicorn_gateway.user_api.records.streaming import stream
from unicorn_gateway.user_api.routing import Call

PAGES = (p.LIMIT, p.AFTER, p.TAIL, p.TASK, p.STREAM, p.WAIT)
TEXT = (p.AFTER, p.TAIL, p.TASK, p.STREAM, p.FOLLOW)
_PAGE = 100
_LOOK = 0.5  # seconds between two looks for more
_LONGEST = 3600.0  # seconds that a text is followed: it begins again with `after`
_FOLLOWERS = 200  # of one process


async def pages(call: Call) -> Any:
    """With `wait`, held until there is something."""
    query = Query(call.request, PAGES)
    id = (await executor_of(call)).executor.id
    wanted = _filter(query)
    limit, after = query.integer(p.LIMIT), await _start(call.api.store, id, query, wanted)
    until = time.monotonic() + query.integer(p.WAIT)
    while True:
        ended = await history.is_final(call.api.store, id)  # before the look: what comes after it is not missed
        found = await history.logs(call.api.store, id, wanted, after, limit)
        if found or ended or time.monotonic() >= until or call.api.draining or _has_gone(call):
            break
        await asyncio.sleep(_LOOK)
    following = found[-1].seq if found else after
    document = messages.Logs(items=[], next=following, ended=ended and len(found) < limit).told()
    return {**document, "items": [_chunk(chunk) for chunk in found]}


async def text(call: Call) -> web.StreamResponse:
    """As it was printed; what executors send is data: a terminal should not be given it raw."""
    query = Query(call.request, TEXT)
    id = (await executor_of(call)).executor.id
    wanted, follow = _filter(query), bool(query.boolean(p.FOLLOW))
    after = await _start(call.api.store, id, query, wanted)
    if not follow:
        return await stream(call, "text/plain; charset=utf-8", _printed(call.api.store, id, wanted, after))
    if call.api.followers >= _FOLLOWERS:
        raise unavailable("too many follow logs at once", 10)
    with call.api.following.one(call.caller.kubernetes_user):
        call.api.followers += 1
        try:
            return await stream(call, "text/plain; charset=utf-8", _followed(call, id, wanted, after))
        finally:
            call.api.followers -= 1


async def _printed(store: Store, id: UUID, wanted: LogFilter, after: int) -> AsyncIterator[bytes]:
    while True:
        found = await history.logs(store, id, wanted, after, _PAGE)
        for chunk in found:
            async for part in _bytes(store, id, chunk):
                yield part
        if len(found) < _PAGE:
            return
        after = found[-1].seq


async def _followed(call: Call, id: UUID, wanted: LogFilter, after: int) -> AsyncIterator[bytes]:
    """Begins with an empty part, so that the answer begins at once."""
    store, until = call.api.store, time.monotonic() + _LONGEST
    yield b""
    while True:
        ended = await history.is_final(store, id)
        found = await history.logs(store, id, wanted, after, _PAGE)
        for chunk in found:
            async for part in _bytes(store, id, chunk):
                yield part
            after = chunk.seq
        if not found:
            if ended or time.monotonic() > until or call.api.draining or _has_gone(call):
                return
            await asyncio.sleep(_LOOK)


def _has_gone(call: Call) -> bool:
    """Nobody waits any more: the place is for the next one."""
    transport = call.request.transport
    return transport is None or transport.is_closing()


async def _bytes(store: Store, id: UUID, chunk: LogChunk) -> AsyncIterator[bytes]:
    if chunk.blob is None:
        yield (chunk.content or "").encode()
        return
    async for part in records.blob(store, BlobKey(id, chunk.blob)):
        yield part


async def _start(store: Store, id: UUID, query: Query, wanted: LogFilter) -> int:
    after: int = query.integer(p.AFTER)
    tail = query.integer(p.TAIL)
    return after if tail is None else max(after, await history.log_tail(store, id, wanted, tail))


def _filter(query: Query) -> LogFilter:
    return LogFilter(query.text(p.TASK), query.listed(p.STREAM, p.STREAMS))


def _chunk(chunk: LogChunk) -> dict[str, Any]:
    return messages.LogChunk(
        sequence=chunk.seq,
        task=chunk.task,
        run=chunk.run,
        stream=chunk.stream,
        wall=moment_of(chunk.wall),
        received_at=chunk.received_at,
        late=chunk.late,
        text=chunk.content,
        blob=chunk.blob,
    ).told()
