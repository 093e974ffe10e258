"""What follows from a pass: the one place that maps errors to what happens next."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from unicorn_core.errors import ApiUnavailable, Broken, Conflict, Problem, Refused, Waiting
from unicorn_operator.key import Key
from unicorn_operator.queue import Backoff, WorkQueue
from unicorn_operator.workers import one_pass, work

KEY = Key("Experiment", "default", "a")
SECOND = timedelta(seconds=1)


class Recorder(WorkQueue):
    """Notes what it is asked for later, and has no timers."""

    def __init__(self) -> None:
        super().__init__(Backoff(first=SECOND, longest=8 * SECOND, chance=lambda: 0.0))
        self.later: list[timedelta] = []

    def add_after(self, key: Key, delay: timedelta) -> None:
        self.later.append(delay)


def raising(error: Exception) -> Callable[..., Awaitable[timedelta | None]]:
    async def reconcile(*_: Any) -> timedelta | None:
        raise error

    return reconcile


def returning(answer: timedelta | None) -> Callable[..., Awaitable[timedelta | None]]:
    async def reconcile(*_: Any) -> timedelta | None:
        return answer

    return reconcile


@pytest.mark.parametrize(
    ("reconcile", "outcome", "later", "failures"),
    [
        (returning(None), "Done", [], 0),
        (returning(7 * SECOND), "Done", [7 * SECOND], 0),
        (raising(Waiting("NotYet", "wait", 9 * SECOND)), "Waiting", [9 * SECOND], 0),
        (raising(Refused(Problem("spec", "wrong"))), "Refused", [SECOND], 1),
        (raising(Broken("down")), "Broken", [SECOND], 1),
        (raising(ApiUnavailable("overloaded", 30 * SECOND)), "Broken", [30 * SECOND], 1),
        (raising(Conflict("changed")), "Conflict", [SECOND], 1),
        (raising(KeyError("a fault of ours")), "Fault", [SECOND], 1),
    ],
)
async def test_the_type_of_an_error_says_what_happens_next(reconcile, outcome, later, failures):
    queue = Recorder()
    world = SimpleNamespace(queue=queue, now=lambda: datetime.now(UTC))
    assert await one_pass(KEY, world, {"Experiment": reconcile}) == outcome
    assert queue.later == later
    assert queue.failures(KEY) == failures


async def test_success_ends_a_row_of_failures():
    queue = Recorder()
    world = SimpleNamespace(queue=queue, now=lambda: datetime.now(UTC))
    for _ in range(3):
        await one_pass(KEY, world, {"Experiment": raising(Broken("down"))})
    await one_pass(KEY, world, {"Experiment": returning(None)})
    assert queue.failures(KEY) == 0


async def test_a_worker_outlives_every_error_and_ends_with_the_queue():
    queue, passes = Recorder(), []
    errors = [KeyError("x"), Broken("y"), Waiting("Z", "z")]

    async def reconcile(key: Key, *_: Any) -> timedelta | None:
        if errors:
            raise errors.pop()
        queue.close()
        return None

    world = SimpleNamespace(queue=queue, now=lambda: datetime.now(UTC))
    for number in range(4):
        queue.add(Key("Experiment", "default", str(number)))
    await work(world, {"Experiment": reconcile}, lambda kind, outcome, seconds: passes.append((kind, outcome)))
    assert passes == [("Experiment", outcome) for outcome in ("Waiting", "Broken", "Fault", "Done")]
    await queue.drained()


async def test_a_kind_without_a_reconciler_needs_none():
    assert await one_pass(Key("Pipeline", "default", "p"), SimpleNamespace(), {}) == "Done"
