"""Durations as GEP-2257 strings: `1h30m`, `500ms`; units h, m, s, ms; at most five digits a unit, at most four units."""

import re
from datetime import timedelta

_FORM = re.compile(r"([0-9]{1,5}(h|m|s|ms)){1,4}")
_PART = re.compile(r"([0-9]{1,5})(ms|h|m|s)")
_UNIT = {"h": timedelta(hours=1), "m": timedelta(minutes=1), "s": timedelta(seconds=1), "ms": timedelta(milliseconds=1)}
PATTERN = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"


def parse_duration(text: str) -> timedelta:
    """`ValueError` says what would be right when `text` is not a GEP-2257 duration."""
    if _FORM.fullmatch(text) is None:
        raise ValueError(f"{text!r} is not a duration; write for example 30s, 10m, 1h30m or 500ms")
    return sum((int(number) * _UNIT[unit] for number, unit in _PART.findall(text)), timedelta())


def format_duration(span: timedelta) -> str:
    """The shortest GEP-2257 string of a non-negative duration, to the millisecond."""
    left = round(span / _UNIT["ms"])
    if left == 0:
        return "0s"
    parts = []
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)
