"""The query of a request, strictly: an unknown, repeated or wrong parameter is refused, never passed over."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web

from unicorn_gateway.problems import malformed
from unicorn_gateway.user_api.routing import Parameter, Schema

INT64 = 2**63 - 1
_LONGEST = 253


def _integer(lowest: int, highest: int, default: int | None = None) -> Schema:
    schema: Schema = {"type": "integer", "minimum": lowest, "maximum": highest}
    return schema if default is None else {**schema, "default": default}


def _listed(values: Iterable[str]) -> Schema:
    words = "|".join(values)
    return {"type": "string", "pattern": f"^({words})(,({words}))*$"}


_TEXT: Schema = {"type": "string", "minLength": 1, "maxLength": _LONGEST, "pattern": r"^[^\x00-\x1f\x7f-\x9f]+$"}
_MOMENT: Schema = {"type": "string", "format": "date-time"}
_BOOLEAN: Schema = {"type": "string", "enum": ["true", "false"]}

PHASES = ("Pending", "Allocating", "Preparing", "Ready", "Starting", "Running", "Finishing", "Succeeded", "Failed", "Cancelled")
STATES = ("Pending", "Preparing", "Prepared", "Starting", "CheckedIn", "Running", "Succeeded", "Failed", "Lost", "Cancelled")
STREAMS = ("stdout", "stderr", "agent")
KINDS = ("TaskStarted", "TaskFinished", "LogDropped")

LIMIT = Parameter("limit", "how many at most", _integer(1, 500, 100))
CONTINUE = Parameter("continue", "where the page before ended, as it said", {"type": "string", "minLength": 1, "maxLength": 1024})
ATTEMPT = Parameter("attempt", "of the experiment; absent: its last", _integer(1, 2**31 - 1))
AFTER = Parameter("after", "only what has a higher sequence", _integer(0, INT64, 0))
TASK = Parameter("task", "of this task", _TEXT)
STREAM = Parameter("stream", f"one or more of {', '.join(STREAMS)}, separated by commas", _listed(STREAMS))
KIND = Parameter("kind", f"one or more of {', '.join(KINDS)}, separated by commas", _listed(KINDS))
TAIL = Parameter("tail", "only the last so many chunks", _integer(1, 100_000))
WAIT = Parameter("wait", "seconds to wait for news where there is none", _integer(0, 60, 0))
FOLLOW = Parameter("follow", "go on until the executor has ended", _BOOLEAN)
NAME = Parameter("name", "of this name", _TEXT)
USER = Parameter("user", "made by this user", _TEXT)
PHASE = Parameter("phase", "in one of these phases, separated by commas", _listed(PHASES))
SEARCH = Parameter("search", "a part of the name or the message, case aside", _TEXT)
SINCE = Parameter("since", "made then or later", _MOMENT)
UNTIL = Parameter("until", "made before then", _MOMENT)
DELETED = Parameter("deleted", "true: its resource is gone; false: it is there", _BOOLEAN)
STATE = Parameter("state", "in one of these states, separated by commas", _listed(STATES))
DEPLOYMENT = Parameter("deployment", "of this deployment", _TEXT)
NODE = Parameter("node", "on this node", _TEXT)


class Query:
    """What was asked. `known`: the parameters of the route. Raises ProblemError 400."""

    def __init__(self, request: web.Request, known: Iterable[Parameter]) -> None:
        names = [one.name for one in known]
        self._schemas = {one.name: one.schema for one in known}
        self._given: dict[str, str] = {}
        for name, value in parse_qsl(request.rel_url.raw_query_string, keep_blank_values=True, errors="surrogateescape"):
            if name not in self._schemas:
                expected = f"known are {', '.join(names)}" if names else "this route takes none"
                raise malformed(f"there is no parameter {_shown(name)}; {expected}")
            if name in self._given:
                raise malformed(f"the parameter {name} is there twice")
            self._given[name] = value

    def text(self, parameter: Parameter) -> str | None:
        value = self._given.get(parameter.name)
        if value is not None and not (1 <= len(value) <= parameter.schema["maxLength"] and _is_plain(value)):
            raise malformed(f"{parameter.name} must have 1 to {parameter.schema['maxLength']} printable characters")
        return value

    def integer(self, parameter: Parameter) -> Any:
        """Its default where it is absent."""
        value, schema = self._given.get(parameter.name), self._schemas[parameter.name]
        if value is None:
            return schema.get("default")
        if re.fullmatch(r"[0-9]{1,19}", value) is None or not schema["minimum"] <= int(value) <= schema["maximum"]:
            raise malformed(f"{parameter.name} must be an integer from {schema['minimum']} to {schema['maximum']}")
        return int(value)

    def boolean(self, parameter: Parameter) -> bool | None:
        value = self._given.get(parameter.name)
        if value not in (None, "true", "false"):
            raise malformed(f"{parameter.name} must be true or false")
        return None if value is None else value == "true"

    def listed(self, parameter: Parameter, known: Iterable[str]) -> list[str] | None:
        value = self._given.get(parameter.name)
        if value is None:
            return None
        wanted = value.split(",")
        if unknown := [one for one in wanted if one not in known]:
            raise malformed(f"{parameter.name}: there is no {_shown(unknown[0])}; known are {', '.join(known)}")
        return wanted

    def moment(self, parameter: Parameter) -> datetime | None:
        """Aware UTC."""
        value = self._given.get(parameter.name)
        if value is None:
            return None
        try:
            moment = datetime.fromisoformat(value)
            if moment.tzinfo is not None:
                return moment.astimezone(UTC)
        except (ValueError, OverflowError):
            pass
        raise malformed(f"{parameter.name} must be a time as RFC 3339 has it, with its zone: 2026-01-31T12:00:00Z")


def _is_plain(value: str) -> bool:
    """No control characters, no lone surrogates: PostgreSQL takes neither."""
    return re.search(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", value) is None


def _shown(value: str) -> str:
    return ascii(value[:80])
