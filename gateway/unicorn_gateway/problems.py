"""Problem documents (RFC 9457): the one form of every error that the gateway answers."""

import json
from typing import Any

from aiohttp import web

MEDIA_TYPE = "application/problem+json"
_TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    409: "Conflict",
    410: "Gone",
    413: "Content Too Large",
    417: "Expectation Failed",
    422: "Unprocessable Content",
    429: "Too Many Requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


class ProblemError(Exception):
    """Raised anywhere below a route; the route answers it. `extra` are further members of the document."""

    def __init__(self, status: int, reason: str, detail: str, *, headers: dict[str, str] | None = None, **extra: Any) -> None:
        super().__init__(detail)
        self.status, self.reason, self.detail = status, reason, detail
        self.headers, self.extra = headers or {}, extra


def malformed(detail: str) -> ProblemError:
    return ProblemError(400, "Malformed", detail)


def unavailable(detail: str, retry_after: int = 1) -> ProblemError:
    """Nothing was stored; the same request may be sent again after `retry_after` seconds."""
    return ProblemError(503, "Unavailable", detail, headers={"Retry-After": str(retry_after)})


def respond(problem: ProblemError) -> web.Response:
    title = _TITLES.get(problem.status, "Error")
    document = {
        "type": "about:blank",
        "title": title,
        "status": problem.status,
        "detail": problem.detail,
        "reason": problem.reason,
    }
    body = json.dumps({**document, **problem.extra}).encode()
    return web.Response(status=problem.status, body=body, content_type=MEDIA_TYPE, headers=problem.headers)
