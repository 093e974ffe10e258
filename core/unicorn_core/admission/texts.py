"""Placeholders in the texts of a task: known names, and places in which a written value is safe."""

import ast
import re
import warnings
from collections.abc import Iterable

from unicorn_core.errors import Problem
from unicorn_core.pipelines.placeholders import KNOWN, TOKEN, Style, is_known, names_in

_STAND_IN = "unicorn_placeholder_"


def check_text(path: str, style: Style, text: str, params: Iterable[str]) -> list[Problem]:
    """Unknown names first; then, for `run` and `script`, placeholders inside of quotes, and scripts that do not parse."""
    params = list(params)
    unknown = [name for name in names_in(text) if not is_known(name, params)]
    if unknown:
        return [_unknown(path, name, params) for name in dict.fromkeys(unknown)]
    if style is Style.SHELL:
        return _in_shell_quotes(path, text)
    if style is Style.PYTHON:
        return _script(path, text)
    return []


def _unknown(path: str, name: str, params: list[str]) -> Problem:
    if name.startswith("params."):
        known = f"declared in params: {', '.join(sorted(params)) or 'nothing'}"
        return Problem(path, "this parameter is not declared", f"add it to params, or write one that is {known}", f"$({name})")
    return Problem(path, "there is no such placeholder", f"known are {KNOWN}; for the shell's own write $$(...)", f"$({name})")


def _in_shell_quotes(path: str, text: str) -> list[Problem]:
    """A value is written quoted for the shell; inside of quotes, its own quotes would end them."""
    quoted = _quoted_positions(text)
    return [
        Problem(
            path,
            "this placeholder stands inside quotes, but its value is quoted already",
            f"write it without quotes, or first assign it: x={match[0]}, and use $x in the quotes",
            match[0],
        )
        for match in TOKEN.finditer(text)
        if match["name"] and quoted[match.start()]
    ]


def _quoted_positions(text: str) -> list[bool]:
    """For each character whether it stands between quotes of the shell (comments and backslashes are minded)."""
    result = []
    quote = ""
    escaped = comment = False
    for index, character in enumerate(text):
        result.append(bool(quote))
        if comment:
            comment = character != "\n"
        elif escaped:
            escaped = False
        elif quote:
            escaped = quote == '"' and character == "\\"
            quote = "" if character == quote else quote
        elif character == "\\":
            escaped = True
        elif character in "'\"":
            quote = character
        elif character == "#" and (index == 0 or text[index - 1] in " \t\n;&|("):
            comment = True
    return result


def _script(path: str, text: str) -> list[Problem]:
    stand_ins: dict[str, str] = {}

    def stand_in(match: re.Match[str]) -> str:
        if match["name"] is None:
            return "$("
        name = f"{_STAND_IN}{len(stand_ins)}"
        stand_ins[name] = match[0]
        return name

    source = TOKEN.sub(stand_in, text)
    try:
        bare = _bare_names(source) if stand_ins else set()
        _compile(source)
    except SyntaxError as error:
        return [Problem(path, f"is not Python: {error.msg} in line {error.lineno or 1}", "correct it", _line(text, error.lineno))]
    except (ValueError, RecursionError, MemoryError):
        return [Problem(path, "cannot be parsed: it is nested too deeply, or holds a NUL character", "make it simpler")]
    return [
        Problem(
            path,
            "this placeholder does not stand for a value: it is in a string, or where a name must stand",
            f"write it bare, as in x = {placeholder}",
            placeholder,
        )
        for name, placeholder in stand_ins.items()
        if name not in bare
    ]


def _compile(source: str) -> None:
    """Made into code, which is thrown away: it is never run here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes are the author's to see, when the script runs
        compile(source, "<script>", "exec", dont_inherit=True)


def _bare_names(source: str) -> set[str]:
    """The names that are read, but for those in f-strings: there, before Python 3.12, the quotes of a written value would end
    the f-string."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        todo: list[ast.AST] = [ast.parse(source)]
    names = set()
    while todo:
        node = todo.pop()
        if isinstance(node, ast.JoinedStr):
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            names.add(node.id)
        todo.extend(ast.iter_child_nodes(node))
    return names


def _line(text: str, number: int | None) -> str | None:
    lines = text.splitlines()
    return lines[number - 1] if number and number <= len(lines) else None
