"""Blobs of executors, kept in parts. Each function is one statement, on a connection that the caller gives."""

from dataclasses import dataclass
from uuid import UUID

from unicorn_store.pool import Connection, statements


@dataclass(frozen=True, slots=True)
class BlobKey:
    executor: UUID
    digest: str  # SHA-256, 64 lower-case hex digits


@dataclass(frozen=True, slots=True)
class Blob:
    size: int
    stored: int
    complete: bool


async def read(connection: Connection, key: BlobKey) -> Blob | None:
    row = await statements().blob_read(connection, id=key.executor, digest=key.digest)
    return Blob(**row) if row else None


async def reserve(connection: Connection, key: BlobKey, size: int, quota: int) -> bool:
    """Make room for it within the executor's quota; False: there is none."""
    return bool(await statements().blob_reserve(connection, id=key.executor, size=size, quota=quota))


async def create(connection: Connection, key: BlobKey, size: int) -> None:
    await statements().blob_create(connection, id=key.executor, digest=key.digest, size=size)


async def append(connection: Connection, key: BlobKey, start: int, content: bytes) -> None:
    await statements().blob_append(connection, id=key.executor, digest=key.digest, start=start, content=content)


async def advance(connection: Connection, key: BlobKey, stored: int, complete: bool) -> None:
    await statements().blob_advance(connection, id=key.executor, digest=key.digest, stored=stored, complete=complete)


async def starts(connection: Connection, key: BlobKey) -> list[int]:
    return [row["start"] async for row in statements().blob_parts(connection, id=key.executor, digest=key.digest)]


async def part(connection: Connection, key: BlobKey, start: int) -> bytes:
    content: bytes = await statements().blob_part(connection, id=key.executor, digest=key.digest, start=start)
    return content


async def discard(connection: Connection, key: BlobKey, size: int) -> None:
    """Drop it and give its room back."""
    await statements().blob_discard(connection, id=key.executor, digest=key.digest)
    await statements().blob_release(connection, id=key.executor, size=size)
