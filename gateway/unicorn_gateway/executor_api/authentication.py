"""Whose request it is: token, instance, and what the executor's row says of both."""

import hashlib
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from aiohttp import web
from unicorn_core.naming import ExecutorId
from unicorn_core.tokens import Claims, TokenRefused, verify

from unicorn_gateway.executor_api.keys import KeyRing
from unicorn_gateway.problems import ProblemError, malformed

_INSTANCE = re.compile(r"[0-9a-f]{32}")
_CACHED = 200_000


class Standing(Protocol):
    """The part of an executor's row that decides whether a request is its own."""

    @property
    def instance(self) -> str | None: ...
    @property
    def fence(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Caller:
    executor: ExecutorId
    fence: int
    instance: str


@dataclass
class Authenticator:
    """Verifying a signature costs 0.1 ms, so what was valid is remembered until it expires, by the token's hash."""

    ring: KeyRing
    _valid: dict[bytes, tuple[Claims, float]] = field(default_factory=dict)

    def caller(self, request: web.Request, now: float) -> Caller:
        """`now`: seconds since the epoch. Raises ProblemError 401, 400."""
        headers = request.headers
        scheme, _, token = headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise unauthenticated("a bearer token is needed")
        claims = self.claims(token.strip(), now)
        instance = headers.get("Unicorn-Instance", "")
        if _INSTANCE.fullmatch(instance) is None:
            raise malformed("the header Unicorn-Instance must be 32 lower-case hex digits")
        return Caller(claims.executor, claims.fence, instance)

    def refresh_keys(self) -> None:
        """A key that was taken away must stop working at once: nothing remembered survives a change."""
        if self.ring.refresh():
            self._valid.clear()

    def claims(self, token: str, now: float) -> Claims:
        """What a valid token says. Raises ProblemError 401."""
        name = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        known = self._valid.get(name)
        if known is not None:
            if now >= known[1]:
                del self._valid[name]
                raise unauthenticated("the token has expired")
            return known[0]
        try:
            claims = verify(token, self.ring.keys, datetime.fromtimestamp(now, UTC))
        except TokenRefused as error:
            raise unauthenticated(str(error)) from error
        if len(self._valid) >= _CACHED:
            self._valid.pop(next(iter(self._valid)))
        self._valid[name] = (claims, claims.expires.timestamp())
        return claims


def unauthenticated(detail: str) -> ProblemError:
    return ProblemError(401, "Unauthenticated", detail, headers={"WWW-Authenticate": "Bearer"})


def fits(caller: Caller, row: Standing) -> bool:
    """The quick yes; everything else deserves a fresh look at the row, then `check`."""
    return row.instance == caller.instance and row.fence == caller.fence


def check_fence(caller: Caller, row: Standing) -> None:
    """Raises ProblemError 410 Revoked: this start was superseded. (A row restored from a backup may have a lower number.)"""
    if caller.fence < row.fence:
        raise ProblemError(410, "Revoked", "a later start of this executor has superseded this one")


def check_instance(caller: Caller, row: Standing) -> None:
    """Raises ProblemError 410 InstanceSuperseded: another agent runs."""
    if row.instance is not None and row.instance != caller.instance:
        raise ProblemError(410, "InstanceSuperseded", "another instance of the agent has claimed this executor")


def check(caller: Caller, row: Standing) -> None:
    """For all requests but the check-in. Raises ProblemError 410."""
    check_fence(caller, row)
    check_instance(caller, row)
    if row.instance is None:
        raise ProblemError(410, "Revoked", "this executor has not checked in")
