"""Rules for one task."""

import keyword
from collections.abc import Iterable
from datetime import timedelta

from unicorn_core.admission.shapes import at_least, at_most_one, exactly_one, present, written
from unicorn_core.admission.texts import check_text
from unicorn_core.errors import Problem
from unicorn_core.pipelines.compile import ROOT, task_document
from unicorn_core.pipelines.placeholders import texts_of
from unicorn_core.resources.pipeline import FlagSpec, PythonSpec, TaskSpec, kinds_of

_INSTANT = timedelta(milliseconds=1)
_FLAG_VERBS = ("set", "get", "add", "wait", "barrier")
_FLAG_ARGUMENTS = {
    "set": ("text", "integer"),
    "get": (),
    "add": ("amount",),
    "wait": ("text", "integer", "at_least"),
    "barrier": (),
}


def check_task(task: TaskSpec, at: str, params: Iterable[str], *, may_be_empty: bool) -> list[Problem]:
    """`may_be_empty`: a synchronisation point is allowed (in a graph)."""
    problems = [*at_most_one(task, at, "run", "python", "script", "flag"), *_name(task, at)]
    kinds = kinds_of(task)
    if not kinds:
        problems += _synchronisation_point(task, at, may_be_empty)
    if task.python is not None:
        problems += _python(task.python, f"{at}.python")
    if task.flag is not None:
        problems += _flag(task.flag, f"{at}.flag")
        if task.timeout is not None and task.flag.timeout is not None:
            problems.append(Problem(f"{at}.flag.timeout", "stands beside the task's timeout", "write one of them"))
    problems += at_least(task.timeout, f"{at}.timeout", _INSTANT)
    for path, style, text in texts_of(task_document(task), at):
        problems += check_text(path, style, text, params)
    return problems


def _name(task: TaskSpec, at: str) -> list[Problem]:
    if task.name != ROOT or not kinds_of(task):
        return []
    return [Problem(f"{at}.name", "is where every graph starts, and runs nothing", "choose another name", task.name)]


def _synchronisation_point(task: TaskSpec, at: str, allowed: bool) -> list[Problem]:
    if not allowed:
        return [Problem(at, "has nothing to do", "write one of run, python, script, flag")]
    return [
        Problem(f"{at}.{field}", "stands on a synchronisation point, which runs nothing", "remove it, or add run")
        for field in present(task, ("timeout", "retry"))
    ]


def _python(python: PythonSpec, at: str) -> list[Problem]:
    module, colon, qualname = python.object.partition(":")
    parts = [*module.split("."), *qualname.split(".")]
    if colon and all(part.isidentifier() and not keyword.iskeyword(part) for part in parts):
        return []
    return [
        Problem(f"{at}.object", "does not name a Python object", "write module:qualname, such as pkg.tasks:Ping", python.object)
    ]


def _flag(flag: FlagSpec, at: str) -> list[Problem]:
    problems = exactly_one(flag, at, *_FLAG_VERBS)
    problems += at_least(flag.timeout, f"{at}.timeout", _INSTANT)
    if problems:
        return problems
    verb = present(flag, _FLAG_VERBS)[0]
    mine = _FLAG_ARGUMENTS[verb]
    for field in ("text", "integer", "amount", "at_least"):
        if field not in mine and getattr(flag, field) is not None:
            usable = " and ".join(written(flag, name) for name in mine) or "no further field"
            problems.append(Problem(f"{at}.{written(flag, field)}", f"means nothing beside {verb}", f"{verb} takes {usable}"))
    if verb == "set" and not present(flag, mine):
        problems.append(Problem(at, "sets nothing", "write text, integer or both"))
    if verb == "wait":
        problems += exactly_one(flag, at, *mine)
    return problems
