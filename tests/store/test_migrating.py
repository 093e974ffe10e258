"""Migrations: from empty, from each earlier version, two at once, without the right to make roles; their sum is schema.sql."""

import getpass
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files

import psycopg
import pytest
from unicorn_core.errors import Broken, Refused, StoreUnavailable
from unicorn_devcluster.postgres import Postgres
from unicorn_store import migrate
from unicorn_store.describing import describe
from unicorn_store.pool import statements
from yoyo.backends.base import DatabaseBackend

pytestmark = pytest.mark.database

ALL = sorted(entry.name.removesuffix(".sql") for entry in (files("unicorn_store") / "migrations").iterdir())
SCHEMA = (files("unicorn_store") / "schema.sql").read_text()


def test_from_empty_to_the_schema_that_is_kept(database: str) -> None:
    assert migrate(database) == ALL
    assert describe(database) == SCHEMA, "stale: python -m unicorn_store dump > store/unicorn_store/schema.sql"
    assert migrate(database) == []


@pytest.mark.parametrize("version", ALL[:-1])
def test_from_an_earlier_version(database: str, version: str) -> None:
    before = migrate(database, up_to=version)
    assert before == ALL[: len(before)]
    assert before[-1] == version
    assert migrate(database) == ALL[len(before) :]
    assert describe(database) == SCHEMA


def test_two_at_once_apply_each_migration_once(database: str) -> None:
    both = threading.Barrier(2)

    def run(_: int) -> list[str]:
        both.wait()
        return migrate(database)

    with ThreadPoolExecutor(2) as threads:
        assert sorted(threads.map(run, range(2))) == [[], ALL]


def test_the_lock_of_a_killed_migration_does_not_stay(database: str) -> None:
    migrate(database)
    with psycopg.connect(database) as connection:
        connection.execute("INSERT INTO unicorn.yoyo_lock (locked, ctime, pid) VALUES (1, now(), 1)")
    assert migrate(database) == []


def test_without_the_right_to_make_roles(postgres: Postgres, database: str) -> None:
    name = database.rsplit("/", 1)[1]
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE owner_{name} LOGIN PASSWORD 'p' NOCREATEROLE")
        connection.execute(f"ALTER DATABASE {name} OWNER TO owner_{name}")
    try:
        dsn = f"postgresql://owner_{name}:p@127.0.0.1:{postgres.port}/{name}"
        assert migrate(dsn) == ALL
        assert describe(dsn) == SCHEMA
    finally:
        postgres.drop_database(name)
        with psycopg.connect(postgres.dsn, autocommit=True) as connection:
            connection.execute(f"DROP ROLE owner_{name}")


def test_a_uid_without_a_name_may_migrate(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 65532")

    monkeypatch.setattr(getpass, "getuser", nameless)
    assert migrate(database) == ALL


def test_one_that_ends_before_its_note_leaves_nothing(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(DatabaseBackend, "mark_one", killed)
        with pytest.raises(KeyboardInterrupt):
            migrate(database)
    assert migrate(database) == ALL


def test_a_failing_migration_leaves_nothing_half_done(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA unicorn")
        connection.execute("CREATE TABLE unicorn.restoration (mine int)")
    with pytest.raises(Broken, match="restoration"):
        migrate(database)
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT to_regclass('unicorn.experiment')").fetchone() == (None,)
        connection.execute("DROP TABLE unicorn.restoration")
    assert migrate(database) == ALL


def test_an_unreachable_database_is_one_line(postgres: Postgres) -> None:
    with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:1/x") as caught:
        migrate("postgresql://u:secret@127.0.0.1:1/x")
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(StoreUnavailable, match="does not exist"):
        migrate(postgres.database_dsn("nowhere"))


@pytest.mark.parametrize(
    ("dsn", "says"),
    [
        (None, "no database is named"),
        (" ", "no database is named"),
        ("mysql://u:secret@h/d", "not a postgresql:// URL"),
        ("postgresql://u:secret@h:port/d", "cannot be read"),
        ("postgresql://u:secret@h", "names no database"),
        ("postgresql:///d", "names no host"),
        ("host=h dbname=d password=secret", "not a postgresql:// URL"),
    ],
)
def test_a_malformed_url_is_refused_without_its_password(dsn: str | None, says: str) -> None:
    with pytest.raises(Refused, match=says) as caught:
        migrate(dsn)
    assert "secret" not in str(caught.value)


def test_the_command(database: str) -> None:
    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "unicorn_store", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, check=False)

    done = run("migrate", UNICORN_DATABASE_URL=database)
    assert (done.returncode, done.stdout.split()) == (0, [word for name in ALL for word in ("applied", name)])
    assert run("dump", UNICORN_DATABASE_URL=database).stdout == SCHEMA
    refused = run("migrate", UNICORN_DATABASE_URL="")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "UNICORN_DATABASE_URL" in refused.stderr


def test_statement_names_are_unique() -> None:
    """aiosql would silently let the later file win."""
    names = [
        line.split("name:")[1].strip().rstrip("^$!<*#")
        for entry in (files("unicorn_store") / "queries").iterdir()
        for line in entry.read_text().splitlines()
        if line.startswith("-- name:")
    ]
    assert len(names) == len(set(names))
    assert set(names) <= set(statements().available_queries)
