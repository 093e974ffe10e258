"""Bring a database to the newest schema: raw SQL files in order, by yoyo-migrations.

yoyo's own lock is a row, which a killed process leaves behind for ever. The lock that counts is an advisory one of the
session, which ends with its process; whoever has it may clear yoyo's row.
"""

import contextlib
from collections.abc import Iterator
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import psycopg
from unicorn_core.errors import Broken, StoreUnavailable, shorten
from yoyo import get_backend, read_migrations

from unicorn_store import dsn as dsns

_LOCK = 7_236_401  # any number, the same in all versions
_WAIT_SECONDS = 60


def migrate(dsn: str | None, *, up_to: str | None = None) -> list[str]:
    """Apply what is missing and return the names of what was applied. Blocks: call it in a thread.

    Two at once: the second waits (at most 60 s) and finds nothing left to do. `up_to`: stop after this migration (tests).
    Raises Refused (DSN), StoreUnavailable, Broken (a statement failed; that migration is rolled back).
    """
    dsn = dsns.check(dsn)
    with _translated(dsn), _locked(dsn):
        backend = get_backend(_yoyo_url(dsn))
        try:
            migrations = read_migrations(str(files("unicorn_store") / "migrations"))
            if up_to is not None:
                migrations = migrations.filter(lambda migration: migration.id <= up_to)
            backend.break_lock()
            with backend.lock(timeout=5):
                missing = backend.to_apply(migrations)
                names = [migration.id for migration in missing]
                for migration in missing:
                    _apply(backend, migration)
            return names
        finally:
            backend.connection.close()


def _apply(backend: Any, migration: Any) -> None:
    """The migration and the note that it was applied, in one transaction: whoever is killed leaves both or neither.

    yoyo's own apply_one makes the note afterwards, and asks for the user's name first, which a pod's uid does not have.
    """
    backend.ensure_internal_schema_updated()
    with backend.transaction():
        migration.process_steps(backend, "apply")
        backend.mark_one(migration, log=False)


@contextlib.contextmanager
def _locked(dsn: str) -> Iterator[None]:
    """The advisory lock, and the schema, in which yoyo keeps its tables."""
    with psycopg.connect(dsn, autocommit=True, connect_timeout=5, application_name="unicorn-migrate") as connection:
        connection.execute(f"SET lock_timeout = '{_WAIT_SECONDS}s'")
        connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        connection.execute("CREATE SCHEMA IF NOT EXISTS unicorn")
        yield


@contextlib.contextmanager
def _translated(dsn: str) -> Iterator[None]:
    try:
        yield
    except psycopg.OperationalError as error:  # also LockNotAvailable, shutdown
        text = shorten(" ".join(str(error).split()), 300)
        raise StoreUnavailable(f"PostgreSQL at {dsns.address(dsn)}: {text}") from error
    except psycopg.Error as error:
        raise Broken(f"migrating {dsns.address(dsn)}: {shorten(' '.join(str(error).split()), 300)}") from error


def _yoyo_url(dsn: str) -> str:
    parts = urlsplit(dsn)
    query = {**dict(parse_qsl(parts.query)), "schema": "unicorn", "connect_timeout": "5"}
    return urlunsplit(parts._replace(scheme="postgresql+psycopg", query=urlencode(query)))
