"""What a foreign database error is to us: StoreUnavailable (try again) or Broken (a fault of ours, or of the set-up)."""

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
from unicorn_core.errors import Broken, StoreUnavailable, shorten

# Classes and single codes of SQLSTATE that pass by themselves.
_PASSING = (
    "08",  # connection
    "40",  # serialization failure, deadlock: the transaction may be repeated
    "53",  # out of connections, memory, disk
    "57",  # shutting down, starting up, statement timeout
    "55P03",  # lock timeout
    "25006",  # read-only: a replica before its promotion
    "3D000",  # no such database: being restored
    "3F000",  # no such schema, table, function: not migrated yet
    "42P01",
    "42883",
)


def translate(error: BaseException) -> Broken | None:
    """Ours for a foreign one; None when it is not the database's. The caller raises it `from` the cause."""
    if isinstance(error, Broken):
        return None
    text = shorten(str(error) or type(error).__name__, 300)
    if isinstance(error, asyncpg.PostgresError):
        code = error.sqlstate or ""
        return StoreUnavailable(f"PostgreSQL: {text}") if code.startswith(_PASSING) else Broken(f"PostgreSQL ({code}): {text}")
    if isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError):
        # A connection that broke in the middle of a statement also says that "another operation is in progress".
        passing = any(word in text for word in ("closed", "closing", "terminated", "another operation"))
        return StoreUnavailable(f"PostgreSQL: {text}") if passing else Broken(f"PostgreSQL: {text}")
    if isinstance(error, OSError):  # also TimeoutError
        return StoreUnavailable(f"PostgreSQL cannot be reached: {text}")
    return None


@contextmanager
def translated() -> Iterator[None]:
    """Only our errors leave this block. It must hold nothing but database work: it takes any OSError for the database's."""
    try:
        yield
    except Exception as error:
        ours = translate(error)
        if ours is None:
            raise
        raise ours from error
