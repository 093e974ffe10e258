"""Query parameters. Each raises ProblemError 400."""

import re

from aiohttp import web

from unicorn_gateway.problems import malformed

_NUMBER = re.compile(r"[0-9]{1,19}")


def integer(request: web.Request, name: str, default: int | None, highest: int, lowest: int = 0) -> int:
    """default None: it must be there."""
    text = request.query.get(name)
    if text is None:
        if default is None:
            raise malformed(f"the query parameter {name} is missing")
        return default
    if _NUMBER.fullmatch(text) is None or not lowest <= int(text) <= highest:
        raise malformed(f"the query parameter {name} must be a whole number from {lowest} to {highest}")
    return int(text)


def wait_seconds(request: web.Request, default: int) -> int:
    return integer(request, "wait", default, 60)
