"""The pool of connections and the named statements on it."""

import asyncio
import functools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import aiosql
import asyncpg
from unicorn_core.errors import Problem, Refused

from unicorn_store import dsn as dsns
from unicorn_store.failures import translated

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Connection = PoolConnectionProxy[asyncpg.Record]
else:
    Connection = Any

STATEMENT_TIMEOUT = timedelta(seconds=30)
ACQUIRE_TIMEOUT = timedelta(seconds=5)
CONNECT_TIMEOUT = timedelta(seconds=5)


@dataclass(frozen=True)
class Store:
    """A pool and its statements. All times are aware UTC; jsonb is Python data; only errors of ours leave its blocks."""

    dsn: str
    pool: "asyncpg.Pool[asyncpg.Record]"
    queries: Any  # aiosql: an async function a name, called with a connection and named parameters

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection for single statements. Raises StoreUnavailable, Broken. Hold nothing but database work inside."""
        with translated():
            async with self.pool.acquire(timeout=ACQUIRE_TIMEOUT.total_seconds()) as connection:
                yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A connection in a transaction (read committed), rolled back when the block raises. Errors as `connection`."""
        async with self.connection() as connection, connection.transaction():
            yield connection

    async def close(self) -> None:
        """Close all connections; those still in use after 5 s are cut."""
        try:
            async with asyncio.timeout(5):
                await self.pool.close()
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):  # TimeoutError is an OSError
            self.pool.terminate()


async def connect(dsn: str | None, *, application_name: str, min_size: int = 0, max_size: int = 10) -> Store:
    """A store. With `min_size` 0 nothing is connected yet, so it can be made while PostgreSQL is away.

    Raises Refused (missing or malformed DSN), StoreUnavailable (min_size > 0 and unreachable), Broken (wrong password, …).
    """
    dsn = dsns.check(dsn)
    try:
        pool = asyncpg.create_pool(
            dsn,
            min_size=min_size,
            max_size=max_size,
            timeout=CONNECT_TIMEOUT.total_seconds(),
            command_timeout=STATEMENT_TIMEOUT.total_seconds() + 5,  # the server's own limit comes first
            init=prepare,
            reset=leave,
            server_settings=settings(application_name),
        )
        with translated():
            await pool
    except (ValueError, asyncpg.ClientConfigurationError) as error:  # an option that asyncpg does not take
        raise Refused(Problem(dsns.VARIABLE, "the URL cannot be used", str(error))) from error
    return Store(dsn, pool, statements())


def settings(application_name: str) -> dict[str, str]:
    """The session settings of every connection of ours."""
    milliseconds = str(int(STATEMENT_TIMEOUT.total_seconds() * 1000))
    return {
        "application_name": application_name,
        "timezone": "UTC",
        "statement_timeout": milliseconds,
        "idle_in_transaction_session_timeout": milliseconds,
        "lock_timeout": "10000",
        "jit": "off",  # our statements are short; compiling them costs more than it saves
    }


async def prepare(connection: Any) -> None:
    """Make jsonb Python data. Numbers that JSON does not know (NaN, Infinity) are refused with ValueError."""
    encode = functools.partial(json.dumps, allow_nan=False, separators=(",", ":"))
    await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=encode, decoder=json.loads)


async def leave(connection: Any) -> None:
    """Nothing of ours outlives a transaction in a session (no session locks, cursors, settings), so that a connection goes
    back to the pool without asyncpg's round trip of resets."""


@functools.cache
def statements() -> Any:
    """aiosql's Queries: the statements of queries/*.sql. Names are unique over all files (tested)."""
    return aiosql.from_path(str(files("unicorn_store") / "queries"), "asyncpg", mandatory_parameters=False)
