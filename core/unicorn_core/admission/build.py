"""Rules for what an image is built from. What passes here is taken literally by the builder."""

import posixpath
import re
from collections.abc import Iterable
from itertools import pairwise

from unicorn_core.admission.shapes import used_once
from unicorn_core.errors import Problem
from unicorn_core.images import AGENT_FILE
from unicorn_core.resources.environment import BuildSpec

LAYERS = 100  # of commands: container runtimes take about 125 of all steps and the base together
COMMANDS_BYTES = 256 * 1024  # they travel to the builder in one object
_COMMAND_BYTES = 96 * 1024  # the kernel takes arguments of at most 128 KiB
_NAME_BYTES = 255
_APT = re.compile(r"[a-z0-9][a-z0-9+.-]*[a-z0-9+.](?::[a-z0-9-]*[a-z0-9])?(?:=[A-Za-z0-9.+:~-]+)?")
_HIDDEN = ("/dev", "/proc", "/sys")
_OURS = posixpath.dirname(AGENT_FILE)


def check_build(build: BuildSpec, at: str) -> list[Problem]:
    """All but the base's name."""
    return [
        *_apt(build.apt, f"{at}.apt"),
        *_pip(build.pip, f"{at}.pip"),
        *_files([file.path for file in build.files], f"{at}.files"),
        *_commands(build.commands, f"{at}.commands"),
    ]


def _apt(names: Iterable[str], at: str) -> Iterable[Problem]:
    """A hyphen at the end would mean: remove it."""
    for index, name in enumerate(names):
        if not _APT.fullmatch(name):
            yield Problem(f"{at}[{index}]", "is not a Debian package", "write iperf3, or iperf3=3.12-1", name)


def _pip(names: Iterable[str], at: str) -> Iterable[Problem]:
    for index, name in enumerate(names):
        if name.startswith("-") or name != name.strip() or not name.isprintable():
            yield Problem(f"{at}[{index}]", "is not a Python package", "write requests, or requests==2.32.0", name)


def _commands(commands: tuple[str, ...], at: str) -> Iterable[Problem]:
    if len(commands) > LAYERS:
        yield Problem(at, "are too many, as each is a layer", f"write at most {LAYERS}; join some by &&", len(commands))
    if (size := sum(len(command.encode()) for command in commands)) > COMMANDS_BYTES:
        yield Problem(at, "are too long together", f"write at most {COMMANDS_BYTES} bytes; put scripts into files", size)
    for index, command in enumerate(commands):
        if "\0" in command:
            yield Problem(f"{at}[{index}]", "holds a NUL character", "remove it")
        if (size := len(command.encode())) > _COMMAND_BYTES:
            yield Problem(f"{at}[{index}]", "is too long", f"write at most {_COMMAND_BYTES} bytes; put a script into files", size)


def _files(paths: list[str], at: str) -> Iterable[Problem]:
    for index, path in enumerate(paths):
        if problem := _file(path, f"{at}[{index}].path"):
            yield problem
    yield from used_once(((f"{at}[{index}].path", path) for index, path in enumerate(paths)), "path")
    places = sorted((f"{path}/", index) for index, path in enumerate(paths))
    for (above, _), (below, index) in pairwise(places):
        if below.startswith(above) and below != above:
            yield Problem(f"{at}[{index}].path", f"lies below the file {above[:-1]!r}", "choose another", paths[index])


def _file(path: str, at: str) -> Problem | None:
    if ".." in path.split("/"):
        return Problem(at, "leads upwards", "write the path without ..", path)
    if path != posixpath.normpath(path) or path.startswith("//") or path == "/":
        return Problem(at, "is not the plain path of a file", "write it without ., doubled slashes and a slash at its end", path)
    if "\0" in path or any(len(name.encode()) > _NAME_BYTES for name in path.split("/")):
        return Problem(at, "is no name for a file", f"write at most {_NAME_BYTES} bytes between slashes, and no NUL", path)
    if path.startswith(tuple(f"{place}/" for place in _HIDDEN)) or path in _HIDDEN:
        return Problem(
            at, "would be hidden by what the kernel shows there", "choose a place outside of /dev, /proc and /sys", path
        )
    if path == _OURS or path.startswith(f"{_OURS}/"):
        return Problem(at, "is where the executor lies", f"choose a place outside of {_OURS}", path)
    return None
