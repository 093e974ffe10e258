"""A task's process, from its fork to its end: its file descriptors, its environment, what it runs, and its report."""

from __future__ import annotations

import base64
import importlib
import io
import json
import linecache
import os
import pickle
import signal
import sys
import threading
import traceback
import types
from collections.abc import Sequence
from typing import Any, NoReturn

from unicorn_executor import client_graph, processes, values
from unicorn_executor.channel import PROCESS, RESULT, write_frame
from unicorn_executor.previous import Previous
from unicorn_executor.values import Failed, failure, print_traceback, raised


class NotRunnable(Exception):
    """The task names something that is not here."""


def become(fds: Sequence[int], inherited: Sequence[int], previous: Previous) -> NoReturn:
    """Makes a fresh fork of the worker the process of a task. `fds`: input, stdout, stderr, report; `inherited` are closed."""
    status = 70
    try:
        status = _run(fds, inherited, previous)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _run(fds: Sequence[int], inherited: Sequence[int], previous: Previous) -> int:
    source, stdout, stderr, report = fds
    os.setsid()
    for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    _redirect(stdout, stderr)
    for fd in (*inherited, stdout, stderr):
        os.close(fd)
    write_frame(report, PROCESS, os.getpid())
    with open(source, "rb") as file:
        order = json.load(file)
    previous.refresh()
    os.environ.update(order["environment"])
    if "run" in order["task"]:
        return _execute(order["task"]["run"], report)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # as Python has it
    processes.adopt_orphans()
    own = os.getpid()
    result, pickled = _perform(order, previous)
    result = client_graph.without_token(result)
    _finish_threads()
    if os.getpid() != own:  # a fork of the task's that came back to here: its end is not the task's
        sys.stdout.flush()
        sys.stderr.flush()
        return int(result["outcome"] != "Success")
    sys.stdout.flush()
    sys.stderr.flush()
    write_frame(report, RESULT, result, pickled)
    return 0


def _redirect(stdout: int, stderr: int) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    os.close(nothing)
    # By lines, so that a log is read while it is written.
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), "utf-8", "backslashreplace", line_buffering=True)
    sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), "utf-8", "backslashreplace", line_buffering=True)


def _execute(command: str, report: int) -> int:
    try:
        os.execv("/bin/sh", ["/bin/sh", "-c", command])  # noqa: S606
    except OSError as error:
        write_frame(report, RESULT, failure(f"/bin/sh cannot be run: {error.strerror}", "NotRunnable"))
        return 127


def _perform(order: dict[str, Any], previous: Previous) -> tuple[dict[str, Any], bytes]:
    try:
        if "serialized" in order["task"]:
            return client_graph.perform(order["task"]["serialized"], previous)
        value = _script(order, previous) if "script" in order["task"] else _python(order["task"]["python"], previous)
        return _success(value)
    except NotRunnable as error:
        return failure(str(error), "NotRunnable"), b""
    except Failed as error:
        return failure(str(error), error.reason), b""
    except SystemExit as error:
        return failure(f"exit code {error.code}", "NonZeroExit"), b""
    except BaseException as error:
        print_traceback(error)
        return failure(raised(error), "Exception"), b""


def _script(order: dict[str, Any], previous: Previous) -> Any:
    source, name = order["task"]["script"], f"<script {order['name']}>"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)  # tracebacks show its lines
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module  # so that dataclasses and pickle find what the script defines
    names = vars(module)
    names.update(executor=order["executor"], result=None, __builtins__=__builtins__)
    if "previous" in source:
        names["previous"] = previous.results()
    try:
        exec(compile(source, name, "exec"), names)  # noqa: S102 - this is what a script task is
    except SystemExit as end:
        if end.code not in (None, 0):
            raise
    return names.get("result")


def _python(task: dict[str, Any], previous: Previous) -> Any:
    found = _load(task["object"])
    args, kwargs = task.get("args") or [], task.get("kwargs") or {}
    made = found(*args, **kwargs)
    if not isinstance(found, type):
        return _unwrapped(made)
    _give_previous(made, previous)
    run = getattr(made, "run", None)
    if callable(run):
        return _unwrapped(run())
    return _unwrapped(made() if callable(made) else made)


def _load(path: str) -> Any:
    module_name, _, qualname = path.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:  # a module may raise anything while it is imported
        print_traceback(error)
        raise NotRunnable(f"{path}: {module_name} cannot be imported: {type(error).__name__}: {error}") from error
    for part in qualname.split("."):
        if not hasattr(found, part):
            raise NotRunnable(f"{path}: there is no {part} in {getattr(found, '__name__', module_name)}")
        found = getattr(found, part)
    if not callable(found):
        raise NotRunnable(f"{path} is neither a class nor a function")
    return found


def _give_previous(instance: Any, previous: Previous) -> None:
    """A netunicorn Task reads `previous_steps`: task -> list of `returns` results there, of our entries elsewhere."""
    results: dict[str, list[Any]] = dict(previous.results())
    returns = sys.modules.get("returns.result")
    if returns is not None and hasattr(type(instance), "previous_steps"):
        for task, entries in results.items():
            results[task] = [
                returns.Success(entry["value"]) if entry["outcome"] == "Success" else returns.Failure(entry["error"])
                for entry in entries
            ]
    try:
        instance.previous_steps = results
    except (AttributeError, TypeError):
        pass  # it has slots, or is frozen: it doesn't want them


def _unwrapped(value: Any) -> Any:
    """The value of a `returns` Success; Failed for a Failure."""
    returns = sys.modules.get("returns.result")
    if returns is None or not isinstance(value, returns.Result):
        return value
    if isinstance(value, returns.Success):
        return value.unwrap()
    raise Failed(str(value.failure()))


def _success(value: Any) -> tuple[dict[str, Any], bytes]:
    """The report, and the value pickled where JSON would lose something of it."""
    report, is_exact = values.success(value)
    return report, b"" if is_exact else _pickled(value)


def _pickled(value: Any) -> bytes:
    try:
        pickled = pickle.dumps(value)
        return base64.b64encode(pickled) if len(pickled) <= values.LARGEST_VALUE else b""
    except Exception:
        return b""


def _finish_threads() -> None:
    """A task has ended when its threads have, as with any Python program."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
