"""What a database URL must look like. Its password never appears in a message."""

from urllib.parse import parse_qs, urlsplit

from unicorn_core.errors import Problem, Refused

VARIABLE = "UNICORN_DATABASE_URL"
_FORM = "write postgresql://USER:PASSWORD@HOST:PORT/DATABASE"


def check(dsn: str | None) -> str:
    """The DSN itself; Refused, in one readable line, when it is missing or malformed."""
    if dsn is None or not dsn.strip():
        raise Refused(Problem(VARIABLE, "no database is named", _FORM))
    try:
        parts = urlsplit(dsn.strip())
        host = parts.hostname or parse_qs(parts.query).get("host")
        _ = parts.port  # raises when it is no number
    except ValueError as error:  # a port that is no number, an unclosed bracket
        raise Refused(Problem(VARIABLE, "the URL cannot be read (a special character in the password?)", _FORM)) from error
    if parts.scheme not in ("postgresql", "postgres"):
        raise Refused(Problem(VARIABLE, "not a postgresql:// URL", _FORM))
    if not host:
        raise Refused(Problem(VARIABLE, "the URL names no host", _FORM))
    if not parts.path.strip("/"):
        raise Refused(Problem(VARIABLE, "the URL names no database", _FORM))
    return dsn.strip()


def address(dsn: str) -> str:
    """HOST:PORT/DATABASE, for messages."""
    parts = urlsplit(dsn)
    return f"{parts.hostname or 'socket'}:{parts.port or 5432}{parts.path}"
