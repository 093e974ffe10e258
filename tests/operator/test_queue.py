"""The queue, with a clock of the test's own: no test waits for time to pass."""

import asyncio
import heapq
from collections.abc import Callable
from datetime import timedelta

import pytest
from unicorn_operator.key import Key
from unicorn_operator.queue import Backoff, WorkQueue

A, B, C = (Key("Experiment", "default", name) for name in "abc")
SECOND = timedelta(seconds=1)


class Timer:
    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class Clock:
    """Time that a test moves on."""

    def __init__(self) -> None:
        self.now = 100.0
        self._timers: list[tuple[float, int, Timer]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        timer = Timer(callback)
        heapq.heappush(self._timers, (when, len(self._timers) + id(timer), timer))
        return timer

    def pass_by(self, span: timedelta) -> None:
        until = self.now + span.total_seconds()
        while self._timers and self._timers[0][0] <= until:
            self.now, _, timer = heapq.heappop(self._timers)
            if timer.callback is not None:
                timer.callback()
        self.now = until


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(clock: Clock) -> WorkQueue:
    return WorkQueue(Backoff(first=SECOND, longest=10 * SECOND, chance=lambda: 0.0), clock)


async def taken(queue: WorkQueue) -> list[Key]:
    """All that can be had now."""
    keys = []
    while queue.depth():
        key = await queue.get()
        assert key is not None
        keys.append(key)
    return keys


async def test_keys_come_out_in_the_order_in_which_they_came_in(queue):
    for key in (A, B, C):
        queue.add(key)
    assert await taken(queue) == [A, B, C]


async def test_a_key_stands_in_the_line_once(queue):
    for _ in range(5):
        queue.add(A)
    assert await taken(queue) == [A]


async def test_a_key_is_in_one_workers_hands_at_a_time(queue):
    queue.add(A)
    assert await queue.get() == A
    queue.add(A)
    assert queue.depth() == 0, "it is busy: nobody else gets it"
    queue.done(A)
    assert await taken(queue) == [A], "what came meanwhile gets a pass of its own"


async def test_a_pass_without_news_is_not_repeated(queue):
    queue.add(A)
    await queue.get()
    queue.done(A)
    assert queue.depth() == 0


async def test_get_waits_for_a_key(queue):
    waiting = asyncio.ensure_future(queue.get())
    await asyncio.sleep(0)
    assert not waiting.done()
    queue.add(B)
    assert await waiting == B


async def test_several_workers_share_the_line(queue):
    waiting = [asyncio.ensure_future(queue.get()) for _ in range(3)]
    await asyncio.sleep(0)
    for key in (A, B, C):
        queue.add(key)
    assert sorted(await asyncio.gather(*waiting)) == [A, B, C]


async def test_a_delayed_key_comes_when_it_is_due(queue, clock):
    queue.add_after(A, 5 * SECOND)
    clock.pass_by(4.9 * SECOND)
    assert queue.depth() == 0
    clock.pass_by(0.2 * SECOND)
    assert await taken(queue) == [A]


@pytest.mark.parametrize(("first", "second"), [(3, 8), (8, 3)])
async def test_the_earliest_deadline_counts(queue, clock, first, second):
    queue.add_after(A, first * SECOND)
    queue.add_after(A, second * SECOND)
    clock.pass_by(3 * SECOND)
    assert await taken(queue) == [A]
    queue.done(A)
    clock.pass_by(10 * SECOND)
    assert queue.depth() == 0, "the later deadline is forgotten"


async def test_no_delay_is_now(queue):
    queue.add_after(A, timedelta())
    queue.add_after(B, -SECOND)
    assert await taken(queue) == [A, B]


async def test_a_deadline_that_falls_into_a_pass_makes_another_pass(queue, clock):
    queue.add(A)
    await queue.get()
    queue.add_after(A, SECOND)
    clock.pass_by(SECOND)
    assert queue.depth() == 0
    queue.done(A)
    assert await taken(queue) == [A]


async def test_a_pass_within_a_while_comes_at_its_end(queue, clock):
    queue.add_within(A, 2 * SECOND)
    clock.pass_by(SECOND)
    queue.add_within(A, 2 * SECOND)
    assert (queue.depth(), queue.delayed()) == (0, 1)
    clock.pass_by(SECOND)
    assert await taken(queue) == [A], "the first word counts"
    queue.done(A)
    clock.pass_by(10 * SECOND)
    assert queue.depth() == 0


async def test_an_earlier_pass_is_as_good(queue, clock):
    queue.add_within(A, SECOND)
    queue.add(A)
    queue.add_within(A, SECOND)
    assert await taken(queue) == [A]
    queue.done(A)
    clock.pass_by(10 * SECOND)
    assert queue.depth() == 0


async def test_a_pass_that_had_begun_before_is_not(queue, clock):
    queue.add(A)
    await queue.get()
    queue.add_within(A, SECOND)
    queue.done(A)
    assert queue.depth() == 0
    clock.pass_by(SECOND)
    assert await taken(queue) == [A]


async def test_a_deadline_is_kept_whatever_pass_comes_earlier(queue, clock):
    """A pass names its next look anew; what others ask for, with `add_after`, is not to be lost with it."""
    queue.add_after(A, 2 * SECOND)
    queue.add_within(A, SECOND)
    clock.pass_by(SECOND)
    assert await taken(queue) == [A]
    queue.done(A)
    clock.pass_by(SECOND)
    assert await taken(queue) == [A]


async def test_failures_in_a_row_wait_longer_and_longer_up_to_a_limit(queue):
    delays = [queue.add_failed(A).total_seconds() for _ in range(6)]
    assert delays == [1, 2, 4, 8, 10, 10]
    assert queue.failures(A) == 6
    queue.forget(A)
    assert queue.add_failed(A) == SECOND
    assert queue.failures(B) == 0, "each key has its own"


async def test_a_back_off_can_be_asked_to_be_longer(queue):
    assert queue.add_failed(A, at_least=30 * SECOND) == 30 * SECOND


async def test_very_many_failures_do_not_overflow(queue):
    for _ in range(5000):
        delay = queue.add_failed(A)
    assert delay == 10 * SECOND


@pytest.mark.parametrize(("chance", "share"), [(0.0, 1.0), (0.5, 0.75), (0.999, 0.5005)])
def test_jitter_takes_up_to_a_half(chance, share):
    backoff = Backoff(first=8 * SECOND, longest=60 * SECOND, chance=lambda: chance)
    assert backoff.delay(1) == 8 * SECOND * share


async def test_close_drops_what_waits_and_lets_workers_go(queue, clock):
    queue.add(A)
    assert await queue.get() == A
    queue.add(B)
    queue.add_after(C, SECOND)
    queue.add_within(Key("Experiment", "default", "d"), SECOND)
    queue.close()
    assert await queue.get() is None
    clock.pass_by(2 * SECOND)
    queue.add(C)
    assert queue.depth() == 0
    assert queue.delayed() == 0
    drained = asyncio.ensure_future(queue.drained())
    await asyncio.sleep(0)
    assert not drained.done(), "a pass is under way"
    queue.add(A)
    queue.done(A)
    await drained
    assert queue.depth() == 0


async def test_close_wakes_workers_that_wait(queue):
    waiting = [asyncio.ensure_future(queue.get()) for _ in range(3)]
    await asyncio.sleep(0)
    queue.close()
    assert await asyncio.gather(*waiting) == [None, None, None]


async def test_it_tells_how_long_keys_wait_and_passes_take(clock):
    waits: list[float] = []
    queue = WorkQueue(clock=clock, on_wait=waits.append)
    assert queue.longest_pass() == queue.longest_wait() == timedelta()
    queue.add(A)
    clock.pass_by(3 * SECOND)
    assert queue.longest_wait() == 3 * SECOND
    await queue.get()
    assert waits == [3.0]
    clock.pass_by(4 * SECOND)
    assert queue.longest_pass() == 4 * SECOND
    queue.add(A)
    queue.done(A)
    assert queue.longest_pass() == timedelta()


async def test_with_the_loops_own_clock(queue):
    queue = WorkQueue()
    queue.add_after(A, timedelta(milliseconds=1))
    async with asyncio.timeout(5):
        assert await queue.get() == A
