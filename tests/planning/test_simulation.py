"""Whatever happens in whatever order: an experiment ends in time, its leases are freed or orphaned, nobody is started twice."""

import os
from collections.abc import Callable
from dataclasses import replace

from hypothesis import event, given, note, settings
from hypothesis import strategies as st
from planning.builders import SECOND
from planning.world import World
from unicorn_core.planning.views import FINAL_PHASES, Hindrance, Phase, State, Wish

PROFILE = os.environ.get("UNICORN_PLANNING_PROFILE", "planning")

Deed = Callable[[World, int, int], None]


def _work(world: World, which: int, how: int) -> None:
    if pending := world.pending():
        world.work(*pending[which % len(pending)])


def _fail_to_work(world: World, which: int, how: int) -> None:
    if pending := world.pending():
        world.work(*pending[which % len(pending)], "failed" if how % 2 else "unknown")


def _work_all(world: World, which: int, how: int) -> None:
    for pending in world.pending():
        world.work(*pending)


def _progress(world: World, which: int, how: int) -> None:
    """Everything does its part once."""
    _work_all(world, which, how)
    _check_in(world, which, how)
    world.operate()


def _check_in(world: World, which: int, how: int) -> None:
    for one in world.agents():
        world.report_in(*one)


def _end(world: World, which: int, how: int) -> None:
    if agents := world.agents():
        world.end(*agents[which % len(agents)], ("success", "success", "failure", "crash")[how % 4])


def _finish(world: World, which: int, how: int) -> None:
    if agents := world.agents():
        world.end(*agents[which % len(agents)], ("success", "failure")[how % 2])


def _look(world: World, which: int, how: int) -> None:
    world.look()


def _wait(world: World, which: int, how: int) -> None:
    world.wait((1, 5, 31, 61, 130, 301, 601)[how % 7] * SECOND)


def _tick(world: World, which: int, how: int) -> None:
    world.wait(SECOND)


def _unreachable(world: World, which: int, how: int) -> None:
    machine = world.machines[which % len(world.machines)]
    machine.reachable, machine.heard = how % 2 == 0, how % 3 == 0


def _gateway(world: World, which: int, how: int) -> None:
    world.switch_gateway(not world.gateway_up)


def _one(world: World, which: int, deed: Callable) -> None:
    if rows := [row.view.id for row in world.database.rows.values()]:
        deed(rows[which % len(rows)])


def _cancel_one(world: World, which: int, how: int) -> None:
    _one(world, which, world.cancel_one)


def _hopeless(world: World, which: int, how: int) -> None:
    _one(world, which, world.hopeless)


def _cancel(world: World, which: int, how: int) -> None:
    world.edit(desired="Cancelled")


def _run(world: World, which: int, how: int) -> None:
    if world.resource.wish.desired == "Ready":
        world.edit(desired="Running")


def _again(world: World, which: int, how: int) -> None:
    if world.resource.phase in FINAL_PHASES:
        world.edit(attempt=world.resource.attempt + 1, desired="Running")


def _delete(world: World, which: int, how: int) -> None:
    world.delete()


def _delete_connector(world: World, which: int, how: int) -> None:
    world.delete_connector(world.machines[which % len(world.machines)], by_force=how % 3 == 0)


def _nodes(world: World, which: int, how: int) -> None:
    world.give_nodes({which % len(world.machines)} if how % 2 else set())


def _references(world: World, which: int, how: int) -> None:
    world.missing, world.woken = ("Pipeline lab/speedtest",) if how % 2 else (), True


def _environments(world: World, which: int, how: int) -> None:
    why = Hindrance("BuildFailed" if how % 3 == 2 else "Building", "a build", fatal=how % 3 == 2)
    world.environments, world.woken = (("clients", why),) if how % 3 else (), True


ORDINARY: tuple[Deed, ...] = (_work, _work_all, _check_in, _progress, _progress, _end, _look, _wait)
WELL: tuple[Deed, ...] = (_work, _work_all, _check_in, _finish, _look, _tick, _run)
FAULTS: tuple[Deed, ...] = (
    _fail_to_work,
    _unreachable,
    _gateway,
    _hopeless,
    _delete_connector,
    _nodes,
    _references,
    _environments,
)
PEOPLE: tuple[Deed, ...] = (_cancel_one, _cancel, _run, _again, _delete)


def deeds(*kinds: tuple[Deed, ...], size: int = 30, kills: bool = True) -> st.SearchStrategy:
    """What happens, one after the other, and the operator's turns: none, a pass, or a pass in which it is killed."""
    kind = st.one_of(*(st.sampled_from(deeds) for deeds in kinds))
    fuse = st.one_of(st.none(), st.integers(0, 8)) if kills else st.none()
    turns = st.lists(fuse, max_size=2)
    return st.lists(st.tuples(kind, st.integers(0, 11), st.integers(0, 29), turns), max_size=size)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    size = draw(st.integers(1, 3))
    wish = Wish(
        desired=draw(st.sampled_from(["Running", "Running", "Ready"])),
        all_or_nothing=draw(st.booleans()),
        queue_when_busy=draw(st.booleans()),
        together=draw(st.booleans()),
        quorum=draw(st.integers(0, size)),
        tolerate=draw(st.integers(0, size)),
        ttl=draw(st.sampled_from([None, None, 60 * SECOND])),
    )
    world = World(size, wish, report_results=draw(st.booleans()), cleanup=draw(st.booleans()))
    if draw(st.integers(0, 3)) == 0:
        world.environments = (("clients", Hindrance("Building", "a build")),)
    world.operate()
    world.environments, world.woken = (), True
    for _ in range(draw(st.integers(0, 4))):  # so that late phases are met as often as early ones
        _progress(world, 0, 0)
    return world


def live(world: World, story: list) -> None:
    event(f"in {world.resource.phase}")
    for deed, which, how, turns in story:
        world.story.append(deed.__name__)
        deed(world, which, how)
        for fuse in turns:
            world.fuse = fuse
            world.operate()
            world.fuse = None
    event(f"then {world.resource.phase}")


def finish(world: World, lazy: bool) -> None:
    note(f"{world.story}")
    world.end_faults(lazy=lazy)
    world.check()


@settings(settings.get_profile(PROFILE))
@given(world=worlds(), story=deeds(ORDINARY, FAULTS, PEOPLE), lazy=st.booleans())
def test_every_experiment_ends(world, story, lazy):
    live(world, story)
    finish(world, lazy)


@settings(settings.get_profile(PROFILE))
@given(world=worlds(), story=deeds(ORDINARY, FAULTS), lazy=st.booleans())
def test_every_experiment_ends_that_nobody_touches(world, story, lazy):
    live(world, story)
    finish(world, lazy)


ANYTHING = deeds(ORDINARY, (*FAULTS, *PEOPLE), size=10)


@settings(settings.get_profile(PROFILE))
@given(world=worlds(), before=ANYTHING, kept=ANYTHING, after=ANYTHING, lazy=st.booleans())
def test_every_experiment_ends_over_a_restore_of_the_database(world, before, kept, after, lazy):
    live(world, before)
    world.save()
    live(world, kept)
    world.restore()
    live(world, after)
    finish(world, lazy)


@settings(settings.get_profile(PROFILE))
@given(world=worlds(), story=deeds(WELL, kills=False))
def test_without_faults_nobody_fails_but_by_a_task(world, story):
    live(world, story)
    finish(world, lazy=False)
    rows = [row.view for row in world.database.rows.values()]
    assert not any(view.orphaned for view in rows)
    assert {view.reason for view in rows if view.state is State.FAILED} <= {"TaskFailed"}, world.story
    if world.resource.wish.desired == "Running":
        assert world.resource.reason in ("Completed", "TooManyFailures")


@settings(settings.get_profile(PROFILE))
@given(world=worlds(), fuses=st.lists(st.integers(0, 6), max_size=30))
def test_an_operator_that_is_killed_again_and_again_gets_there(world, fuses):
    world.resource.wish = replace(world.resource.wish, desired="Running")
    for fuse in fuses:
        for deed in (_work_all, _check_in, _look):
            deed(world, 0, 0)
        world.fuse = fuse
        world.operate()
        world.fuse = None
        world.wait(SECOND)
    finish(world, lazy=False)
    assert world.resource.phase is Phase.SUCCEEDED, world.story
