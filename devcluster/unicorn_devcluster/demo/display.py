"""What a person sees: a table that lives on a terminal, plain lines elsewhere; then the results.

What executors sent is text from outside: shown without control characters, and never as markup.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text
from unicorn_core.text import plain
from unicorn_store.records import ExecutorRecord

from .running import View

_COLOURS = {"Succeeded": "green", "Failed": "red", "Lost": "red", "Cancelled": "yellow", "Running": "cyan"}
_VALUE_LENGTH = 100


class Progress(Protocol):
    def show(self, view: View) -> None: ...


@contextlib.contextmanager
def progress(console: Console) -> Iterator[Progress]:
    """Shows views as they come."""
    if not console.is_terminal:
        yield _Lines(console)
        return
    with Live(console=console, refresh_per_second=10) as live:
        yield _Table(live)


class _Table:
    def __init__(self, live: Live) -> None:
        self._live = live

    def show(self, view: View) -> None:
        self._live.update(_picture(view))


class _Lines:
    """A line whenever something has changed."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last = ""

    def show(self, view: View) -> None:
        if (line := _line(view)) != self._last:
            self._last = line
            self._console.print(f"{view.seconds:6.1f} s  {line}", markup=False, highlight=False, soft_wrap=True)


def _line(view: View) -> str:
    parts = [str(view.phase), _counts(view), _why(view)]
    tasks = sum(executor.finished for executor in view.executors)
    if tasks:
        parts.append(f"{tasks} task runs done")
    return "; ".join(part for part in parts if part)


def _picture(view: View) -> RenderableType:
    head = Text.assemble(
        (f"{view.name}  ", "bold"),
        (str(view.phase), _COLOURS.get(view.phase, "bold")),
        f"  {_counts(view)}  {view.seconds:.1f} s",
    )
    table = Table("executor", "node", "state", "tasks done", "running now", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for executor in view.executors:
        state = Text(executor.state, _COLOURS.get(executor.state, ""))
        now = Text(plain(", ".join(executor.running)))
        place = f"{executor.deployment}/{executor.index}"
        table.add_row(place, Text(plain(executor.node)), state, str(executor.finished), now)
    lines: list[RenderableType] = [head]
    if conditions := _conditions(view):
        lines.append(Text(conditions, "dim"))
    if why := _why(view):
        lines.append(Text(why, "yellow"))
    return Group(*lines, *([table] if view.executors else []))


def _counts(view: View) -> str:
    counts = dict(view.status.get("executors") or {})
    total = counts.pop("total", 0)
    return f"{total} executors: " + ", ".join(f"{number} {state}" for state, number in counts.items()) if total else ""


def _conditions(view: View) -> str:
    """What has been reached, in its order."""
    conditions = view.status.get("conditions", ())
    reached = [entry["type"] for entry in conditions if entry["status"] == "True" and entry["type"] != "Reconciled"]
    return " > ".join(reached)


def _why(view: View) -> str:
    reason, message = view.status.get("reason", ""), view.status.get("message", "")
    return plain(f"{reason}: {message}" if reason and message else reason or message)


def show_results(console: Console, executors: Sequence[ExecutorRecord]) -> None:
    """By executor and task, the value of each task's last run."""
    for executor in executors:
        _say(console, "")
        said = f" ({plain(executor.reason)}: {plain(executor.message)})" if executor.reason else ""
        line = f"{executor.deployment}/{executor.index} on {plain(executor.node) or 'no node'}: {executor.state}{said}"
        _say(console, line, _COLOURS.get(executor.state, ""))
        results = executor.results or {}
        width = max((len(task) for task in results), default=0)
        for task, runs in results.items():
            _say(console, f"    {plain(task):{width}}  {task_line(runs)}")


def task_line(runs: Sequence[Mapping[str, Any]]) -> str:
    """The last run of a task."""
    times = f"(the last of {len(runs)} runs)" if len(runs) > 1 else ""
    return f"{outcome(runs[-1])}  {times}".rstrip()


def outcome(run: Mapping[str, Any]) -> str:
    """One line on how a task run ended and what it gave."""
    value = run.get("value")
    shown = _command(value) if isinstance(value, dict) and "exitCode" in value else json.dumps(value, ensure_ascii=False)
    failed = f"Failure: {plain(str(run.get('error', '')))}  " if run["outcome"] != "Success" else ""
    return (failed + _short("" if failed and value is None else shown)).rstrip() or "-"


def _command(value: Mapping[str, Any]) -> str:
    """What a shell command printed."""
    text = value["stdout"] if value["exitCode"] == 0 else value["stderr"] or value["stdout"]
    return " | ".join(str(text).strip().splitlines())


def _short(text: str) -> str:
    text = plain(text)
    return text if len(text) <= _VALUE_LENGTH else text[: _VALUE_LENGTH - 1] + "…"


def _say(console: Console, line: str, style: str = "") -> None:
    console.print(Text(line, style), highlight=False, soft_wrap=True)
