"""HEAD and PUT /v2/executor/blobs/{sha256}: what is too large for an event, resumable."""

import asyncio
import hashlib
from typing import Any

from aiohttp import web
from unicorn_store import Connection
from unicorn_store import blobs as store
from unicorn_store.blobs import Blob, BlobKey

from unicorn_gateway import bodies
from unicorn_gateway.executor_api import limits, queries
from unicorn_gateway.executor_api.authentication import Caller
from unicorn_gateway.executor_api.flag_requests import lock_caller
from unicorn_gateway.executor_api.gateway import Gateway
from unicorn_gateway.problems import ProblemError, malformed, unavailable


async def head(request: web.Request, gateway: Gateway) -> web.Response:
    caller, _ = await gateway.session(request)
    key = _key_of(request, caller)
    async with gateway.store.connection() as connection:
        blob = await store.read(connection, key)
    if blob is None:
        raise ProblemError(404, "NotFound", "nothing of this blob is there")
    return web.Response(headers={"Unicorn-Offset": str(blob.stored), "Unicorn-Complete": str(blob.complete).lower()})


async def put(request: web.Request, gateway: Gateway) -> Any:
    """The answer's members."""
    caller, session = await gateway.session(request)
    key = _key_of(request, caller)
    size = queries.integer(request, "size", None, limits.BLOB * 1024)
    if size > limits.BLOB:
        raise ProblemError(413, "TooLarge", f"a blob has at most {limits.BLOB} bytes")
    offset = queries.integer(request, "offset", 0, limits.BLOB)
    if gateway.uploads >= gateway.settings.uploads_in_flight:
        raise unavailable("too many uploads at once")
    gateway.uploads += 1
    try:
        content = await bodies.read(request, limits.BLOB_PART, gateway.settings.body_timeout.total_seconds())
        gateway.heard(caller, session)  # it may have sent for long
        if offset + len(content) > size:
            raise malformed("there are more bytes than the blob has")
        async with gateway.store.transaction() as connection:
            await lock_caller(connection, caller)
            blob = await _take(connection, key, Blob(size, offset, False), content)
    finally:
        gateway.uploads -= 1
    if blob is None:
        raise ProblemError(422, "DigestMismatch", "the bytes are not those of the digest; they were discarded")
    return {"offset": blob.stored, "complete": blob.complete}


def _key_of(request: web.Request, caller: Caller) -> BlobKey:
    digest = request.match_info["sha256"]
    if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
        raise malformed("a blob is named by its SHA-256, 64 lower-case hex digits")
    return BlobKey(caller.executor, digest)


async def _take(connection: Connection, key: BlobKey, sent: Blob, content: bytes) -> Blob | None:
    """Append what was sent at `sent.stored`; the executor is locked. None: complete, but not what its name says."""
    blob = await store.read(connection, key)
    if blob is not None and blob.complete:
        return blob
    if blob is not None and blob.size != sent.size:
        raise malformed(f"this blob was begun with {blob.size} bytes")
    stored = blob.stored if blob else 0
    if sent.stored != stored:
        raise ProblemError(409, "OffsetMismatch", f"the next byte is number {stored}", expected=stored)
    if blob is None:
        if not await store.reserve(connection, key, sent.size, limits.BLOBS_OF_EXECUTOR):
            raise ProblemError(
                413, "TooLarge", f"the blobs of an executor have at most {limits.BLOBS_OF_EXECUTOR} bytes together"
            )
        await store.create(connection, key, sent.size)
    if content:
        await store.append(connection, key, stored, content)
        stored += len(content)
    complete = stored == sent.size
    if complete and await _digest(connection, key) != key.digest:
        await store.discard(connection, key, sent.size)
        return None
    await store.advance(connection, key, stored, complete)
    return Blob(sent.size, stored, complete)


async def _digest(connection: Connection, key: BlobKey) -> str:
    """Of the stored parts, a part in memory at a time; hashed in a thread, for 64 MiB would hold the loop."""
    digest = hashlib.sha256()
    for start in await store.starts(connection, key):
        await asyncio.to_thread(digest.update, await store.part(connection, key, start))
    return digest.hexdigest()
