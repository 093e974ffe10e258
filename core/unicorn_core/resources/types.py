"""Small types of fields: durations, portions, names, free-form objects, list kinds; and how `crds/` describes them."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from unicorn_core.durations import PATTERN, format_duration, parse_duration
from unicorn_core.resources.base import DNS_LABEL

_PERCENTAGE = re.compile(r"(100|[1-9]?[0-9])%")


def _duration(value: Any) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a duration; write for example 30s, 10m, 1h30m or 500ms")
    return parse_duration(value)


Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": PATTERN, "maxLength": 28}),
]
"""A GEP-2257 string in manifests (`1h30m`), a timedelta in code."""


@dataclass(frozen=True, slots=True)
class Portion:
    """A number of executors, or a percentage of all of them."""

    count: int | None = None
    percent: int | None = None

    @classmethod
    def parse(cls, value: Any) -> "Portion":
        if isinstance(value, Portion):
            return value
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return cls(count=value)
        if isinstance(value, str) and _PERCENTAGE.fullmatch(value):
            return cls(percent=int(value[:-1]))
        raise ValueError(f"{value!r} is neither a number of executors nor a percentage; write for example 3 or 80%")

    def of(self, total: int, round_up: bool) -> int:
        """How many of `total` executors this is."""
        if self.count is not None:
            return min(self.count, total)
        share = (self.percent or 0) * total / 100
        return ceil(share) if round_up else int(share)

    def dump(self) -> int | str:
        return self.count if self.count is not None else f"{self.percent}%"


PortionField = Annotated[
    Portion,
    BeforeValidator(Portion.parse),
    PlainSerializer(Portion.dump),
    WithJsonSchema({"x-kubernetes-int-or-string": True, "minimum": 0, "pattern": "^(100|[1-9]?[0-9])%$", "maxLength": 4}),
]


def _moment(value: datetime) -> str:
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


Moment = Annotated[datetime, PlainSerializer(_moment, return_type=str), WithJsonSchema({"type": "string", "format": "date-time"})]
"""An aware time in UTC, to the second in manifests."""


def _quantity(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"{value!r} is not a quantity; write for example 1, 500m or 128Mi")
    return str(value)


Quantity = Annotated[
    str,
    BeforeValidator(_quantity),
    Field(max_length=32),
    WithJsonSchema({"x-kubernetes-int-or-string": True, "maxLength": 32}),
]
"""A Kubernetes quantity; a number in a manifest is read as its text."""

Name = Annotated[str, Field(pattern=DNS_LABEL, max_length=63)]
"""A DNS label: lower-case letters, digits and inner hyphens."""
ResourceName = Annotated[str, Field(min_length=1, max_length=253)]
Text = Annotated[str, Field(max_length=1024)]
LEVELS = 32  # of lists and objects in a free value: what every reader of it can take


def _flat_enough(value: Any) -> Any:
    level = [value]
    for _ in range(LEVELS):
        members = (one.values() if isinstance(one, dict) else one for one in level if isinstance(one, (dict, list)))
        level = [inner for several in members for inner in several if isinstance(inner, (dict, list))]
        if not level:
            return value
    raise ValueError(f"is nested too deeply; write at most {LEVELS} levels of lists and objects")


_FREE = {"x-kubernetes-preserve-unknown-fields": True}
FreeObject = Annotated[dict[str, Any], BeforeValidator(_flat_enough), WithJsonSchema({"type": "object", **_FREE})]
AnyValue = Annotated[Any, BeforeValidator(_flat_enough), WithJsonSchema(_FREE)]

ATOMIC = {"x-kubernetes-list-type": "atomic"}
SET = {"x-kubernetes-list-type": "set"}
BY_NAME = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
BY_TYPE = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}


def cel(*rules: tuple[str, str]) -> dict[str, Any]:
    """Rules of the API server for a model: (expression, message) pairs, as `json_schema_extra`."""
    return {"x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in rules]}


def count_of(*fields: str) -> str:
    """CEL: how many of these fields are there. Cheaper than a list: the API server multiplies a rule's cost by its lists."""
    return " + ".join(f"(has(self.{field}) ? 1 : 0)" for field in fields)
