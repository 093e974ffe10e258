"""Builds of images: which are started, when one is over, and what that means for those who asked. Pure.

One build makes one platform of one content, for everybody who asks for it. It runs as a Job or a process, which may go missing.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from unicorn_core.errors import shorten
from unicorn_core.images import BuildReport, BuildResult
from unicorn_core.planning.retries import retry_delay
from unicorn_core.reasons import EnvironmentReason
from unicorn_core.text import last_lines

MESSAGE = 740  # characters: with the names of platform and environment before it, it is still shown to its end
MESSAGE_LINES, MESSAGE_LINE = 5, 100  # of the log
_WORKED, _WORKED_LONGEST = timedelta(seconds=15), timedelta(minutes=10)  # until a run that did work is repeated
TRIES = 3  # of a run that ends for no fault of its content: the builder broke, its pod was evicted


class BuildState(StrEnum):
    WAITING = "Waiting"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


@dataclass(frozen=True, slots=True)
class Build:
    """As one who asks for it sees it."""

    hash: str
    platform: str
    state: BuildState
    run: int = 0
    image: str = ""  # repository@digest; of an earlier run while another is under way
    size: int = 0  # of its manifest
    media_type: str = ""
    renewal: bool = False  # the asker wants an image that was made after its token came
    honoured: bool = True  # a run for that token has ended
    reason: str = ""
    message: str = ""
    step: str = ""  # 3/7 title
    report: Mapping[str, Any] | None = None  # what the last run said at its end
    started: datetime | None = None
    finished: datetime | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """Somebody who waits for a build."""

    requester: UUID
    namespace: str
    base: str = ""  # repository@digest, as they named it; empty: as the build's inputs do
    pull_secret: str = ""  # with which they pull that
    recent: bool = False  # it asked just now: its object may not show yet that it waits


@dataclass(frozen=True, slots=True)
class OpenBuild:
    """One that waits for its turn or runs, as the one who runs it sees it."""

    hash: str
    platform: str
    namespace: str  # by whose share it runs
    state: BuildState
    requested: datetime
    not_before: datetime
    run: int = 0
    tries: int = 0  # that the builder broke or went away
    waits: int = 0  # that it was put off for anything else
    fresh: bool = False  # without any cache
    image: str = ""
    reason: str = ""
    message: str = ""
    step: str = ""
    started: datetime | None = None
    layers: tuple[str, ...] = ()  # what its steps leave, in order: builds that begin alike have the first of them in common
    requests: tuple[Request, ...] = ()

    @property
    def done(self) -> tuple[str, ...]:
        """The layers that its run has passed, as far as it says."""
        number = self.step.partition("/")[0]
        return self.layers[: int(number) - 1] if self.state is BuildState.RUNNING and number.isdecimal() else ()


# --- which are started ---------------------------------------------------------------------------------------------------


def next_builds(builds: Collection[OpenBuild], limit: int, now: datetime, done: Set[str] = frozenset()) -> list[OpenBuild]:
    """Those to start now: at most `limit` run at once; who has the fewest running comes first, then who asked first.

    One whose first layers another one is just making waits for those: it will find them instead of making them too. `done`:
    layers that are made already, of which there may be very many: a set.
    """
    running = [one for one in builds if one.state is BuildState.RUNNING]
    shares = Counter(one.namespace for one in running)
    waiting = [one for one in builds if one.state is BuildState.WAITING and one.not_before <= now]
    chosen: list[OpenBuild] = []
    while waiting and len(running) + len(chosen) < limit:
        best = min(waiting, key=lambda one: (shares[one.namespace], one.requested, one.hash))
        waiting.remove(best)
        if best.fresh or not any(_makes_for(other, best, done) for other in (*running, *chosen)):
            shares[best.namespace] += 1
            chosen.append(best)
    return chosen


def _makes_for(other: OpenBuild, build: OpenBuild, done: Set[str]) -> bool:
    """Whether `other` is about to make a layer that `build` begins with."""
    passed = other.done
    shared = [mine for mine, its in zip(build.layers, other.layers, strict=False) if mine == its]
    return not other.fresh and any(layer not in passed and layer not in done for layer in shared)


def bases(build: OpenBuild) -> list[Request]:
    """From where its base may be pulled, one request for each way, in the order in which they are to be tried."""
    found: dict[tuple[str, str, str], Request] = {}
    for one in build.requests:
        found.setdefault((one.base, one.namespace, one.pull_secret), one)
    ways = list(found.values())
    first = build.waits % len(ways) if ways else 0
    return ways[first:] + ways[:first]


# --- when one is over ----------------------------------------------------------------------------------------------------


class Stage(StrEnum):
    """Of a Job or process, as its builder sees it."""

    ABSENT = "Absent"
    PENDING = "Pending"  # not running yet; `why` may say what holds it up
    RUNNING = "Running"
    ENDED = "Ended"


@dataclass(frozen=True, slots=True)
class Seen:
    stage: Stage
    report: BuildReport | None = None  # of one that has ended; None: it ended without a word
    why: str = ""
    step: str = ""  # how far it is; empty: not known


@dataclass(frozen=True, slots=True)
class Keep:
    """Nothing but its progress."""

    step: str = ""
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Begin:
    """Its Job or process is gone, or was never made: make it, under the same name. Its time begins anew."""


@dataclass(frozen=True, slots=True)
class Finish:
    state: BuildState
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Postpone:
    """Into the queue again."""

    delay: timedelta
    reason: str
    message: str
    broken: bool = False  # by a fault of the builder's: so it goes on for a few times only


Step = Keep | Begin | Finish | Postpone


def judge_run(build: OpenBuild, seen: Seen, wanted: bool, now: datetime, deadline: timedelta) -> Step:
    """What is to be done about a run under way."""
    if seen.stage is Stage.ENDED:
        return _judge_end(build, seen)
    if not wanted:
        return Finish(BuildState.CANCELLED, EnvironmentReason.BUILD_CANCELLED, "nobody waits for it any more")
    if seen.stage is Stage.ABSENT:  # also one that ended long ago, while the operator was away
        if build.tries < TRIES:
            return Begin()
        return Finish(BuildState.FAILED, EnvironmentReason.BUILDER_BROKEN, f"its builder went away {TRIES} times")
    if build.started is not None and now >= build.started + deadline:
        where = build.step or seen.step
        message = f"it did not end within {_text(deadline)}" + (f"; it had come to step {where}" if where else "")
        return Finish(BuildState.FAILED, EnvironmentReason.BUILD_DEADLINE_EXCEEDED, message)
    if seen.stage is Stage.PENDING and seen.why:
        return Keep(build.step, EnvironmentReason.BUILDER_WAITING, seen.why)
    return Keep(seen.step or build.step)


def _judge_end(build: OpenBuild, seen: Seen) -> Step:
    report = seen.report
    if report is None or report.result in (BuildResult.BROKEN, BuildResult.STOPPED):
        message = (report.message if report else "") or seen.why or "it ended without a report"
        if build.tries < TRIES:
            return Postpone(_pause(build, seen, build.tries), EnvironmentReason.BUILDER_BROKEN, message, broken=True)
        return Finish(BuildState.FAILED, EnvironmentReason.BUILDER_BROKEN, message)
    if report.result is BuildResult.BUILT:
        return Finish(BuildState.SUCCEEDED)
    if report.result is BuildResult.REGISTRY_UNREACHABLE:
        return Postpone(_pause(build, seen, build.waits), EnvironmentReason.REGISTRY_UNREACHABLE, report.message)
    if report.result is BuildResult.PUSH_REFUSED:
        return Postpone(_pause(build, seen, build.waits), EnvironmentReason.REGISTRY_UNAUTHORIZED, report.message)
    if report.result in _OF_THE_BASE and _another_way_is_left(build):
        return Postpone(retry_delay(0), REASONS_OF_RESULTS[report.result], message_of(report))
    return Finish(BuildState.FAILED, REASONS_OF_RESULTS[report.result], message_of(report))


def _pause(build: OpenBuild, seen: Seen, times: int) -> timedelta:
    """The more a run has done for nothing, the longer until the next."""
    worked = seen.report.step > 0 if seen.report else bool(build.step or seen.step)
    return min(_WORKED * (1 << min(times, 10)), _WORKED_LONGEST) if worked else retry_delay(times)


def _another_way_is_left(build: OpenBuild) -> bool:
    ways = len(bases(build))
    return ways > 1 and build.waits % ways < ways - 1


_OF_THE_BASE = (BuildResult.BASE_NOT_FOUND, BuildResult.REGISTRY_REFUSED)

REASONS_OF_RESULTS = {
    BuildResult.COMMAND_FAILED: EnvironmentReason.BUILD_FAILED,
    BuildResult.PYTHON_MISSING: EnvironmentReason.PYTHON_MISSING,
    BuildResult.PLATFORM_NOT_BUILDABLE: EnvironmentReason.PLATFORM_NOT_BUILDABLE,
    BuildResult.BASE_NOT_FOUND: EnvironmentReason.IMAGE_NOT_FOUND,
    BuildResult.REGISTRY_REFUSED: EnvironmentReason.REGISTRY_REFUSED,
}


def message_of(report: BuildReport) -> str:
    """What failed, and how its log ends: the very last line is what people look for."""
    where = f"step {report.step} ({report.title}) failed" if report.step else ""
    code = f"exit code {report.exit_code}" if report.exit_code is not None else ""
    head = ": ".join(part for part in (where, report.message or code) if part)
    said = [line.strip() for line in report.tail if line.strip()]
    tail = " | ".join(last_lines(said, MESSAGE_LINES, MESSAGE_LINE))
    end = f"; its log ends: {tail}" if tail else ""
    return shorten(head, MESSAGE - len(end)) + end


# --- what that means for those who asked ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ready:
    """`images`: platform -> repository@digest."""

    images: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class NotYet:
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Hopeless:
    """Nothing comes of it unless somebody changes or asks for something."""

    reason: str
    message: str


Verdict = Ready | NotYet | Hopeless


def judge_builds(builds: Sequence[Build]) -> Verdict:
    """Of all platforms of a content. One that failed fails it; an image of before serves whoever asks for no other."""
    if failed := [one for one in builds if one.state is BuildState.FAILED and one.honoured and not _serves(one)]:
        one = failed[0]
        return Hopeless(one.reason, f"{one.platform}: {one.message}" if len(builds) > 1 else one.message)
    if missing := [one for one in builds if not _serves(one)]:
        return NotYet(EnvironmentReason.BUILDING, "; ".join(_progress(one, len(builds) > 1) for one in missing))
    return Ready({one.platform: one.image for one in builds})


def _serves(build: Build) -> bool:
    """Whether its image is what was asked for."""
    if not build.image:
        return False
    return not build.renewal or (build.honoured and build.state is not BuildState.FAILED)


def _progress(build: Build, name_platform: bool) -> str:
    text = {
        BuildState.RUNNING: f"step {build.step}" if build.step else "its builder starts",
        BuildState.WAITING: "waits for its turn",
    }.get(build.state, "is asked for again")
    if build.message:
        text += f" ({build.reason}: {build.message})"
    name = f"build {build.hash[:12]}"
    return f"{name} for {build.platform}: {text}" if name_platform else f"{name}: {text}"


def _text(span: timedelta) -> str:
    seconds = int(span.total_seconds())
    return f"{seconds // 60} min" if seconds >= 120 and not seconds % 60 else f"{seconds} s"
