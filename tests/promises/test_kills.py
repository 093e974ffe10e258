"""Operator and gateway are killed at random moments: every experiment comes to its right end, once."""

import asyncio
import random
import signal

from e2e_kit import experiment, opened

from .conftest import nothing_is_left, told_once

SEED = 20261122
EXPERIMENTS = 20


def a_mixed_one(index: int, chance: random.Random, notes, connector):
    """One to three executors, two tasks that note each run; the second one fails in every fourth experiment."""
    end = "exit 3" if index % 4 == 3 else "true"
    return experiment(
        f"mixed-{index}",
        {"name": "first", "run": f"{notes.alone_on_node()}; {notes.add('first')}; sleep {chance.uniform(0.1, 1.5):.2f}"},
        {"name": "second", "run": f"{notes.alone_on_node()}; {notes.add('second')}; sleep {chance.uniform(0, 1):.2f}; {end}"},
        count=chance.randint(1, 3),
        connector=connector,
    )


async def test_killed_at_random_moments_every_experiment_ends_once(rough, rough_kit, notes):
    chance = random.Random(SEED)
    applied = []
    for index in range(EXPERIMENTS):
        applied.append(await rough_kit.apply(a_mixed_one(index, chance, notes, rough_kit.local)))
    everything = asyncio.gather(*(one.ends(seconds=200) for one in applied))
    killed = []
    while not everything.done() and len(killed) < 10:
        await asyncio.sleep(chance.uniform(0.2, 2.5))
        victim = chance.choice([rough.operators[0], rough.gateways[0]])
        await asyncio.to_thread(rough.restart, victim, signal.SIGKILL)
        killed.append(victim.name)
    assert len(killed) >= 4, "too quick: nothing was shown"
    for index, status in enumerate(await everything):
        failing = index % 4 == 3
        assert status["phase"] == ("Failed" if failing else "Succeeded"), (index, status)
        count = status["executors"]["total"]
        assert status["executors"] == {"total": count, "failed" if failing else "succeeded": count}
    for one in applied:
        for executor in await one.executors():
            assert notes.of(executor.id) == ["first", "second"], (one.name, executor)
            assert executor.outcome == ("Failure" if executor.state == "Failed" else "Success")
        await told_once(one, tasks=2)
        await nothing_is_left(rough_kit, one)
    assert "clash" not in notes.all()


async def test_a_standby_takes_over_where_the_leader_died(make_stack, notes):
    """Without that leader's name: its Lease has to run out first."""
    stack = make_stack("standby", operators=2)
    async with opened(stack) as kit:
        one = await kit.run("one", {"name": "t", "run": f"{notes.add('t')}; {notes.wait_for('end')}"}, count=3)
        await one.reaches("Running", running=3)
        leader = next(each for each in stack.operators if '"leading"' in stack.log_of(each))
        stack.stop(leader, signal.SIGKILL)
        notes.allow("end")
        assert (await one.succeeds())["executors"] == {"total": 3, "succeeded": 3}
        await told_once(one, tasks=1)
        await nothing_is_left(kit, one)
