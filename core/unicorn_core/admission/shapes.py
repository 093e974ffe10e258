"""Rules that many kinds share: one of several fields, names used once, durations above nothing."""

from collections.abc import Iterable, Sequence
from datetime import timedelta

from pydantic import BaseModel

from unicorn_core.durations import format_duration
from unicorn_core.errors import Problem


def present(model: BaseModel, fields: Sequence[str]) -> list[str]:
    """Which of these (snake_case) fields are there, as a manifest names them."""
    return [written(model, field) for field in fields if getattr(model, field) is not None]


def written(model: BaseModel, field: str) -> str:
    return type(model).model_fields[field].alias or field


def exactly_one(model: BaseModel, at: str, *fields: str) -> list[Problem]:
    found = present(model, fields)
    if len(found) == 1:
        return []
    return _count_problem(model, at, found, fields, "exactly one")


def at_most_one(model: BaseModel, at: str, *fields: str) -> list[Problem]:
    found = present(model, fields)
    if len(found) <= 1:
        return []
    return _count_problem(model, at, found, fields, "only one")


def _count_problem(model: BaseModel, at: str, found: list[str], fields: Sequence[str], how_many: str) -> list[Problem]:
    names = [written(model, field) for field in fields]
    said = f"has {' and '.join(found)}" if found else f"has neither {' nor '.join(names)}"
    return [Problem(at, said, f"write {how_many} of {', '.join(names)}")]


def used_once(names: Iterable[tuple[str, str]], what: str) -> list[Problem]:
    """`names`: (path, name) in order."""
    first: dict[str, str] = {}
    problems = []
    for path, name in names:
        if name in first:
            problems.append(Problem(path, f"this {what} is used by {first[name]} already", "choose another", name))
        first.setdefault(name, path)
    return problems


def at_least(span: timedelta | None, path: str, least: timedelta) -> list[Problem]:
    if span is None or span >= least:
        return []
    return [Problem(path, "is too short", f"write at least {format_duration(least)}", format_duration(span))]
