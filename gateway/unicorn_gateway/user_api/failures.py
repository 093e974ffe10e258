"""How an error is said: what it is in HTTP, and in which form. One place for all routes."""

import json

import structlog
from aiohttp import web
from unicorn_core.errors import ApiRefused, ApiUnavailable, Broken, Conflict, NotFound, Refused, StoreUnavailable, Waiting

from unicorn_gateway.problems import ProblemError, respond, unavailable
from unicorn_gateway.user_api.routing import Version

_BUSINESS = frozenset({400, 403, 404, 409})  # netunicorn's mediator answers 400 and a string to all of these
_log = structlog.get_logger(__name__)


def problem_of(error: Exception) -> ProblemError:
    """What an error below a route is to its user. Faults of ours are logged here."""
    match error:
        case ProblemError():
            return error
        case Refused():
            listed = [{"path": one.path, "message": str(one)} for one in error.problems[:20]]
            return ProblemError(422, error.reason, str(error), problems=listed)
        case Waiting():
            return unavailable(error.message, max(1, round(error.retry_after.total_seconds())))
        case StoreUnavailable() | ApiUnavailable():
            _log.warning("a store is away", reason=error.reason, error=str(error))
            what = "PostgreSQL" if isinstance(error, StoreUnavailable) else "the Kubernetes API"
            return unavailable(f"{what} is away", 2)
        case NotFound():
            return ProblemError(404, "NotFound", str(error))
        case Conflict():
            return ProblemError(409, "Conflict", str(error))
        case ApiRefused(status=422 | 400):
            return ProblemError(422, "Invalid", str(error))
    _log.error("a request failed", cause=type(error).__name__, exc_info=error)
    return ProblemError(500, "Internal", "a store failed" if isinstance(error, Broken) else "a fault of the gateway")


def answer(problem: ProblemError, version: Version, request_id: str) -> web.Response:
    if version is Version.V2:
        problem.extra.setdefault("requestId", request_id)
        return respond(problem)
    business = problem.status in _BUSINESS
    said = problem.detail if business else {"detail": problem.detail}
    status = 400 if business else problem.status
    return web.Response(status=status, body=json.dumps(said).encode(), content_type="application/json", headers=problem.headers)
