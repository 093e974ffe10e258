"""An Experiment as the reconciler carries it through a pass: the object, its parsed spec, what its status said."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from unicorn_core.access import parsed
from unicorn_core.errors import Problem, Refused
from unicorn_core.naming import ANNOTATION_TAGS, ANNOTATION_USER
from unicorn_core.planning.views import Deadlines, Phase, Wish
from unicorn_core.resources import AllocationMode, ExperimentSpec, Share, WhenBusy, load

from unicorn_operator.cache import Object


@dataclass(frozen=True, slots=True)
class Subject:
    item: Object
    spec: ExperimentSpec | None  # None: it cannot be read; `problems` say why
    problems: tuple[Problem, ...]
    user: str
    tags: frozenset[str] | None = None  # access tags of the user; None: nobody knows who it is

    @property
    def uid(self) -> UUID:
        return UUID(self.item["metadata"]["uid"])

    @property
    def namespace(self) -> str:
        return str(self.item["metadata"]["namespace"])

    @property
    def name(self) -> str:
        return str(self.item["metadata"]["name"])

    @property
    def status(self) -> Mapping[str, Any]:
        return self.item.get("status") or {}

    @property
    def created(self) -> datetime:
        return moment_of(self.item["metadata"]["creationTimestamp"])

    @property
    def holder(self) -> str:
        """Who claims the slots of its nodes."""
        shared = self.spec is not None and self.spec.allocation.share is Share.SAME_USER
        return f"user:{self.user}" if shared and not self.user.startswith("namespace:") else f"experiment:{self.uid}"


def subject_of(item: Object, *, trust_user: bool) -> Subject:
    """`trust_user`: admission wrote the annotation; without it anybody could have, and the namespace stands for its users."""
    metadata = item["metadata"]
    annotations = (metadata.get("annotations") or {}) if trust_user else {}
    user = annotations.get(ANNOTATION_USER)
    tags = parsed(annotations.get(ANNOTATION_TAGS, "")) if user else None
    user = user or f"namespace:{metadata['namespace']}"
    try:
        return Subject(item, load(ExperimentSpec, item.get("spec") or {}), (), user, tags)
    except Refused as refused:
        return Subject(item, None, tuple(refused.problems), user, tags)


def wish_of(spec: ExperimentSpec | None, attempt: int, total: int) -> Wish:
    """The spec's terms, shares counted in executors of `total`. A spec that cannot be read wishes nothing special."""
    if spec is None:
        return Wish(attempt=attempt)
    times = spec.deadlines
    return Wish(
        desired=spec.desired_state,
        attempt=spec.attempt,
        deployments=len(spec.deployments),
        all_or_nothing=spec.allocation.mode is AllocationMode.ALL_OR_NOTHING,
        queue_when_busy=spec.allocation.when_busy is WhenBusy.QUEUE,
        together=spec.start.together,
        quorum=spec.start.quorum.of(total, round_up=True),
        tolerate=spec.failure_policy.tolerate.of(total, round_up=False),
        deadlines=Deadlines(times.allocate, times.prepare, times.hold, times.start, times.run, times.cleanup),
        ttl=None if spec.ttl_seconds_after_finished is None else timedelta(seconds=spec.ttl_seconds_after_finished),
    )


def phase_of(status: Mapping[str, Any]) -> Phase:
    return Phase(status.get("phase") or Phase.PENDING)


def moment_of(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def optional_moment(text: str | None) -> datetime | None:
    return moment_of(text) if text else None
