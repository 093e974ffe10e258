"""The errors of this project. Their type says what happens next; one place in the operator maps them.

UnicornError
├── Waiting   not now: try again after `retry_after`; its reason is shown as a condition
├── Refused   the user must change something: `path`, `value`, `expected`
└── Broken    a foreign failure, raised from its cause: retried with back-off
    └── NotFound, Conflict, StoreUnavailable, ApiUnavailable
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any


class UnicornError(Exception):
    """The root: nothing else leaves a room of ours."""

    reason = "Error"


class Waiting(UnicornError):
    """Not now; try again after `retry_after`. Shown as the condition's reason."""

    def __init__(self, reason: str, message: str, retry_after: timedelta = timedelta(seconds=5)) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with what a user wrote."""

    path: str  # as in the manifest: spec.deployments[0].nodes.count
    message: str  # what is wrong
    expected: str = ""  # what would be right
    value: Any = None  # what stands there; shown shortened
    reason: str = "Invalid"  # what a status says where this is the only kind of problem

    def __str__(self) -> str:
        shown = "" if self.value is None else f" (found {shorten(repr(self.value), 80)})"
        return f"{self.path}: {self.message}{shown}" + (f"; {self.expected}" if self.expected else "")


class Refused(UnicornError):
    """The user must change something."""

    def __init__(self, problems: Problem | list[Problem], reason: str = "Invalid") -> None:
        self.problems = [problems] if isinstance(problems, Problem) else list(problems)
        self.reason = reason
        super().__init__("; ".join(map(str, self.problems)))


class Broken(UnicornError):
    """A foreign failure, raised from its cause. Retried with back-off."""

    reason = "Broken"


class StoreUnavailable(Broken):
    """PostgreSQL cannot be reached or refuses work for now."""

    reason = "DatabaseUnavailable"


class ApiUnavailable(Broken):
    """The Kubernetes API cannot be reached, is overloaded or failed by itself. `retry_after`: what it asked for, if anything."""

    reason = "KubernetesApiUnavailable"

    def __init__(self, message: str, retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ApiRefused(Broken):
    """The Kubernetes API understood and said no (4xx other than 404, 409, 429)."""

    reason = "KubernetesApiRefused"

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class NotFound(Broken):
    """What was named is not there."""

    reason = "NotFound"


class Conflict(Broken):
    """Somebody else changed it first; look again."""

    reason = "Conflict"


def shorten(text: str, limit: int) -> str:
    """At most `limit` characters; what is cut shows as an ellipsis."""
    return text if len(text) <= limit else text[: limit - 1] + "…"
