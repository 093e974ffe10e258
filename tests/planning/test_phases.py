"""The design's phase table and its prose, row by row: what a phase does, what its deadline leads to, what wakes it."""

from dataclasses import replace

import pytest
from planning.builders import (
    HOUR,
    MINUTE,
    NOON,
    SECOND,
    crowd,
    executor,
    gone,
    ids,
    observed,
    operations,
    wishing,
)
from unicorn_core.errors import Problem
from unicorn_core.planning.experiment import UNSURE_LOOK, advance, plan_experiment
from unicorn_core.planning.views import (
    FINAL_PHASES,
    AddFinalizer,
    Allocate,
    AllocationResult,
    CancelOperations,
    ConnectorState,
    DeleteResource,
    FreeLeases,
    Hindrance,
    LeaveQueue,
    Operate,
    Phase,
    RecordOrphans,
    Release,
    RemoveFinalizer,
    Settle,
    Sight,
    State,
    TakeSnapshot,
    Verb,
)

BUSY = AllocationResult(False, "NodesBusy", "node rpi-1 is busy", 2, "rpi-1, held by lab/other")
BUILDING = (("clients", Hindrance("Building", "the image is being built")),)
BROKEN_BUILD = (("clients", Hindrance("BuildFailed", "pip said no", fatal=True)),)
SHORT = Settle(ids(1), State.FAILED, "NotCheckedIn", "did not check in before the start deadline")
CANNOT = Problem("spec.deployments[0].environment.agent", "cannot", reason="AgentCannotRun")
NO_TIME = 0 * SECOND
STOP_ALL = {"prepare": "Done", "start": "Done", "stop": "Done"}


# --- where a phase leads ---------------------------------------------------------------------------------------------------

LEADS = [
    # phase, what differs, executors, after, next phase, reason, because
    ("Pending", {"problems": (Problem("spec", "bad"),)}, [], NO_TIME, "Finishing", "Invalid", "invalid: Failed at once"),
    ("Pending", {"problems": (CANNOT,)}, [], NO_TIME, "Finishing", "AgentCannotRun", "a problem with a reason of its own"),
    ("Pending", {"problems": (CANNOT, Problem("spec", "bad"))}, [], NO_TIME, "Finishing", "Invalid", "several kinds: Invalid"),
    ("Pending", {"missing": ("Pipeline x",)}, [], 59 * MINUTE, "Pending", "", "a missing reference is waited for"),
    (
        "Pending",
        {"missing": ("Pipeline x",)},
        [],
        HOUR,
        "Finishing",
        "AllocateDeadlineExceeded",
        "the allocate deadline holds in Pending too",
    ),
    ("Pending", {"snapshot": True}, [], NO_TIME, "Allocating", "", "the snapshot is taken when it leaves Pending"),
    ("Allocating", {"snapshot": False}, [], NO_TIME, "Pending", "", "the snapshot was lost with the database: take it again"),
    ("Allocating", {"allocation": BUSY}, [], 59 * MINUTE, "Allocating", "", "it waits in the queue"),
    ("Allocating", {"allocation": BUSY}, [], HOUR, "Finishing", "AllocateDeadlineExceeded", "allocate -> Failed"),
    (
        "Allocating",
        {"allocation": BUSY, "wish": wishing(queue_when_busy=False)},
        [],
        NO_TIME,
        "Finishing",
        "NodesBusy",
        "whenBusy: Fail does not wait",
    ),
    (
        "Allocating",
        {"allocation": replace(BUSY, reason="NoNodeFits", hopeless=True)},
        [],
        NO_TIME,
        "Finishing",
        "NoNodeFits",
        "no waiting will help",
    ),
    ("Allocating", {"allocation_pause": "restored"}, [], MINUTE, "Allocating", "", "allocation pauses after a restore"),
    ("Allocating", {}, ["Pending"], NO_TIME, "Preparing", "", "the leases are there"),
    (
        "Allocating",
        {"allocation": AllocationResult(True)},
        [],
        NO_TIME,
        "Finishing",
        "Completed",
        "an experiment of nobody ends at once",
    ),
    ("Preparing", {}, ["Preparing", "Prepared"], 29 * MINUTE, "Preparing", "", "somebody is still being prepared"),
    ("Preparing", {}, ["Preparing"], 30 * MINUTE, "Finishing", "PrepareDeadlineExceeded", "prepare -> Failed"),
    ("Preparing", {}, ["Prepared", "Prepared"], NO_TIME, "Starting", "", "all are prepared"),
    ("Preparing", {"wish": wishing(desired="Ready")}, ["Prepared"], NO_TIME, "Ready", "", "desiredState: Ready holds here"),
    (
        "Preparing",
        {},
        ["Starting", "CheckedIn", "Succeeded"],
        NO_TIME,
        "Starting",
        "",
        "an operator that was killed before it wrote the phase had started them already",
    ),
    ("Ready", {"wish": wishing(desired="Ready")}, ["Prepared"], 23 * HOUR, "Ready", "", "held"),
    ("Ready", {"wish": wishing(desired="Ready")}, ["Prepared"], 24 * HOUR, "Finishing", "HoldDeadlineExceeded", "hold ends"),
    ("Ready", {}, ["Prepared"], NO_TIME, "Starting", "", "Ready -> Running"),
    ("Starting", {}, ["CheckedIn", "Starting"], 4 * MINUTE, "Starting", "", "together: all are waited for"),
    ("Starting", {}, ["Running", "Running"], NO_TIME, "Running", "", "all are released"),
    ("Starting", {}, ["CheckedIn", "Failed"], NO_TIME, "Finishing", "QuorumNotMet", "one cannot start and all are needed"),
    (
        "Starting",
        {"wish": wishing(quorum=1)},
        ["Running", "Failed"],
        5 * MINUTE,
        "Running",
        "",
        "deadline with >= quorum: the others run without the missing",
    ),
    ("Running", {}, ["Running"], 23 * HOUR, "Running", "", "they run"),
    ("Running", {}, ["Running"], 24 * HOUR, "Finishing", "RunDeadlineExceeded", "run -> stop, Failed"),
    ("Running", {}, ["Succeeded", "Succeeded"], NO_TIME, "Finishing", "Completed", "all have ended"),
    ("Running", {"wish": wishing(quorum=0)}, ["Succeeded", "Lost"], NO_TIME, "Finishing", "TooManyFailures", "0 tolerated"),
    ("Running", {"wish": wishing(tolerate=1)}, ["Succeeded", "Lost"], NO_TIME, "Finishing", "Completed", "1 tolerated"),
]


def in_phase(phase, differs, states, after):
    """Heard of at this moment, so that only the phase's own deadline counts."""
    now = NOON + after
    released = {"heard": now} if phase == "Running" else {}
    executors = tuple(
        replace(one, **released, released=one.released or (NOON if one.state is State.FAILED and phase == "Running" else None))
        for one in crowd(*states)
    )
    return observed(phase, *executors, **differs), now


@pytest.mark.parametrize(
    ("phase", "differs", "states", "after", "to", "reason", "because"), LEADS, ids=[f"{row[0]}: {row[-1]}" for row in LEADS]
)
def test_where_a_phase_leads(phase, differs, states, after, to, reason, because):
    seen, now = in_phase(phase, differs, states, after)
    plan = plan_experiment(seen, now)
    assert plan.effects == (), because
    assert (plan.phase, plan.reason) == (to, reason), because
    assert plan.phase_start == (now if to != phase else NOON), "a phase starts when it is entered"
    assert plan.look_again_at or plan.waits_for, "something must wake it"


DUE = [row for row in LEADS if row[5].endswith("DeadlineExceeded")]


@pytest.mark.parametrize(("phase", "differs", "states", "after", "to", "reason", "because"), DUE, ids=[row[0] for row in DUE])
def test_after_an_outage_of_ours_no_deadline_leads_anywhere_before_nodes_were_observed(
    phase, differs, states, after, to, reason, because
):
    seen, now = in_phase(phase, differs, states, after)
    plan = plan_experiment(replace(seen, may_enforce=False), now)
    assert (plan.phase, plan.effects) == (phase, ()), "observe first, then enforce"
    assert plan.look_again_at == now + UNSURE_LOOK, "and look again soon: nothing else may wake it"


# --- what a phase asks for -------------------------------------------------------------------------------------------------

ASKS = [
    ("Pending", {}, [], NO_TIME, [TakeSnapshot(1)], "what an attempt runs is recorded before anything else"),
    ("Pending", {"has_finalizer": False}, [], NO_TIME, [AddFinalizer()], "before anything can be left behind"),
    ("Allocating", {}, [], NO_TIME, [Allocate(1)], "each pass tries"),
    ("Preparing", {}, ["Pending", "Preparing"], NO_TIME, [Operate(Verb.PREPARE, ids(0))], "prepare on every node, once"),
    (
        "Preparing",
        {"environments": BROKEN_BUILD},
        ["Pending"],
        NO_TIME,
        [Settle(ids(0), State.FAILED, "BuildFailed", "pip said no")],
        "a failed build fails its executors and prepares none of them",
    ),
    ("Starting", {}, ["Prepared", "Starting"], NO_TIME, [Operate(Verb.START, ids(0))], "start, once"),
    ("Starting", {}, ["CheckedIn", "CheckedIn"], NO_TIME, [Release(ids(0, 1))], "all there: released at once"),
    (
        "Starting",
        {"wish": wishing(quorum=1)},
        ["CheckedIn", "Starting"],
        5 * MINUTE,
        [SHORT, Operate(Verb.STOP, ids(1))],
        "the missing are stopped and counted failed",
    ),
    (
        "Starting",
        {"wish": wishing(together=False, quorum=0)},
        ["CheckedIn", "Starting"],
        NO_TIME,
        [Release(ids(0))],
        "together: false releases each at its check-in",
    ),
    ("Running", {}, ["Running", "CheckedIn"], NO_TIME, [Release(ids(1))], "one that checked in late, together: false"),
    (
        "Running",
        {},
        ["Running", "Starting"],
        5 * MINUTE,
        [SHORT, Operate(Verb.STOP, ids(1))],
        "together: false has the same start deadline",
    ),
    ("Finishing", {"reason": "Completed"}, ["Succeeded"], NO_TIME, [Operate(Verb.STOP, ids(0))], "only a stop is evidence"),
    ("Finishing", {"reason": "Deleted", "queued": True}, [], NO_TIME, [LeaveQueue()], "others stand behind it"),
]


@pytest.mark.parametrize(
    ("phase", "differs", "states", "after", "effects", "because"), ASKS, ids=[f"{row[0]}: {row[-1]}" for row in ASKS]
)
def test_what_a_phase_asks_for(phase, differs, states, after, effects, because):
    seen, now = in_phase(phase, differs, states, after)
    plan = plan_experiment(seen, now)
    assert list(plan.effects) == effects, because
    assert plan.phase == phase, "effects first, then the next phase"


def test_deployments_that_wait_for_the_same_build_are_told_together():
    same = Hindrance("Building", "build 1: step 2/3")
    environments = (
        *((name, same) for name in ("d", "b", "clients", "a", "c")),
        ("z", Hindrance("Building", "build 2: waits for its turn")),
    )
    plan = plan_experiment(observed("Preparing", executor("Pending"), environments=environments), NOON)
    assert plan.message == "a, b, c and 2 more: build 1: step 2/3; z: build 2: waits for its turn"


def test_a_held_environment_is_waited_for_and_named():
    plan = plan_experiment(observed("Preparing", executor("Pending"), environments=BUILDING), NOON)
    assert (plan.effects, plan.message) == ((), "clients: the image is being built")
    said = {entry["type"]: entry for entry in plan.conditions}
    assert said["EnvironmentsReady"]["reason"] == "Building"


def test_the_queue_shows_position_and_holder():
    plan = plan_experiment(observed("Allocating", allocation=BUSY), NOON)
    assert plan.queue == {"position": 2, "waitingFor": "rpi-1, held by lab/other"}
    assert plan.look_again_at == NOON + HOUR, "its deadline; a node that becomes free wakes it before"


# --- quorum and all or none ------------------------------------------------------------------------------------------------

BEST = {"all_or_nothing": False}
NEVER_STARTED = {"operations": operations(prepare="Failed")}


@pytest.mark.parametrize(
    ("wish", "executors", "phase", "reason", "because"),
    [
        ({}, [executor("Prepared"), executor("Failed", 1, **NEVER_STARTED)], "Finishing", "PreparationFailed", "AllOrNothing"),
        (BEST | {"quorum": 1}, [executor("Prepared"), executor("Failed", 1, **NEVER_STARTED)], "Starting", "", "1 is enough"),
        (
            BEST | {"quorum": 2},
            [executor("Prepared"), executor("Failed", 1, **NEVER_STARTED)],
            "Finishing",
            "QuorumNotMet",
            "fewer than quorum (of all) can still start",
        ),
        (BEST, [executor("Failed", **NEVER_STARTED)], "Starting", "", "quorum 0% starts nobody; the verdict follows"),
        ({}, [executor("Prepared"), executor("Failed", 1)], "Starting", "", "it was started: that is the quorum's affair"),
    ],
)
def test_failures_of_preparation(wish, executors, phase, reason, because):
    plan = plan_experiment(observed("Preparing", *executors, wish=wishing(**wish)), NOON)
    assert (plan.phase, plan.reason) == (phase, reason), because


@pytest.mark.parametrize(
    ("executors", "phase", "because"),
    [
        ([executor("Running"), executor("Failed", 1, released=NOON)], "Running", "a failed task is no missing executor"),
        ([executor("Running"), executor("Failed", 1, checked_in=NOON)], "Finishing", "it was there, but never ran"),
        ([executor("Running"), executor("Lost", 1)], "Running", "a lost one has started, and may come back"),
        ([executor("Running"), executor("Starting", 1)], "Running", "it may still check in"),
    ],
)
def test_quorum_counts_all_that_can_start_or_have_started(executors, phase, because):
    seen = observed("Running", *executors, wish=wishing(quorum=2, tolerate=2, together=False))
    assert plan_experiment(seen, NOON).phase == phase, because


# --- cancel, delete, records that are gone -----------------------------------------------------------------------------------

UNDER_WAY = {
    "Pending": (),
    "Allocating": (),
    "Preparing": ("Preparing",),
    "Ready": ("Prepared",),
    "Starting": ("Starting",),
    "Running": ("Running",),
}


@pytest.mark.parametrize("phase", UNDER_WAY)
@pytest.mark.parametrize(
    ("differs", "reason"),
    [
        ({"wish": wishing(desired="Cancelled")}, "CancelRequested"),
        ({"deleting": True}, "Deleted"),
        ({"namespace_terminating": True}, "Deleted"),
    ],
)
def test_cancel_and_delete_end_every_phase(phase, differs, reason):
    plan = plan_experiment(observed(phase, *crowd(*UNDER_WAY[phase]), **differs), NOON)
    assert (plan.phase, plan.reason, plan.effects) == ("Finishing", reason, ())


@pytest.mark.parametrize("phase", ["Preparing", "Ready", "Starting", "Running"])
@pytest.mark.parametrize("lost", [{"snapshot": False}, {"executors": ()}])
def test_a_database_restored_to_before_the_attempt_ends_it(phase, lost):
    seen = replace(observed(phase, *crowd(*UNDER_WAY[phase])), **lost)
    plan = plan_experiment(seen, NOON)
    assert (plan.phase, plan.reason) == ("Finishing", "RecordsLost")


@pytest.mark.parametrize("state", ["Pending", "Preparing", "Prepared"])
def test_a_database_restored_to_before_the_start_fails_its_executors_and_stops_them(state):
    """They may run: nobody is started a second time, and no lease goes without a stop."""
    plan = plan_experiment(observed("Running", executor(state)), NOON)
    settled = [effect for effect in plan.effects if isinstance(effect, Settle)]
    assert [(effect.state, effect.reason) for effect in settled] == [(State.FAILED, "RecordsLost")]
    assert Operate(Verb.STOP, ids(0)) in plan.effects
    assert Operate(Verb.START, ids(0)) not in plan.effects


def test_a_deletion_in_a_final_phase_takes_the_finalizer_last():
    plan = plan_experiment(observed("Succeeded", executor("Succeeded", leased=False), deleting=True), NOON)
    assert (plan.effects, plan.last) == ((), (RemoveFinalizer(),))


def test_the_finalizer_stays_while_something_is_leased():
    plan = plan_experiment(observed("Failed", executor("Failed"), deleting=True), NOON)
    assert plan.last == ()
    assert plan.effects == (Operate(Verb.STOP, ids(0)),)


def test_a_finalizer_that_somebody_took_comes_back_but_not_in_a_terminating_namespace():
    assert plan_experiment(observed("Running", executor("Running"), has_finalizer=False), NOON).effects == (AddFinalizer(),)
    ending = observed("Running", executor("Running"), has_finalizer=False, namespace_terminating=True)
    assert plan_experiment(ending, NOON).phase is Phase.FINISHING


# --- the end ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "phase"), [("Completed", "Succeeded"), ("QuorumNotMet", "Failed"), ("CancelRequested", "Cancelled")]
)
def test_finishing_ends_when_no_lease_is_left(reason, phase):
    plan = plan_experiment(observed("Finishing", executor("Succeeded", leased=False), reason=reason), NOON + MINUTE)
    assert (plan.phase, plan.reason, plan.completion_time) == (phase, reason, NOON + MINUTE)


@pytest.mark.parametrize(("reason", "state"), [("CancelRequested", State.CANCELLED), ("RunDeadlineExceeded", State.FAILED)])
def test_whoever_has_not_ended_is_settled_by_the_end(reason, state):
    running = executor("Running", leased=False)
    plan = plan_experiment(observed("Finishing", running, reason=reason, message="why"), NOON)
    assert plan.effects == (Settle(ids(0), state, reason, "why"),)


@pytest.mark.parametrize("phase", sorted(FINAL_PHASES))
def test_a_final_phase_rests(phase):
    seen = observed(phase, executor("Succeeded", leased=False), reason="R", message="m", completion_time=NOON)
    plan = plan_experiment(seen, NOON + HOUR)
    assert (plan.phase, plan.reason, plan.message, plan.effects, plan.last) == (phase, "R", "m", (), ())
    assert plan.completion_time == NOON, "it has ended once"
    assert plan.look_again_at is None, "nothing is due"


@pytest.mark.parametrize("phase", sorted(FINAL_PHASES))
@pytest.mark.parametrize("desired", ["Ready", "Running", "Cancelled"])
def test_only_a_new_attempt_leaves_a_final_phase(phase, desired):
    ended = observed(phase, completion_time=NOON, start_time=NOON, wish=wishing(desired=desired))
    assert plan_experiment(ended, NOON).phase == phase
    plan = plan_experiment(replace(ended, wish=wishing(desired=desired, attempt=2)), NOON + HOUR)
    assert (plan.phase, plan.attempt, plan.reason) == ("Pending", 2, "")
    assert (plan.start_time, plan.completion_time) == (None, None)
    again = advance(ended, plan)
    assert (again.attempt, again.snapshot, again.executors) == (2, False, ()), "records of its own"


def test_an_attempt_raised_too_early_waits_for_the_end():
    plan = plan_experiment(observed("Running", executor("Running"), wish=wishing(attempt=2)), NOON)
    assert (plan.phase, plan.attempt) == ("Running", 1)


@pytest.mark.parametrize(
    ("ttl", "after", "last", "look", "because"),
    [
        (None, 999 * HOUR, (), None, "unset by default"),
        (HOUR, 59 * MINUTE, (), NOON + HOUR, "not yet"),
        (HOUR, HOUR, (DeleteResource(),), None, "its time is over"),
        (NO_TIME, NO_TIME, (DeleteResource(),), None, "0 deletes at once"),
    ],
)
def test_time_to_live(ttl, after, last, look, because):
    plan = plan_experiment(observed("Succeeded", completion_time=NOON, wish=wishing(ttl=ttl)), NOON + after)
    assert (plan.last, plan.look_again_at) == (last, look), because


def test_the_queue_is_left_also_by_a_final_one():
    """A restored database may have put it back."""
    assert plan_experiment(observed("Failed", queued=True), NOON).effects == (LeaveQueue(),)


def test_one_that_was_heard_of_after_the_end_is_settled_again():
    plan = plan_experiment(observed("Failed", executor("Running", leased=False)), NOON)
    assert [effect.state for effect in plan.effects] == [State.LOST]


# --- what a lease needs ------------------------------------------------------------------------------------------------------

GONE = {"connector": ConnectorState.GONE, "connector_deleting_since": NOON}
CLEAN = {**STOP_ALL, "cleanup": "Done"}
LEASES = [
    (executor("Pending"), NO_TIME, [Operate(Verb.STOP, ids(0))], "a restored database may not know of its start"),
    (
        executor("Starting", operations=operations(prepare="Done", start="Pending")),
        NO_TIME,
        [CancelOperations((Verb.PREPARE, Verb.START), ids(0)), Operate(Verb.STOP, ids(0))],
        "cancel the operation, then stop",
    ),
    (executor("Succeeded", operations=operations(stop="Pending")), NO_TIME, [], "the stop is under way"),
    (
        executor("Succeeded", operations=operations(stop="Pending")),
        5 * MINUTE,
        [RecordOrphans(ids(0), "StopNotConfirmed")],
        "cleanup -> orphans recorded",
    ),
    (executor("Failed", operations=operations(stop="Failed")), 4 * MINUTE, [], "a failed stop is no evidence"),
    (
        executor("Failed", operations=operations(start="Done", stop="Failed"), cleanup=False, **gone()),
        NO_TIME,
        [FreeLeases(ids(0))],
        "stopping failed, but it was started and then seen to be gone twice",
    ),
    (
        executor("Failed", operations=operations(start="Cancelled", stop="Failed"), cleanup=False, **gone()),
        5 * MINUTE,
        [RecordOrphans(ids(0), "StopNotConfirmed")],
        "its start may still come: absence says nothing",
    ),
    (
        executor("Failed", operations=operations(start="Done", stop="Failed"), cleanup=False, **gone(count=1)),
        NO_TIME,
        [],
        "once is not twice",
    ),
    (executor("Succeeded", operations=operations(**STOP_ALL)), NO_TIME, [Operate(Verb.CLEANUP, ids(0))], "stop, then clean up"),
    (executor("Succeeded", operations=operations(**STOP_ALL), cleanup=False), NO_TIME, [FreeLeases(ids(0))], "cleanup: false"),
    (executor("Succeeded", operations=operations(**STOP_ALL, cleanup="Pending")), NO_TIME, [], "being cleaned up"),
    (
        executor("Succeeded", operations=operations(**STOP_ALL, cleanup="Pending")),
        5 * MINUTE,
        [FreeLeases(ids(0))],
        "it is stopped: what is left lying there holds no lease",
    ),
    (executor("Succeeded", operations=operations(**CLEAN)), NO_TIME, [FreeLeases(ids(0))], "stopped and cleaned up"),
    (executor("Failed", operations=operations(**(CLEAN | {"cleanup": "Failed"}))), NO_TIME, [FreeLeases(ids(0))], "tried"),
    (executor("Failed", **GONE), NO_TIME, [RecordOrphans(ids(0), "ConnectorGone")], "nobody can stop it any more"),
    (
        executor("Failed", operations=operations(**STOP_ALL), **GONE),
        NO_TIME,
        [FreeLeases(ids(0))],
        "it was stopped before its connector went",
    ),
    (executor("Failed", **GONE, **gone()), NO_TIME, [FreeLeases(ids(0))], "seen to be gone before its connector went"),
]


@pytest.mark.parametrize(("leased", "after", "effects", "because"), LEASES, ids=[row[-1] for row in LEASES])
def test_a_lease_is_freed_only_on_evidence(leased, after, effects, because):
    now = NOON + after
    plan = plan_experiment(observed("Finishing", leased, reason="Completed"), now)
    assert list(plan.effects) == effects, because
    if not effects:
        assert plan.phase is Phase.FINISHING
        assert plan.look_again_at == NOON + 5 * MINUTE, "the end always comes"


def test_no_orphan_is_recorded_before_nodes_were_observed():
    stuck = executor("Failed", operations=operations(stop="Pending"))
    plan = plan_experiment(observed("Finishing", stuck, reason="Completed", may_enforce=False), NOON + HOUR)
    assert (plan.effects, plan.look_again_at) == ((), NOON + HOUR + UNSURE_LOOK)


def test_a_leftover_of_a_final_experiment_gets_the_whole_cleanup_time_from_its_stop_on():
    """A database restored to an earlier state brings leases back, long after the end."""
    leftover = executor("Succeeded", operations=operations(NOON + 9 * HOUR, start="Done", stop="Pending"))
    seen = observed("Succeeded", leftover, completion_time=NOON)
    plan = plan_experiment(seen, NOON + 9 * HOUR + MINUTE)
    assert (plan.effects, plan.look_again_at) == ((), NOON + 9 * HOUR + 5 * MINUTE)
    assert plan_experiment(seen, NOON + 9 * HOUR + 5 * MINUTE).effects == (RecordOrphans(ids(0), "StopNotConfirmed"),)


# --- connectors and nodes that are deleted -----------------------------------------------------------------------------------

DELETING = {"connector": ConnectorState.DELETING, "connector_deleting_since": NOON}


@pytest.mark.parametrize(("phase", "state"), [("Preparing", "Pending"), ("Ready", "Prepared"), ("Starting", "Prepared")])
def test_deleting_a_connector_fails_its_executors_and_begins_nothing_on_them(phase, state):
    plan = plan_experiment(observed(phase, executor(state, **DELETING), executor("Prepared", 1)), NOON)
    failed = Settle(ids(0), State.FAILED, "ConnectorDeleted", "its connector or node was deleted")
    assert failed in plan.effects
    assert not any(isinstance(effect, Operate) and ids(0)[0] in effect.executors for effect in plan.effects)


@pytest.mark.parametrize(
    ("operated", "after", "effects", "because"),
    [
        ({}, NO_TIME, [Operate(Verb.STOP, ids(0))], "stopped at once, though the others run on"),
        ({"stop": "Pending"}, MINUTE, [], "not yet"),
        ({"stop": "Pending"}, 5 * MINUTE, [RecordOrphans(ids(0), "StopNotConfirmed")], "the connector's finalizer goes in time"),
        (CLEAN, MINUTE, [FreeLeases(ids(0))], "gone"),
    ],
)
def test_a_deleted_connectors_leases_go_while_the_others_run_on(operated, after, effects, because):
    failed = executor("Failed", operations=operations(**operated), released=NOON, **DELETING)
    others = executor("Running", 1, heard=NOON + after)
    plan = plan_experiment(observed("Running", failed, others, wish=wishing(quorum=1, tolerate=1)), NOON + after)
    assert (plan.phase, list(plan.effects)) == ("Running", effects), because


def test_each_connector_has_its_own_cleanup_time():
    early = executor("Failed", operations=operations(stop="Pending"), released=NOON, **DELETING)
    late = replace(early, id=ids(1)[0], index=1, connector_deleting_since=NOON + 4 * MINUTE)
    seen = observed("Running", early, late, executor("Running", 2), wish=wishing(quorum=1, tolerate=2))
    assert plan_experiment(seen, NOON + 5 * MINUTE).effects == (RecordOrphans(ids(0), "StopNotConfirmed"),)


def test_hopeless_pods_fail_at_once():
    hopeless = executor("Starting", 1, sight=Sight.HOPELESS, sight_reason="ImagePullFailed", sight_message="no such image")
    plan = plan_experiment(observed("Starting", executor("Starting"), hopeless), NOON)
    assert plan.effects == (
        Settle(ids(1), State.FAILED, "ImagePullFailed", "no such image"),
        Operate(Verb.STOP, ids(1)),
    )
