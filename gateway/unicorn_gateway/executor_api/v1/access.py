"""Whose request it is: the token stands in the path, and the start that it was made for is the instance."""

import asyncio
import time
from dataclasses import dataclass, replace
from uuid import UUID

from aiohttp import web

from unicorn_gateway.executor_api.assignment import claim
from unicorn_gateway.executor_api.authentication import Caller
from unicorn_gateway.executor_api.gateway import Gateway
from unicorn_gateway.executor_api.sessions import Session
from unicorn_gateway.problems import ProblemError

_START = "fence-"  # begins an instance of netunicorn's executor; one of our agent is hex digits


@dataclass(frozen=True, slots=True)
class Visitor:
    """A caller and the token that it carries."""

    caller: Caller
    token: str


def visitor(request: web.Request, gateway: Gateway) -> Visitor:
    """Raises ProblemError 401."""
    token = request.match_info["token"]
    claims = gateway.authenticator.claims(token, time.time())
    return Visitor(Caller(claims.executor, claims.fence, f"{_START}{claims.fence}"), token)


def require_own(name: str, given: str, own: UUID) -> None:
    """The executor also writes whose request it is; the token decides. Raises ProblemError 403."""
    if given.lower() != str(own):
        raise ProblemError(403, "Forbidden", f"{name} is not what the token was made for")


async def admit(gateway: Gateway, caller: Caller) -> Session:
    """Its session; one that runs a graph of its own and never asked for one checks in by its first request.

    Raises ProblemError 404 (no such executor), 410 (another start or instance runs), 429.
    """
    session = gateway.sessions.known(caller.executor)
    if session is None or session.instance is None:
        session = await gateway.standing(caller, check_in=True)
        if session.instance is None:
            await claim(gateway, caller)
            await gateway.sessions.load(caller.executor)
    session = await gateway.standing(caller)
    await _pay(gateway, session)
    return session


async def admit_task(gateway: Gateway, caller: Caller) -> Session:
    """The same for a task, which does not know whose it is: of netunicorn's executor, or of our agent's instance that runs
    this start."""
    session = gateway.sessions.known(caller.executor) or await gateway.sessions.load(caller.executor)
    if session is not None and session.instance is not None and not session.instance.startswith(_START):
        caller = replace(caller, instance=session.instance)
    return await admit(gateway, caller)


async def _pay(gateway: Gateway, session: Session) -> None:
    """Whoever is too fast waits: netunicorn's tasks take a refusal for a failure. Raises ProblemError 429."""
    deadline = time.monotonic() + gateway.settings.netunicorn_hold.total_seconds()
    while delay := gateway.toll(session):
        if time.monotonic() + delay > deadline:
            raise ProblemError(429, "TooManyRequests", "this executor sends too many requests", headers={"Retry-After": "1"})
        await asyncio.sleep(delay)
