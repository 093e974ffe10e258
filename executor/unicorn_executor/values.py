"""What a task's process tells of its task: outcome, value as JSON, error. Called in that process."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Iterable
from typing import Any

from unicorn_executor.compact import encode

LARGEST_VALUE = 64 * 1024 * 1024  # bytes of JSON: what the gateway takes as one blob
DEEPEST = 200  # lists and objects in each other; what the gateway parses has a few more around it
LONGEST_REPR = 64 * 1024
LONGEST_ERROR = 2048


class Failed(Exception):
    """The task says itself that it failed; no traceback is due."""

    def __init__(self, error: str, reason: str = "Exception") -> None:
        super().__init__(error)
        self.reason = reason


def success(value: Any) -> tuple[dict[str, Any], bool]:
    """The report, and whether its value is what JSON gives back, nothing lost."""
    try:
        content = encode(value)
        if len(content) > LARGEST_VALUE:
            return {"outcome": "Success", "value": {"repr": f"<{len(content)} bytes of JSON: too large>"}, "notJson": True}, True
        back = json.loads(content)
        if is_deep(content, back):
            return {"outcome": "Success", "value": {"repr": _repr(value)}, "notJson": True}, False
        return {"outcome": "Success", "value": back}, type(back) is type(value) and bool(back == value)
    except Exception:
        return {"outcome": "Success", "value": {"repr": _repr(value)}, "notJson": True}, False


def is_deep(content: bytes, value: Any) -> bool:
    """Whether it is nested deeper than the gateway's parser goes."""
    if content.count(b"[") + content.count(b"{") <= DEEPEST:
        return False
    level = [value]
    for _ in range(DEEPEST):
        level = [inner for outer in level if isinstance(outer, (list, dict)) for inner in _within(outer)]
        if not level:
            return False
    return any(isinstance(inner, (list, dict)) for inner in level)


def _within(outer: Any) -> Iterable[Any]:
    return outer.values() if isinstance(outer, dict) else outer


def failure(error: str, reason: str) -> dict[str, Any]:
    return {"outcome": "Failure", "error": text(error, LONGEST_ERROR), "reason": reason}


def raised(error: BaseException) -> str:
    """The last line of its traceback."""
    return "".join(traceback.format_exception_only(type(error), error)).strip()


def traceback_of(error: BaseException) -> str:
    """Without our own frames above the task's."""
    own = os.path.dirname(__file__)
    entries = traceback.extract_tb(error.__traceback__)
    theirs = [entry for entry in entries if not entry.filename.startswith((own, "<frozen importlib"))]
    lines = [
        "Traceback (most recent call last):\n",
        *traceback.format_list(theirs),
        *traceback.format_exception_only(type(error), error),
    ]
    return "".join(lines)


def print_traceback(error: BaseException) -> None:
    sys.stderr.write(traceback_of(error))


def text(text: str, longest: int) -> str:
    """What UTF-8 and the protocol's limits can carry of it."""
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _repr(value: Any) -> str:
    try:
        return text(repr(value), LONGEST_REPR)
    except Exception:
        return f"<{type(value).__name__} without a repr>"
