"""Where placeholders stand: `$(params.x) $(node.name) $(node.properties.x) $(executor.index) $(experiment.name)`.

Anything else in `$(...)` belongs to the shell; `$$(` is a literal `$(`.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

TOKEN = re.compile(r"\$\$\(|\$\((?P<name>(?:params|node|executor|experiment)\.[\w./-]+)\)")
FIXED = ("node.name", "executor.index", "experiment.name")
KNOWN = "$(params.NAME), $(node.name), $(node.properties.NAME), $(executor.index), $(experiment.name)"


class Style(Enum):
    """How a value is written into a text."""

    SHELL = auto()  # quoted for sh
    PYTHON = auto()  # a Python literal
    TEXT = auto()


@dataclass(frozen=True, slots=True)
class Placeholder:
    path: str  # in the document: tasks.ping.run
    name: str  # params.server
    style: Style


Change = Callable[[str, Style, str], str]  # path, style, text -> text


def placeholders(graph: Mapping[str, Any]) -> list[Placeholder]:
    """All placeholders of a graph document, in its order."""
    return [found for name, task in graph["tasks"].items() for found in placeholders_of(task, f"tasks.{name}")]


def placeholders_of(task: Mapping[str, Any], at: str) -> list[Placeholder]:
    """Those of one task document."""
    return [Placeholder(path, name, style) for path, style, text in texts_of(task, at) for name in names_in(text)]


def names_in(text: str) -> Iterable[str]:
    return (match["name"] for match in TOKEN.finditer(text) if match["name"])


def is_known(name: str, params: Iterable[str]) -> bool:
    """Whether a name can be replaced; the properties of a node are known only once there is a node."""
    group, _, rest = name.partition(".")
    if group == "params":
        return rest in params
    return name in FIXED or name.startswith("node.properties.")


def texts_of(task: Mapping[str, Any], at: str) -> list[tuple[str, Style, str]]:
    """The texts of a task document in which placeholders are replaced: (path, style, text)."""
    found: list[tuple[str, Style, str]] = []

    def note(path: str, style: Style, text: str) -> str:
        found.append((path, style, text))
        return text

    changed(task, at, note)
    return found


def changed(task: Mapping[str, Any], at: str, change: Change) -> dict[str, Any]:
    """A copy of a task document with each of its texts changed."""
    result = dict(task)
    if "run" in task:
        result["run"] = change(f"{at}.run", Style.SHELL, task["run"])
    if "script" in task:
        result["script"] = change(f"{at}.script", Style.PYTHON, task["script"])
    if "python" in task:
        inner = dict(task["python"])
        for key in ("args", "kwargs"):
            if key in inner:
                inner[key] = _deep(inner[key], f"{at}.python.{key}", change)
        result["python"] = inner
    if "flag" in task:
        result["flag"] = _deep(task["flag"], f"{at}.flag", change)
    return result


def _deep(value: Any, at: str, change: Change) -> Any:
    if isinstance(value, str):
        return change(at, Style.TEXT, value)
    if isinstance(value, Mapping):
        return {key: _deep(part, f"{at}.{key}", change) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_deep(part, f"{at}[{index}]", change) for index, part in enumerate(value)]
    return value
