"""The status of an Experiment as it follows from a plan: for `kubectl`, and for the mirror in PostgreSQL."""

from typing import Any

from unicorn_core.naming import executor_display
from unicorn_core.planning.conditions import condition, count_states
from unicorn_core.planning.views import SETTLED_STATES, Observed, Plan, State
from unicorn_core.text import plain

from unicorn_operator.experiments.subject import Subject
from unicorn_operator.status import moment

FAILURES_SHOWN = 20


def status_of(subject: Subject, observed: Observed, plan: Plan, problem: Exception | None = None) -> dict[str, Any]:
    """Without observedGeneration and transition times, which are filled in at the write. Empty fields are left out."""
    states = [executor.state for executor in observed.executors]
    settled = sum(1 for state in states if state in SETTLED_STATES)
    status: dict[str, Any] = {
        "phase": plan.phase,
        "phaseStartTime": moment(plan.phase_start),
        "reason": plan.reason,
        "message": plain(plan.message),
        "attempt": plan.attempt,
        "startTime": moment(plan.start_time) if plan.start_time else "",
        "completionTime": moment(plan.completion_time) if plan.completion_time else "",
        "progress": f"{settled}/{len(states)} finished" if states else "",
        "conditions": [*_conditions(plan), _reconciled(problem)],
        "executors": count_states(states) if states else {},
        "failures": _failures(subject, observed),
        "queue": {name: value for name, value in (plan.queue or {}).items() if value},
    }
    return {name: value for name, value in status.items() if value not in ("", [], {})}


def _conditions(plan: Plan) -> list[dict[str, Any]]:
    return [{**entry, "message": plain(str(entry.get("message", "")))} for entry in plan.conditions]


def _reconciled(problem: Exception | None) -> dict[str, Any]:
    """Whether the last pass went through; what stopped it otherwise. It is tried again."""
    if problem is None:
        return dict(condition("Reconciled", "True", "Reconciled"))
    reason = getattr(problem, "reason", "Error")
    return dict(condition("Reconciled", "False", reason, plain(str(problem) or reason)))


def _failures(subject: Subject, observed: Observed) -> list[dict[str, str]]:
    failed = (executor for executor in observed.executors if executor.state in (State.FAILED, State.LOST))
    return [
        {
            "executor": executor_display(subject.name, observed.attempt, executor.deployment, executor.index),
            "node": executor.node,
            "reason": executor.reason,
            "message": plain(executor.message),
        }
        for executor, _ in zip(failed, range(FAILURES_SHOWN), strict=False)
    ]
