"""How an attempt ends: which final phase a reason leads to, and what the executors' ends amount to."""

from collections.abc import Sequence

from unicorn_core.planning.views import ExecutorView, Phase, State

CANCELLING_REASONS = frozenset({"CancelRequested", "HoldDeadlineExceeded", "Deleted"})


def final_phase(reason: str) -> Phase:
    """Finishing carries only its reason: the final phase follows from it."""
    if reason == "Completed":
        return Phase.SUCCEEDED
    return Phase.CANCELLED if reason in CANCELLING_REASONS else Phase.FAILED


def judge(executors: Sequence[ExecutorView], tolerate: int) -> tuple[str, str]:
    """Reason and message of an attempt whose executors are all settled. Cancelled ones were wanted so: no failures."""
    failed = [executor for executor in executors if executor.state in (State.FAILED, State.LOST)]
    if len(failed) <= tolerate:
        return "Completed", f"{len(failed)} of {len(executors)} executors failed" if failed else ""
    first = min(failed, key=lambda executor: (executor.deployment, executor.index))
    return (
        "TooManyFailures",
        f"{len(failed)} of {len(executors)} executors failed, {tolerate} tolerated; "
        f"first {first.deployment}/{first.index}: {first.reason} {first.message}".rstrip(),
    )
