"""What the table of routes is made of."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from pydantic import BaseModel

from unicorn_gateway.executor_api.gateway import Gateway

Handler = Callable[[web.Request, Gateway], Awaitable[Any]]  # the members of a 200 answer, or a response
AT_ONCE = web.RequestKey("at_once", bool)  # set by a handler whose answer is not to be held


@dataclass(frozen=True, slots=True)
class Query:
    name: str
    description: str
    lowest: int = 0
    highest: int = 0
    required: bool = False
    text: bool = False  # else a whole number


@dataclass(frozen=True, slots=True)
class Route:
    method: str
    path: str
    handler: Handler
    summary: str
    answer: type[BaseModel] | str  # a model, or the media types of something else
    body: type[BaseModel] | str | None = None
    queries: tuple[Query, ...] = ()
    problems: Mapping[int, str] = field(default_factory=dict)  # status -> reasons, beside those that all have
    others: Mapping[int, str] = field(default_factory=dict)  # answers without a body, or with null above 400
    token: bool = True  # needs one
    waits: bool = False  # a long poll: does not count as being worked on
    holds: bool = False  # what is not 200 is answered late: netunicorn's executor sends it again at once
    quick: bool = False  # of these a heartbeat, by its spelling: answered at once while its handler has not said otherwise
    frequent: bool = False  # thousands a second, all alike: not in the access log, unless they fail

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def token_in_path(self) -> bool:
        return "{token}" in self.path
