"""Rules that several phases share: silence, single cancel, starts that lead nowhere, what is stopped begins nothing."""

from dataclasses import replace

import pytest
from planning.builders import HOUR, MINUTE, NOON, SECOND, executor, gone, ids, observed, operations, wishing
from unicorn_core.planning.experiment import UNSURE_LOOK, plan_experiment
from unicorn_core.planning.views import CancelOperations, Operate, Release, Settle, Sight, State, Verb

STARTED = {"start": "Done"}


def ends(plan) -> list:
    return [(effect.state, effect.reason) for effect in plan.effects if isinstance(effect, Settle)]


# --- silence ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("running", "seen", "after", "expected", "because"),
    [
        ({}, {}, 9 * MINUTE, [], "within the keep-alive time"),
        ({}, {}, 10 * MINUTE, [(State.LOST, "ExecutorTimedOut")], "silence > keepAlive"),
        ({"sight": Sight.RUNNING}, {}, 10 * MINUTE, [(State.LOST, "ExecutorTimedOut")], "whatever the connector says"),
        ({"sight": Sight.UNREACHABLE}, {}, 9 * MINUTE, [], "a node that cannot be reached is no sign of the executor's end"),
        (gone(137), {}, 29 * SECOND, [], "a last report may still be on its way"),
        (gone(137), {}, 30 * SECOND, [(State.LOST, "ExecutorTimedOut")], "already after 30 s when the connector says so twice"),
        (gone(137, count=1), {}, MINUTE, [], "once is not twice"),
        (gone(137, sight_reason="OOMKilled"), {}, MINUTE, [(State.LOST, "OOMKilled")], "the connector knows why"),
        ({"heard": NOON + 5 * MINUTE}, {}, 14 * MINUTE, [], "last heard counts"),
        ({"released": NOON + 5 * MINUTE}, {}, 14 * MINUTE, [], "released counts"),
        ({}, {"reception_restored": NOON + 5 * MINUTE}, 14 * MINUTE, [], "so does reception restored after an outage of ours"),
        (gone(), {"reception_restored": NOON + HOUR}, HOUR + 20 * SECOND, [], "also for those that are gone: their report comes"),
        (gone(), {"reception_restored": NOON + HOUR}, HOUR, [], "nobody is lost while reception is down: it counts as now"),
        ({}, {"may_enforce": False}, HOUR, [], "after an outage of ours: observe first"),
    ],
)
def test_silence(running, seen, after, expected, because):
    plan = plan_experiment(observed("Running", executor("Running", **running), **seen), NOON + after)
    assert ends(plan) == expected, because


def test_a_rest_looks_again_when_the_next_one_can_become_lost():
    early = executor("Running", 0, keep_alive=MINUTE)
    plan = plan_experiment(observed("Running", early, executor("Running", 1)), NOON)
    assert plan.look_again_at == NOON + MINUTE


def test_a_lost_one_that_was_heard_of_is_not_lost_again_until_it_is_silent_again():
    back = executor("Running", heard=NOON + HOUR)
    assert plan_experiment(observed("Running", back), NOON + HOUR + 9 * MINUTE).effects == ()
    assert ends(plan_experiment(observed("Running", back), NOON + HOUR + 10 * MINUTE)) == [(State.LOST, "ExecutorTimedOut")]


def test_a_lost_one_keeps_the_experiment_running_while_others_run():
    seen = observed("Running", executor("Lost"), executor("Running", 1), wish=wishing(quorum=2))
    assert plan_experiment(seen, NOON).phase == "Running", "it may come back"


def test_one_that_waits_to_be_released_is_not_lost():
    waiting = executor("CheckedIn", keep_alive=SECOND)
    plan = plan_experiment(observed("Starting", waiting, executor("Starting", 1)), NOON + MINUTE)
    assert plan.effects == ()


# --- exits without a word --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("running", "expected", "because"),
    [
        (gone(0), [(State.SUCCEEDED, "ExitedCleanly")], "a clean exit with reportResults: false"),
        (gone(1), [], "it did not end well: silence decides"),
        (gone(None), [], "nobody knows how it ended"),
        (gone(0, count=1), [], "once is not twice"),
        (gone(0, sight=Sight.ABSENT), [], "absence says nothing of how it ended"),
    ],
)
def test_a_clean_exit_needs_no_report_where_none_is_due(running, expected, because):
    silent = executor("Running", report_results=False, **running)
    assert ends(plan_experiment(observed("Running", silent), NOON + SECOND)) == expected, because
    reporting = replace(silent, report_results=True)
    assert ends(plan_experiment(observed("Running", reporting), NOON + SECOND)) == [], "a report is due, and may be on its way"


def test_a_clean_exit_comes_before_its_silence():
    old = executor("Running", report_results=False, **gone(0))
    assert ends(plan_experiment(observed("Running", old), NOON + HOUR)) == [(State.SUCCEEDED, "ExitedCleanly")]


@pytest.mark.parametrize(
    ("running", "expected", "because"),
    [
        (gone(0), [(State.FAILED, "NoReport")], "its final report was due before it ended"),
        (gone(137, sight_reason="OOMKilled"), [(State.FAILED, "NoReport")], "however it ended"),
        (gone(0, count=1), [], "once is not twice"),
        (gone(0, sight=Sight.ABSENT), [], "absence says nothing of how it ended"),
        (gone(0, report_results=False), [(State.SUCCEEDED, "ExitedCleanly")], "no report was due"),
        (gone(1, report_results=False), [], "no report was due, and it did not end well: silence decides"),
    ],
)
def test_netunicorns_agent_does_not_come_back_from_an_exit(running, expected, because):
    theirs = executor("Running", netunicorn=True, **running)
    assert ends(plan_experiment(observed("Running", theirs), NOON + SECOND)) == expected, because


def test_netunicorns_agent_is_stopped_at_once_when_it_is_cancelled():
    theirs, ours = (executor("Running", i, netunicorn=i == 0, cancel_requested=NOON) for i in (0, 1))
    plan = plan_experiment(observed("Running", theirs, ours), NOON + SECOND)
    assert [effect for effect in plan.effects if isinstance(effect, Operate)] == [Operate(Verb.STOP, ids(0))]


# --- starts that lead nowhere ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["Starting", "Running"])
@pytest.mark.parametrize(
    ("starting", "expected", "because"),
    [
        (gone(1), [(State.FAILED, "ExitedBeforeCheckIn")], "it ended before it checked in"),
        (gone(1, sight_reason="OOMKilled"), [(State.FAILED, "OOMKilled")], "the connector knows why"),
        (gone(1, count=1), [], "once is not twice"),
        (gone(sight=Sight.ABSENT, operations=operations(start="Pending")), [], "it is not there yet: its start is not done"),
        ({"sight": Sight.HOPELESS}, [(State.FAILED, "CannotStart")], "no waiting will help"),
        ({"sight": Sight.HOPELESS, "sight_reason": "Unschedulable"}, [(State.FAILED, "Unschedulable")], "and why"),
        ({"sight": Sight.WAITING, "sight_reason": "ImagePullBackOff"}, [], "it may still come"),
        ({"sight": Sight.UNREACHABLE}, [], "nobody knows"),
    ],
)
def test_starts_that_lead_nowhere(phase, starting, expected, because):
    seen = observed(phase, executor("Starting", **starting), executor("Running", 1), wish=wishing(together=phase == "Starting"))
    plan = plan_experiment(seen, NOON + SECOND)
    assert ends(plan) == expected, because
    stopped = [effect for effect in plan.effects if effect == Operate(Verb.STOP, ids(0))]
    assert len(stopped) == len(expected), "what failed to start is stopped: it may still come"


def test_a_start_that_is_given_up_is_cancelled_before_the_stop():
    """Else it could come after the stop, whose word would be believed."""
    slow = executor("Starting", operations=operations(prepare="Done", start="Pending"))
    plan = plan_experiment(observed("Running", slow, executor("Running", 1), wish=wishing(together=False)), NOON + 5 * MINUTE)
    cancel, stop = CancelOperations((Verb.PREPARE, Verb.START), ids(0)), Operate(Verb.STOP, ids(0))
    assert plan.effects[1:] == (cancel, stop)


@pytest.mark.parametrize(("phase", "state", "verb"), [("Preparing", "Pending", "Prepare"), ("Starting", "Prepared", "Start")])
def test_nothing_begins_on_what_is_being_stopped(phase, state, verb):
    """The operator was killed when an end had begun and was not written, and then the end was called off."""
    stopped = executor(state, operations=operations(prepare="Done", stop="Done"))
    plan = plan_experiment(observed(phase, stopped), NOON)
    assert ends(plan) == [(State.FAILED, "CannotStart")]
    assert not any(isinstance(effect, Operate) for effect in plan.effects)


# --- cancelling one ----------------------------------------------------------------------------------------------------------

STOP, CANCELLED = Operate(Verb.STOP, ids(0)), Settle(ids(0), State.CANCELLED, "CancelRequested", "Executor was stopped")
ABORT = CancelOperations((Verb.PREPARE, Verb.START), ids(0))


@pytest.mark.parametrize(
    ("phase", "state", "more", "after", "effects", "because"),
    [
        ("Preparing", "Pending", {}, 0, [CANCELLED], "nothing was begun, and nothing begins"),
        ("Preparing", "Preparing", {}, 0, [ABORT, STOP], "cancel the operation, then stop"),
        ("Ready", "Prepared", {}, 0, [STOP], "shell commands may have left something"),
        ("Starting", "Prepared", {}, 0, [STOP], "it is not started"),
        ("Starting", "Starting", {}, 0, [STOP], "it has not checked in: nobody can ask it"),
        ("Starting", "CheckedIn", {}, 0, [STOP], "it is not released"),
        ("Running", "Running", {}, 29, [], "the gateway asks it first"),
        ("Running", "Running", {}, 30, [STOP], "it did not answer"),
        ("Running", "Running", {"operations": operations(**STARTED, stop="Pending")}, 60, [], "being stopped"),
        ("Running", "Running", {"operations": operations(**STARTED, stop="Done")}, 60, [CANCELLED], "stopped"),
        ("Running", "Running", {"operations": operations(**STARTED, stop="Failed")}, 330, [CANCELLED], "a cancel ends in time"),
        ("Running", "CheckedIn", {"operations": operations(**STARTED, stop="Pending")}, 60, [], "never released"),
        ("Running", "Succeeded", {}, 0, [], "it has ended"),
        ("Running", "Lost", {}, 0, [], "it is settled, as far as one knows"),
    ],
)
def test_cancelling_one(phase, state, more, after, effects, because):
    cancelled = executor(state, cancel_requested=NOON, **more)
    other = {"Preparing": "Preparing", "Ready": "Prepared", "Starting": "Starting", "Running": "Running"}[phase]
    wish = wishing(desired="Ready" if phase == "Ready" else "Running", quorum=0)
    plan = plan_experiment(observed(phase, cancelled, executor(other, 1), wish=wish), NOON + after * SECOND)
    assert list(plan.effects) == effects, because
    assert plan.phase == phase
    assert not any(isinstance(effect, Release) for effect in plan.effects)


@pytest.mark.parametrize(
    ("stop", "look"),
    [({}, 30 * SECOND), ({"stop": "Pending"}, 30 * SECOND + 5 * MINUTE)],
)
def test_cancelling_one_looks_again(stop, look):
    asked = executor("Running", cancel_requested=NOON, operations=operations(**STARTED, **stop))
    assert plan_experiment(observed("Running", asked), NOON).look_again_at == NOON + look


# --- the rest ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["Pending", "Allocating", "Preparing", "Ready", "Starting", "Running", "Finishing"])
def test_whoever_may_not_enforce_looks_again_soon(phase):
    states = {"Preparing": "Preparing", "Ready": "Prepared", "Starting": "Starting", "Running": "Running"}
    executors = (executor(states[phase]),) if phase in states else ()
    wish = wishing(desired="Ready", quorum=len(executors))
    more = {"missing": ("x",)} if phase == "Pending" else {"allocation_pause": "x"} if phase == "Allocating" else {}
    if phase == "Finishing":
        executors = (executor("Failed", operations=operations(stop="Pending")),)
    plan = plan_experiment(observed(phase, *executors, wish=wish, may_enforce=False, **more), NOON)
    assert plan.look_again_at is not None
    assert plan.look_again_at <= NOON + UNSURE_LOOK


def test_an_executor_is_settled_once_in_a_step():
    """Cancelled by its user, on a deleted connector: the first rule counts."""
    both = executor("Pending", cancel_requested=NOON, connector_deleting_since=NOON, connector="Deleting")
    assert len(ends(plan_experiment(observed("Preparing", both), NOON))) == 1
