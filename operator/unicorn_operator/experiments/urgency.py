"""How urgent the write of an experiment's status is. Pure.

A write costs the API server, etcd, PostgreSQL and whoever watches. What people or the user API wait for is written at once; what
the next pass will have changed need not be written at all.
"""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from enum import Enum
from typing import Any

from unicorn_core.planning.views import FINAL_PHASES, FINAL_STATES, Phase, State


class Urgency(Enum):
    AT_ONCE = "AtOnce"
    PASSING = "Passing"  # a phase on the way to the end: shown when it lasts
    ENDED = "Ended"  # all executors have ended, and only what is left of them is waited for: so is this, with more patience
    PROGRESS = "Progress"  # nothing but how far the executors are, or what they wait for


DELAYS = {Urgency.PASSING: timedelta(seconds=1), Urgency.ENDED: timedelta(seconds=3)}

_ON_THE_WAY = frozenset({Phase.PENDING, Phase.ALLOCATING, Phase.PREPARING, Phase.STARTING, Phase.RUNNING})
_PASSING = frozenset({Phase.PREPARING, Phase.STARTING, Phase.RUNNING})


def urgency(old: Mapping[str, Any], new: Mapping[str, Any], states: Iterable[State]) -> Urgency:
    """Of the change from status `old` (empty: nothing was written yet) to `new`, with the executors in `states`."""
    before, phase = Phase(old.get("phase") or Phase.PENDING), Phase(new["phase"])
    if old and phase is before:
        is_progress = phase not in FINAL_PHASES and _said(old) == _said(new)
        return Urgency.PROGRESS if is_progress else Urgency.AT_ONCE
    if before not in _ON_THE_WAY:
        return Urgency.AT_ONCE
    if phase in _PASSING:
        return Urgency.PASSING
    # That executors are stopped is a decision, which a later pass must find; that all have ended, it finds again.
    has_ended = phase is Phase.FINISHING and all(state in FINAL_STATES for state in states)
    return Urgency.ENDED if has_ended else Urgency.AT_ONCE


def _said(status: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    return {entry["type"]: (entry["status"], entry["reason"]) for entry in status.get("conditions") or ()}
