"""docs/reference.md from models and reasons: `python -m unicorn_core.resources.reference [--check] docs/reference.md`."""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from unicorn_core.naming import API_VERSION
from unicorn_core.reasons import CONDITIONS, REASONS, Described
from unicorn_core.resources.crds import custom_resource_definition
from unicorn_core.resources.kinds import KINDS, Kind

INTRODUCTION = """# Reference

Every field of the five kinds, every condition, every reason. Generated from `core/unicorn_core/resources` and
`core/unicorn_core/reasons.py` by `make generate`. The same words are in `kubectl explain experiment.spec`.

- API version: `{version}`; everything is namespaced, in category `unicorn` (`kubectl get unicorn`).
- *Duration*: `30s`, `10m`, `1h30m`, `500ms`: units h, m, s, ms; at most five digits a unit.
- *Portion*: a number of executors, or a percentage of all of them: `3`, `80%`.
- *any*: any JSON, kept as it is. A field without *required* may be left out; `null` is refused.
"""
_TITLES = {
    "executor": "Why an executor failed",
    "task": "Why a task failed",
    "orphan": "Why an executor is an orphan",
}
_DURATION = "(h|m|s|ms)"


def reference() -> str:
    """The page."""
    parts = [INTRODUCTION.format(version=API_VERSION)]
    for kind in KINDS:
        parts.append(_kind(kind))
    parts += [f"## {_TITLES[family]}\n\n{_words('reason', words)}" for family, words in REASONS.items() if family in _TITLES]
    return "\n".join(parts)


def _kind(kind: Kind) -> str:
    schema = custom_resource_definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    lines = [f"## {kind.name}\n", f"{kind.description} Short name `{kind.short_names[0]}`.\n", f"### {kind.name}: spec\n"]
    lines += [_fields(schema["spec"])]
    if "status" in schema:
        lines += [f"### {kind.name}: status\n", "Written by the operator only.\n", _fields(schema["status"])]
    if kind.name in CONDITIONS:
        lines += [f"### {kind.name}: conditions\n", _words("condition", CONDITIONS[kind.name])]
        lines += [f"### {kind.name}: reasons\n", _words("reason", REASONS[kind.name])]
    return "\n".join(lines)


def _fields(schema: dict[str, Any]) -> str:
    rows = ["| field | type | default | |", "|---|---|---|---|"]
    for path, node, required in _walk(schema, ""):
        default = "*required*" if required else _default(node)
        rows.append(f"| `{path}` | {_type(node)} | {default} | {_cell(node.get('description', ''))} |")
    return "\n".join(rows) + "\n"


def _walk(schema: dict[str, Any], at: str) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """What stands inside of a deployment as a whole environment or pipeline is described once, at its own kind."""
    for name, node in schema.get("properties", {}).items():
        path = f"{at}{name}"
        yield path, node, name in schema.get("required", ())
        if path in ("deployments[].pipeline", "deployments[].environment"):
            continue
        inner, mark = (node["items"], "[].") if "items" in node else (node, ".")
        yield from _walk(inner, f"{path}{mark}")


def _type(node: dict[str, Any]) -> str:
    if "enum" in node:
        return " \\| ".join(f"`{value}`" for value in node["enum"])
    if node.get("x-kubernetes-int-or-string"):
        return "portion" if "minimum" in node else "quantity"
    if node.get("x-kubernetes-preserve-unknown-fields"):
        return "any object" if node.get("type") == "object" else "any"
    if _DURATION in node.get("pattern", ""):
        return "duration"
    if node["type"] == "array":
        return f"list of {_type(node['items'])}, at most {node['maxItems']}"
    if isinstance(node.get("additionalProperties"), dict):
        return f"map of {_type(node['additionalProperties'])}"
    return "time" if node.get("format") == "date-time" else str(node["type"])


def _default(node: dict[str, Any]) -> str:
    default = node.get("default")
    return "" if default in (None, {}) else f"`{default if isinstance(default, str) else json.dumps(default)}`"


def _words(title: str, words: type[Described]) -> str:
    rows = [f"| {title} | |", "|---|---|", *(f"| `{word.value}` | {_cell(word.doc)} |" for word in words)]
    return "\n".join(rows) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("$", "\\$")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m unicorn_core.resources.reference", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when the file is stale")
    options = parser.parse_args(arguments)
    text = reference()
    fresh = options.file.exists() and options.file.read_text(encoding="utf-8") == text
    if options.check and not fresh:
        sys.stderr.write(f"{options.file} is stale; run python -m unicorn_core.resources.reference {options.file}\n")
        return 1
    if not fresh:
        options.file.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
