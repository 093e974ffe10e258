"""The small policies, each by its table: silence, verdict, conditions, counts."""

from datetime import timedelta

import pytest
from planning.builders import MINUTE, NOON, SECOND, crowd, executor, observed
from unicorn_core.planning.conditions import count_states, end_conditions, gate_conditions
from unicorn_core.planning.liveness import Silence, due, heartbeat_seconds, is_lost, next_look
from unicorn_core.planning.retries import retry_delay
from unicorn_core.planning.verdict import final_phase, judge
from unicorn_core.planning.views import Phase, State


@pytest.mark.parametrize(
    ("silent_for", "gone_for", "keep_alive", "lost", "because"),
    [
        (9 * MINUTE, None, 10 * MINUTE, False, "within the keep-alive time"),
        (10 * MINUTE, None, 10 * MINUTE, True, "silence alone is enough: a node that lost its power answers nobody"),
        (20 * SECOND, 10 * SECOND, 10 * MINUTE, False, "a last report may still be on its way"),
        (30 * SECOND, 10 * SECOND, 10 * MINUTE, True, "its connector has said twice that nothing runs there"),
        (10 * SECOND, 10 * SECOND, 5 * SECOND, True, "a keep-alive time shorter than the grace is the limit"),
        (0 * SECOND, 60 * MINUTE, 10 * MINUTE, False, "it was heard just now, whatever its connector says"),
    ],
)
def test_silence(silent_for, gone_for, keep_alive, lost, because):
    silence = Silence(NOON - silent_for, keep_alive, gone_for and NOON - gone_for)
    assert is_lost(silence, NOON) is lost, because


def test_the_next_look_is_when_the_next_one_can_become_lost():
    early, late = Silence(NOON, MINUTE), Silence(NOON + SECOND, MINUTE)
    assert next_look([late, early], NOON) == due(early) == NOON + MINUTE
    assert next_look([early], NOON + MINUTE) is None, "one that is lost already needs no look"
    assert next_look([], NOON) is None


@pytest.mark.parametrize(
    ("reason", "phase", "because"),
    [
        ("Completed", "Succeeded", "it ended well"),
        ("CancelRequested", "Cancelled", "somebody wanted it so"),
        ("Deleted", "Cancelled", "somebody wanted it so"),
        ("HoldDeadlineExceeded", "Cancelled", "the design's table: hold leads to Cancelled"),
        ("RunDeadlineExceeded", "Failed", "the design's table: run leads to Failed"),
        ("QuorumNotMet", "Failed", "the design's table: start leads to Failed"),
        ("RecordsLost", "Failed", "nobody wanted it so"),
        ("", "Failed", "an end without a reason is no success"),
    ],
)
def test_final_phase(reason, phase, because):
    assert final_phase(reason) == phase, because


@pytest.mark.parametrize(
    ("states", "tolerate", "reason", "because"),
    [
        (["Succeeded", "Succeeded"], 0, "Completed", "all went well"),
        (["Succeeded", "Failed"], 0, "TooManyFailures", "no failure is tolerated"),
        (["Succeeded", "Failed"], 1, "Completed", "one is tolerated"),
        (["Lost", "Failed"], 1, "TooManyFailures", "a lost one counts as failed"),
        (["Succeeded", "Cancelled"], 0, "Completed", "a cancelled one was wanted so"),
        ([], 0, "Completed", "nothing could go wrong"),
    ],
)
def test_judge(states, tolerate, reason, because):
    assert judge(crowd(*states), tolerate)[0] == reason, because


def test_the_verdict_names_the_first_that_failed():
    executors = (executor("Failed", 2, reason="TaskFailed"), executor("Failed", 1, reason="OOMKilled", message="8 MiB"))
    assert judge(executors, 0)[1] == "2 of 2 executors failed, 0 tolerated; first clients/1: OOMKilled 8 MiB"


@pytest.mark.parametrize(
    ("phase", "said", "because"),
    [
        ("Pending", {"Accepted": "False"}, "the gates ahead are absent"),
        ("Allocating", {"Accepted": "True", "Allocated": "False"}, "the gate we stand at is False"),
        (
            "Preparing",
            {"Accepted": "True", "Allocated": "True", "EnvironmentsReady": "True", "Prepared": "False"},
            "environments hold Preparing only while they are named",
        ),
        (
            "Ready",
            {"Accepted": "True", "Allocated": "True", "EnvironmentsReady": "True", "Prepared": "True"},
            "Ready has no gate of its own",
        ),
        (
            "Running",
            {"Accepted": "True", "Allocated": "True", "EnvironmentsReady": "True", "Prepared": "True", "Started": "True"},
            "all gates are behind us",
        ),
    ],
)
def test_gates(phase, said, because):
    found = gate_conditions(observed(phase), Phase(phase), waits={})
    assert {entry["type"]: entry["status"] for entry in found} == said, because
    assert all(entry["reason"] for entry in found), "Kubernetes wants a reason in every condition"


def test_a_gate_that_is_held_says_why():
    (accepted,) = gate_conditions(observed(), Phase.PENDING, waits={"Accepted": ("ReferenceNotFound", "waiting for x")})
    assert (accepted["status"], accepted["reason"], accepted["message"]) == ("False", "ReferenceNotFound", "waiting for x")


def test_gates_stay_as_they_were_once_the_attempt_ends():
    before = ({"type": "Accepted", "status": "True", "reason": "Accepted", "message": ""},)
    ending = observed("Finishing", conditions=(*before, {"type": "Reconciled", "status": "False", "reason": "Broken"}))
    assert gate_conditions(ending, Phase.FINISHING, waits={}) == list(before)


@pytest.mark.parametrize(
    ("phase", "orphans", "said", "because"),
    [
        ("Succeeded", 0, {"CleanedUp": "True", "Complete": "True"}, "Complete on success only"),
        ("Failed", 0, {"CleanedUp": "True", "Failed": "True"}, "Failed otherwise"),
        ("Cancelled", 2, {"CleanedUp": "False", "Failed": "True"}, "orphans are not cleaned up"),
        ("Running", 0, {}, "nothing has ended"),
    ],
)
def test_end_conditions(phase, orphans, said, because):
    found = end_conditions(Phase(phase), "Reason", "", orphans)
    assert {entry["type"]: entry["status"] for entry in found} == said, because


def test_counts_name_the_states_that_occur_and_sum_to_total():
    counts = count_states([State.CHECKED_IN, State.RUNNING, State.RUNNING])
    assert counts == {"total": 3, "checkedIn": 1, "running": 2}
    assert count_states([]) == {"total": 0}


def test_retries_double_up_to_half_a_minute():
    waits = [retry_delay(tries).total_seconds() for tries in (0, 1, 2, 6, 1000)]
    assert waits == [0.5, 1, 2, 30, 30]


def test_several_heartbeats_fit_into_the_patience():
    assert [heartbeat_seconds(timedelta(seconds=patience)) for patience in (1, 20, 3600)] == [1.0, 5.0, 30.0]
