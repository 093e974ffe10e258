"""Login roles for our other processes: each is put into the group role that says what it may do, and nothing more."""

from urllib.parse import unquote, urlsplit

import psycopg
from psycopg import sql
from unicorn_core.errors import Broken, Problem, Refused, StoreUnavailable, shorten

from unicorn_store import dsn as dsns

GROUPS = {"executor-gateway": "unicorn_executor_gateway", "user-gateway": "unicorn_user_gateway"}
VARIABLE = "UNICORN_LOGIN_DATABASE_URL"
_LOCK = 7_236_402  # any number, the same in all versions


def make_login(dsn: str | None, login_dsn: str, process: str) -> str:
    """Let the user of `login_dsn` log in with the password that stands there, as this process; returns the user's name.

    Safe to repeat: a changed password is set. `dsn`: of the database's owner, who may make roles; migrated before. Blocks.
    Raises Refused (a URL), StoreUnavailable, Broken (no right to make roles).
    """
    dsn = dsns.check(dsn)
    user, password = _credentials(login_dsn)
    if user == unquote(urlsplit(dsn).username or ""):
        problem = Problem(VARIABLE, "names the owner of the database", "a user of its own: it is given a few rights only")
        raise Refused(problem)
    try:
        with psycopg.connect(dsn, connect_timeout=5, application_name="unicorn-login") as connection:
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            found = connection.execute("SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = %s", (user,)).fetchone()
            if found is not None and found[0]:
                raise Refused(Problem(VARIABLE, f"{user} is a role with rights of its own", "a user that nothing else uses"))
            # The server gets a verifier: the password itself would stand in its log of statements.
            verifier = connection.pgconn.encrypt_password(password.encode(), user.encode(), b"scram-sha-256").decode()
            verb = sql.SQL("CREATE ROLE" if found is None else "ALTER ROLE")
            name, group = sql.Identifier(user), sql.Identifier(GROUPS[process])
            connection.execute(sql.SQL("{} {} LOGIN PASSWORD {}").format(verb, name, sql.Literal(verifier)))
            connection.execute(sql.SQL("GRANT {} TO {}").format(group, name))
    except psycopg.OperationalError as error:
        text = shorten(" ".join(str(error).split()), 300)
        raise StoreUnavailable(f"PostgreSQL at {dsns.address(dsn)}: {text}") from error
    except psycopg.Error as error:
        text = shorten(" ".join(str(error).split()), 300)
        raise Broken(f"making the login {user} at {dsns.address(dsn)}: {text}") from error
    return user


def _credentials(login_dsn: str) -> tuple[str, str]:
    expected = "postgresql://USER:PASSWORD@HOST:PORT/DATABASE, as that process gets it"
    try:
        dsns.check(login_dsn)
    except Refused as refused:
        raise Refused(Problem(VARIABLE, refused.problems[0].message, expected)) from None
    parts = urlsplit(login_dsn.strip())
    if not parts.username or not parts.password:
        raise Refused(Problem(VARIABLE, "it names no user or no password", expected))
    return unquote(parts.username), unquote(parts.password)
