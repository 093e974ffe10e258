"""The one character that a manifest may hold and PostgreSQL may not: NUL, in any text or key, however deep."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from unicorn_core.errors import Problem

_SHOWN = 10


def check_characters(document: Any, at: str = "spec") -> list[Problem]:
    """A Problem for each of the first texts and keys with a NUL."""
    places = zip(_places(document, at), range(_SHOWN), strict=False)
    return [Problem(path, "holds a NUL character", "remove it", text) for (path, text), _ in places]


def _places(document: Any, at: str) -> Iterator[tuple[str, str]]:
    if isinstance(document, str):
        if "\0" in document:
            yield at, document
    elif isinstance(document, Mapping):
        for key, value in document.items():
            if isinstance(key, str) and "\0" in key:
                yield f"{at}[{key!r}]", key
            else:
                yield from _places(value, f"{at}.{key}")
    elif isinstance(document, Sequence) and not isinstance(document, bytes):
        for index, value in enumerate(document):
            yield from _places(value, f"{at}[{index}]")


def storable(document: Any) -> Any:
    """The same with U+FFFD for each NUL: what older rules let in must be recorded too, or it could never go."""
    if isinstance(document, str):
        return document.replace("\0", "\ufffd")
    if isinstance(document, Mapping):
        return {storable(key): storable(value) for key, value in document.items()}
    if isinstance(document, list | tuple):
        return [storable(value) for value in document]
    return document
