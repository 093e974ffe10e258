"""The conditions of an Experiment, as they follow from what was observed and from where the plan stands."""

from collections.abc import Mapping, Sequence
from typing import Any

from unicorn_core.planning.views import FINAL_PHASES, Observed, Phase, State

ORDER = (Phase.PENDING, Phase.ALLOCATING, Phase.PREPARING, Phase.READY, Phase.STARTING, Phase.RUNNING)

# condition -> the phase that it lets us leave
GATES = {
    "Accepted": Phase.PENDING,
    "Allocated": Phase.ALLOCATING,
    "EnvironmentsReady": Phase.PREPARING,
    "Prepared": Phase.PREPARING,
    "Started": Phase.STARTING,
}


def condition(kind: str, status: str, reason: str, message: str = "") -> Mapping[str, Any]:
    return {"type": kind, "status": status, "reason": reason, "message": message}


def gate_conditions(observed: Observed, phase: Phase, *, waits: Mapping[str, tuple[str, str]]) -> list[Mapping[str, Any]]:
    """Accepted … Started. A gate behind us is True, the one we stand at is False with its reason, those ahead are absent.

    `waits`: condition -> (reason, message) of what holds it open. Once the attempt is finishing, the gates stay as they were.
    """
    if phase is Phase.FINISHING or phase in FINAL_PHASES:
        kept = {entry["type"]: entry for entry in observed.conditions if entry["type"] in GATES}
        for kind, (reason, message) in waits.items():
            kept[kind] = condition(kind, "False", reason, message)
        return [kept[kind] for kind in (*GATES, "CleanedUp") if kind in kept]
    at = ORDER.index(phase)
    found: list[Mapping[str, Any]] = []
    for kind, gate in GATES.items():
        if kind in waits:
            found.append(condition(kind, "False", *waits[kind]))
        elif ORDER.index(gate) < at or (kind == "EnvironmentsReady" and ORDER.index(gate) <= at):
            found.append(condition(kind, "True", kind))
        elif ORDER.index(gate) == at:
            found.append(condition(kind, "False", "InProgress"))
    return found


def end_conditions(phase: Phase, reason: str, message: str, orphans: int) -> list[Mapping[str, Any]]:
    """CleanedUp once the end is reached; Complete only on success, Failed only otherwise, as on a Job."""
    if phase not in FINAL_PHASES:
        return []
    cleaned = (
        condition("CleanedUp", "False", "OrphansRecorded", f"{orphans} executors could not be shown to be gone")
        if orphans
        else condition("CleanedUp", "True", "CleanedUp")
    )
    end = (
        condition("Complete", "True", reason, message)
        if phase is Phase.SUCCEEDED
        else condition("Failed", "True", reason, message)
    )
    return [cleaned, end]


def count_states(states: Sequence[State]) -> dict[str, int]:
    """`status.executors`: a count for each state that occurs; they sum to `total`."""
    counts = {"total": len(states)}
    for state in State:
        if number := sum(1 for one in states if one is state):
            counts[state[0].lower() + state[1:]] = number
    return counts
