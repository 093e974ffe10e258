"""Where a page ended: an opaque word that the next request brings back."""

import base64
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

from unicorn_store.history import Place

from unicorn_gateway.problems import ProblemError, malformed

T = TypeVar("T")


def word_of(*key: Any) -> str:
    content = json.dumps([str(part) if isinstance(part, UUID) else part for part in key], separators=(",", ":"))
    return base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")


def key_in(word: str | None, read: Callable[[list[Any]], T]) -> T | None:
    """What `read` makes of the key in a word of ours; None: there is none. Raises ProblemError 400 for any other word."""
    if word is None:
        return None
    try:
        content = base64.b64decode(word.encode("ascii") + b"=" * (-len(word) % 4), altchars=b"-_", validate=True)
        key = json.loads(content)
        if not isinstance(key, list):
            raise ValueError
        return read(key)
    except (ValueError, TypeError, RecursionError, OverflowError) as error:
        raise unknown_word() from error


def unknown_word() -> ProblemError:
    return malformed("continue must be what the page before gave")


def age_key(key: list[Any]) -> tuple[datetime, UUID]:
    created, uid = key
    if not isinstance(created, str) or not isinstance(uid, str):
        raise ValueError("no texts")
    moment = datetime.fromisoformat(created)
    if moment.tzinfo is None:
        raise ValueError("no zone")
    return moment.astimezone(UTC), UUID(uid)  # a moment that is none in UTC is an OverflowError


def place_key(key: list[Any]) -> Place:
    position, deployment, index = key
    if not (_is_int32(position) and _is_int32(index) and isinstance(deployment, str)):
        raise ValueError("no place")
    _storable(deployment)
    return Place(position, deployment, index)


def name_key(key: list[Any]) -> str:
    (name,) = key
    if not isinstance(name, str):
        raise ValueError("no name")
    _storable(name)
    return name


def page(items: Sequence[T], limit: int, word: Callable[[T], str], told: Callable[[T], Any]) -> dict[str, Any]:
    """`items` may be one more than the page holds: then there is a next one."""
    shown = items[:limit]
    following = {"continue": word(shown[-1])} if len(items) > limit else {}
    return {"items": [told(item) for item in shown], **following}


def _is_int32(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -(2**31) <= value < 2**31


def _storable(text: str) -> None:
    if "\0" in text:
        raise ValueError("NUL")
    text.encode()
