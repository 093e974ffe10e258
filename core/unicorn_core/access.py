"""Access tags: which nodes a user may have. A node without tags is everybody's; so is every node for a user without tags."""

from collections.abc import Collection, Iterable

from unicorn_core.errors import Problem

TAG_GROUP = "netunicorn:tag:"  # a Kubernetes group that is an access tag: how users of kubectl have them
_LONGEST = 128


def tags_of_groups(groups: Iterable[str]) -> frozenset[str]:
    return frozenset(group.removeprefix(TAG_GROUP) for group in groups if group.startswith(TAG_GROUP)) - {""}


def check_tag(tag: str, path: str) -> list[Problem]:
    if 0 < len(tag) <= _LONGEST and "," not in tag and tag.isprintable() and tag == tag.strip():
        return []
    return [Problem(path, "is not an access tag", f"at most {_LONGEST} printable characters without commas", tag)]


def may_have(tags: Collection[str] | None, node_tags: Collection[str]) -> bool:
    """`tags`: the user's; None: nobody knows who it is, and only nodes without tags are given."""
    if not node_tags:
        return True
    if tags is None:
        return False
    return not tags or any(tag in node_tags for tag in tags)


def joined(tags: Iterable[str]) -> str:
    """As the annotation says them; `parsed` reads it."""
    return ",".join(sorted(tags))


def parsed(text: str) -> frozenset[str]:
    return frozenset(part.strip() for part in text.split(",")) - {""}
