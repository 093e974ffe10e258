"""Whose an experiment is, and which nodes they may have: annotations written at creation from the request, fixed from then on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from unicorn_core.access import joined, parsed, tags_of_groups
from unicorn_core.errors import Problem
from unicorn_core.naming import ANNOTATION_TAGS, ANNOTATION_USER

Manifest = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Requester:
    """Who asks the API server. `trusted`: may create for others (the user API's ServiceAccount)."""

    username: str
    groups: tuple[str, ...] = ()
    trusted: bool = False

    @property
    def tags(self) -> frozenset[str]:
        return tags_of_groups(self.groups)


def annotation(manifest: Manifest, key: str) -> str | None:
    annotations = (manifest.get("metadata") or {}).get("annotations") or {}
    value: str | None = annotations.get(key)
    return value


def user_annotations(new: Manifest, old: Manifest | None, by: Requester) -> dict[str, str]:
    """What admission must write into `new`. What stands there already is left to `check_user`."""
    if old is not None:
        right = {key: annotation(old, key) for key in (ANNOTATION_USER, ANNOTATION_TAGS)}
    else:
        # For others, the user API says all there is to say: its own groups are nobody's tags.
        tags = joined(by.tags) if by.tags and not by.trusted else None
        right = {ANNOTATION_USER: by.username, ANNOTATION_TAGS: tags}
    return {key: value for key, value in right.items() if value is not None and annotation(new, key) is None}


def check_user(new: Manifest, old: Manifest | None, by: Requester) -> list[Problem]:
    if old is not None:
        return [
            Problem(_path(key), f"cannot change: it says {what}", "leave it as it is", annotation(new, key))
            for key, what in ((ANNOTATION_USER, "who created the experiment"), (ANNOTATION_TAGS, "which nodes its user may have"))
            if annotation(new, key) != annotation(old, key)
        ]
    if by.trusted:
        return []
    problems = []
    user, tags = annotation(new, ANNOTATION_USER), annotation(new, ANNOTATION_TAGS)
    expected = "leave it out: it is written for you"
    if user != by.username:
        message = f"is not who creates the experiment ({by.username})"
        problems.append(Problem(_path(ANNOTATION_USER), message, expected, user))
    if parsed(tags or "") != by.tags:
        problems.append(Problem(_path(ANNOTATION_TAGS), "are not the access tags of who creates it", expected, tags))
    return problems


def _path(key: str) -> str:
    return f"metadata.annotations[{key}]"
