"""The PostgreSQL of demo and tests."""

import os
import stat
from pathlib import Path

import psutil
import psycopg
import pytest
from unicorn_devcluster import paths
from unicorn_devcluster.postgres import Postgres

pytestmark = pytest.mark.database


def test_it_keeps_its_data_and_address_over_a_crash(postgres: Postgres, database: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute("create table t (v int)")
        connection.execute("insert into t values (7)")
    before = postgres.pid
    postgres.kill()
    assert postgres.pid is None
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(database)
    again = Postgres.start(postgres.directory)
    assert again.dsn == postgres.dsn
    assert again.pid != before
    with psycopg.connect(database) as connection:
        assert connection.execute("select v from t").fetchall() == [(7,)]


def test_a_running_server_is_taken_up_again(postgres: Postgres) -> None:
    assert Postgres.start(postgres.directory) == postgres
    before = postgres.pid
    postgres.restart()
    assert postgres.pid not in (None, before)


def test_a_copy_of_a_template_is_a_database_of_its_own(postgres: Postgres, database: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute("create table t (v int)")
    copy = postgres.create_database("copied", template=database.rsplit("/", 1)[1])
    try:
        with psycopg.connect(copy) as connection:
            assert connection.execute("select count(*) from t").fetchone() == (0,)
    finally:
        postgres.drop_database("copied")


def test_only_the_password_opens_it(postgres: Postgres) -> None:
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(postgres.dsn.replace(postgres.password, "wrong"))
    assert stat.S_IMODE((postgres.directory / "server.json").stat().st_mode) == 0o600
    assert postgres.password not in repr(postgres)


def test_it_runs_without_privileges_and_leaves_nothing(tmp_path: Path) -> None:
    directory = paths.shared() / "postgres" / f"test-{os.getpid()}-0"
    server = Postgres.start(directory, fast=True)
    process = psutil.Process(server.pid)
    assert process.uids().real != 0
    server.remove()
    assert not directory.exists()
    assert not psutil.pid_exists(process.pid)
