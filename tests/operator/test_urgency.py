"""Which writes of an experiment's status may wait, and for how long."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from unicorn_core.planning.views import State
from unicorn_operator.experiments.urgency import Urgency, urgency
from unicorn_operator.key import Key
from unicorn_operator.pace import Pace

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
KEY = Key("Experiment", "lab", "e")
PREPARED = {"type": "Prepared", "status": "False", "reason": "Pending"}
REFUSED = {"type": "Prepared", "status": "False", "reason": "PullFailed"}
ENDED, RUNS, LOST = [State.SUCCEEDED, State.FAILED], [State.SUCCEEDED, State.RUNNING], [State.SUCCEEDED, State.LOST]


def said(phase: str, *conditions: dict[str, Any]) -> dict[str, Any]:
    return {"phase": phase, "conditions": list(conditions)}


@pytest.mark.parametrize(
    ("old", "new", "states", "expected"),
    [
        ({}, said("Preparing"), [], Urgency.PASSING),
        ({}, said("Pending"), [], Urgency.AT_ONCE),
        ({}, said("Allocating"), [], Urgency.AT_ONCE),
        ({}, said("Ready"), [], Urgency.AT_ONCE),
        ({}, said("Succeeded"), ENDED, Urgency.AT_ONCE),
        (said("Pending"), said("Starting"), [], Urgency.PASSING),
        (said("Ready"), said("Starting"), [], Urgency.AT_ONCE),
        (said("Starting"), said("Running"), RUNS, Urgency.PASSING),
        (said("Running"), said("Finishing"), ENDED, Urgency.ENDED),
        (said("Running"), said("Finishing"), RUNS, Urgency.AT_ONCE),
        (said("Running"), said("Finishing"), LOST, Urgency.AT_ONCE),
        (said("Finishing"), said("Failed"), ENDED, Urgency.AT_ONCE),
        (said("Running"), said("Succeeded"), ENDED, Urgency.AT_ONCE),
        (said("Succeeded"), said("Starting"), [], Urgency.AT_ONCE),
        (said("Preparing", PREPARED), said("Preparing", PREPARED), RUNS, Urgency.PROGRESS),
        (said("Preparing", PREPARED), said("Preparing", REFUSED), RUNS, Urgency.AT_ONCE),
        (said("Failed"), said("Failed"), ENDED, Urgency.AT_ONCE),
    ],
    ids=lambda value: value.get("phase", "new") if isinstance(value, dict) else None,
)
def test_how_urgent_a_change_is(old: dict[str, Any], new: dict[str, Any], states: list[State], expected: Urgency) -> None:
    assert urgency(old, new, states) is expected


def test_what_is_not_urgent_waits_from_when_it_came_up_or_from_the_last_write() -> None:
    pace, delay = Pace(interval=timedelta(seconds=1)), timedelta(milliseconds=500)
    later = NOON + timedelta(milliseconds=400)
    assert pace.interval_left(KEY, NOON) <= timedelta(), "nothing was written yet"
    assert pace.delay_left(KEY, NOON, delay) == timedelta(milliseconds=500)
    assert pace.delay_left(KEY, later, delay) == timedelta(milliseconds=100), "another pass does not begin it anew"
    assert pace.delay_left(KEY, later, 2 * delay) == timedelta(milliseconds=600), "nor does another patience"

    pace.wrote(KEY, later)
    assert pace.interval_left(KEY, later) == timedelta(seconds=1)
    assert pace.delay_left(KEY, later, delay) == timedelta(milliseconds=500), "a write ends the delay"

    pace.forget(KEY)
    assert pace.interval_left(KEY, later) <= timedelta()
