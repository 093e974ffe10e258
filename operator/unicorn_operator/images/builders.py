"""What a builder must do. Two do: `job` and `local`. A run is known by its name, before and after a restart of ours."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import ClassVar, Protocol

from unicorn_core.planning.builds import OpenBuild, Seen

LOG_LIMIT = 8 << 20  # bytes of a log that are kept: its beginning, and its end
LOG_END_LINES = 2000
MARK = "unicorn: "  # begins lines of the builder's own in a log
_STEP = f"{MARK}step "


@dataclass(frozen=True, slots=True)
class BuildOrder:
    """One run of one build."""

    name: str  # a DNS label
    platform: str
    context: Mapping[str, bytes]  # files with flat names
    credentials: bytes = field(default=b"", repr=False)  # dockerconfigjson: to push, and to pull the base


class Builder(Protocol):
    """Each verb may be repeated. Raises Waiting, Refused, Broken."""

    look_every: ClassVar[timedelta]  # while builds run

    async def start(self, order: BuildOrder) -> None:
        """Make it, unless it is there."""

    async def look(self, names: Collection[str]) -> Mapping[str, Seen]:
        """How each of these is."""

    async def log(self, name: str) -> str:
        """All that it has said so far, or its beginning and its end; empty when there is nothing to be read."""

    async def remove(self, name: str) -> None:
        """End it, if it runs, and take it away with all that belongs to it."""

    async def sweep(self, keep: Collection[str]) -> None:
        """Remove all others of ours."""

    async def close(self) -> None:
        """The operator ends. What can run on without it does."""


def name_of(build: OpenBuild) -> str:
    return run_name(build.hash, build.run)


def run_name(hash: str, run: int) -> str:
    """A DNS label with room for a pod's suffix."""
    return f"unicorn-build-{hash[:32]}-{run}"


def log_of_last_step(log: str) -> list[str]:
    """What was said since the last step mark, without the builder's own lines."""
    lines = log.splitlines()
    begins = max((number for number, line in enumerate(lines) if line.startswith(_STEP)), default=-1)
    return [line for line in lines[begins + 1 :] if not line.startswith(MARK)]


def step_in(log: str) -> str:
    """The last step mark of this piece of a log: `3/7 title`; empty when there is none."""
    marks = [line for line in log.splitlines() if line.startswith(_STEP)]
    return marks[-1].removeprefix(_STEP)[:256] if marks else ""
