"""Login roles: made once, changed with their URL, with the rights of their group and no others."""

from collections.abc import Iterator

import psycopg
import pytest
from unicorn_core.errors import Refused
from unicorn_devcluster.postgres import Postgres
from unicorn_store import make_login

pytestmark = pytest.mark.database


@pytest.fixture
def user(postgres: Postgres, migrated: str) -> Iterator[str]:
    name = "gateway_of_" + migrated.rsplit("/", 1)[1]
    yield name
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute(f"DROP ROLE IF EXISTS {name}")


def url(postgres: Postgres, migrated: str, user: str, password: str) -> str:
    return f"postgresql://{user}:{password}@127.0.0.1:{postgres.port}/{migrated.rsplit('/', 1)[1]}"


def verifier(dsn: str, user: str) -> str:
    with psycopg.connect(dsn) as connection:
        return str(connection.execute("SELECT rolpassword FROM pg_authid WHERE rolname = %s", (user,)).fetchone()[0])  # type: ignore[index]


def test_a_login_has_the_rights_of_its_process(postgres: Postgres, migrated: str, user: str) -> None:
    dsn = url(postgres, migrated, user, "p%40ss")
    assert make_login(migrated, dsn, "executor-gateway") == user
    with psycopg.connect(dsn, autocommit=True) as connection:
        assert connection.execute("SELECT count(*) FROM unicorn.executor").fetchone() == (0,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT * FROM unicorn.node_lease")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("DELETE FROM unicorn.result")


def test_it_is_made_once_and_takes_a_new_password(postgres: Postgres, migrated: str, user: str) -> None:
    make_login(migrated, url(postgres, migrated, user, "old"), "executor-gateway")
    first = verifier(migrated, user)
    make_login(migrated, url(postgres, migrated, user, "new"), "executor-gateway")
    assert first.startswith("SCRAM-SHA-256$")
    assert verifier(migrated, user) != first


def test_no_other_role_is_taken(postgres: Postgres, migrated: str) -> None:
    with psycopg.connect(migrated) as connection:
        owner = connection.info.user
    with pytest.raises(Refused, match="owner of the database"):
        make_login(migrated, url(postgres, migrated, owner, "x"), "executor-gateway")


@pytest.mark.parametrize("wrong", ["", "postgresql://user@h/d", "mysql://u:p@h/d"])
def test_a_wrong_url_is_refused(migrated: str, wrong: str) -> None:
    with pytest.raises(Refused, match="UNICORN_LOGIN_DATABASE_URL"):
        make_login(migrated, wrong, "executor-gateway")
