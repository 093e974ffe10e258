"""What a route is, and what its handler gets."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from typing import Any, TypeVar

from aiohttp import web
from pydantic import BaseModel

from unicorn_gateway import bodies
from unicorn_gateway.user_api.callers import Caller
from unicorn_gateway.user_api.service import UserApi

M = TypeVar("M", bound=BaseModel)
Schema = Mapping[str, Any]
JSON_BODY = 1024 * 1024


class Version(Enum):
    """How errors are said: V1 as netunicorn's mediator does, V2 as problem documents."""

    V1 = "v1"
    V2 = "v2"


@dataclass(frozen=True, slots=True)
class Call:
    """One request. `id`: of the request, in logs and in the answer's X-Request-ID."""

    request: web.Request
    api: UserApi
    known: Caller | None
    id: str

    @property
    def caller(self) -> Caller:
        if self.known is None:
            raise RuntimeError("a route without authentication has no caller")
        return self.known

    def path(self, name: str) -> str:
        return self.request.match_info[name]

    async def body(self, limit: int = JSON_BODY, patience: timedelta | None = None) -> bytes:
        """Raises ProblemError 400, 413, 415, 503. `patience`: the setting's by default."""
        seconds = (patience or self.api.settings.body_timeout).total_seconds()
        with self.api.body_arriving():
            return await bodies.read(self.request, limit, seconds)

    async def message(self, model: type[M], limit: int = JSON_BODY) -> M:
        """The body as JSON. Raises ProblemError 400, 413, 415, 503."""
        return bodies.parse(await self.body(limit), model)


Handler = Callable[[Call], Awaitable[Any]]
"""Returns what becomes the 200 answer's JSON, or a response. Raises ProblemError, or errors of ours (see `failures`)."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """Of the query."""

    name: str
    description: str
    schema: Schema
    required: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    method: str
    path: str
    handler: Handler
    summary: str
    answer: type[BaseModel] | Schema | str  # of 200: a model, a JSON schema, or the media type of something else
    version: Version = Version.V2
    body: type[BaseModel] | Schema | str | None = None  # likewise
    body_type: str = "application/json"  # where `body` is a model or a schema
    body_required: bool = True
    parameters: tuple[Parameter, ...] = ()
    problems: Mapping[int, str] = field(default_factory=dict)  # status -> reasons, beside those that all have
    authenticated: bool = True
    waits: bool = False  # a long poll or a stream, without a body: does not count as being worked on

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"
