"""Processes that a command leaves behind, and ending all of ours."""

import ctypes
import os
import signal
from collections.abc import Collection
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """What a command leaves running becomes our child, not init's: so it can be found."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_children(keep: Collection[int] = ()) -> None:
    """Kill our children and theirs, whatever they did to their groups and sessions; `keep`: children who stay, with theirs."""
    while strangers := [child for child in _children().get(os.getpid(), []) if child not in keep]:
        for child in strangers:
            _kill_tree(child)
        for child in strangers:
            try:
                os.waitpid(child, 0)
            except ChildProcessError:  # waited for by who started it
                pass


def descendants(of: int) -> list[int]:
    children = _children()
    found = list(children.get(of, []))
    for pid in found:  # grows as it is walked
        found += children.get(pid, [])
    return found


def _kill_tree(top: int) -> None:
    """Its descendants become our children when it is gone: the next round finds what escaped this one."""
    for pid in [top, *descendants(top)]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def _children() -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[1])
            except (OSError, IndexError):  # gone meanwhile
                continue
            found.setdefault(parent, []).append(int(entry.name))
    return found
