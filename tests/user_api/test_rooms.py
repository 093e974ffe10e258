"""Bytes for all together, places for each."""

import asyncio

import pytest
from unicorn_gateway.problems import ProblemError
from unicorn_gateway.user_api.rooms import Places, Room


async def test_room_is_given_in_order_and_given_back():
    room, order = Room(10), []

    async def work(name, amount, gate):
        async with room.take(amount):
            order.append(name)
            await gate.wait()

    gate = asyncio.Event()
    tasks = [asyncio.create_task(work(name, amount, gate)) for name, amount in (("a", 6), ("b", 6), ("c", 1), ("d", 99))]
    await asyncio.sleep(0)
    assert (order, room.taken) == (["a"], 6), "c would fit, but b was first"
    gate.set()
    await asyncio.gather(*tasks)
    assert (order, room.taken) == (["a", "b", "c", "d"], 0), "what is larger than all there is takes all of it"


@pytest.mark.parametrize("let_in", [False, True])
async def test_who_is_cancelled_takes_no_room_with_them(let_in):
    room, gate, inside = Room(10), asyncio.Event(), []

    async def work(amount):
        async with room.take(amount):
            inside.append(amount)
            await gate.wait()

    first, second, third = (asyncio.create_task(work(amount)) for amount in (10, 9, 1))
    await asyncio.sleep(0)
    if let_in:  # in the same moment in which it is told to go
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
    second.cancel()
    gate.set()
    await asyncio.gather(first, second, third, return_exceptions=True)
    assert inside[-1] == 1
    assert room.taken == 0


def test_each_has_places_of_their_own():
    places = Places(2, "too many")
    with places.one("ann"), places.one("ann"), places.one("ben"):
        with pytest.raises(ProblemError) as problem, places.one("ann"):
            pass
        assert (problem.value.status, problem.value.detail) == (429, "too many, at most 2")
    with places.one("ann"):
        pass
    assert places._taken == {}
