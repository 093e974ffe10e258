"""Questions: asked once, waited for a moment, their answers kept."""

import asyncio
from contextlib import aclosing

import pytest
from unicorn_core.errors import Refused, Waiting
from unicorn_operator.images import questions
from unicorn_operator.images.questions import Questions


@pytest.fixture
async def asked():
    async with aclosing(Questions(patience=0.05)) as made:
        yield made


class Registry:
    """Answers what it is told, when it is told."""

    def __init__(self) -> None:
        self.answered, self.times, self.under_way, self.most = asyncio.Event(), 0, 0, 0

    async def ask(self) -> str:
        self.times += 1
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await self.answered.wait()
        self.under_way -= 1
        return f"answer {self.times}"


def minute(_: object) -> float:
    return 60.0


async def test_a_slow_answer_is_waited_for_once_and_then_there(asked):
    slow, loop = Registry(), asyncio.get_running_loop()
    began = loop.time()
    for number in range(20):
        with pytest.raises(Waiting, match=r"the registry h\.example has not answered yet") as raised:
            await asked.answer("q", "h.example", slow.ask, minute)
        assert raised.value.retry_after.total_seconds() < questions.FAILED_SECONDS, number
    assert loop.time() - began < 1, "the first has waited, and the others have not"
    slow.answered.set()
    await asyncio.sleep(0.05)
    assert await asked.answer("q", "h.example", slow.ask, minute) == "answer 1"
    assert await asked.answer("q", "h.example", slow.ask, minute) == "answer 1"
    assert slow.times == 1


async def test_all_who_ask_at_once_ask_once(asked):
    registry = Registry()
    registry.answered.set()
    answers = await asyncio.gather(*(asked.answer("q", "h", registry.ask, minute) for _ in range(50)))
    assert set(answers) == {"answer 1"}
    assert await asked.answer("another", "h", registry.ask, lambda _: 0.0) == "answer 2"
    assert await asked.answer("another", "h", registry.ask, lambda _: 0.0) == "answer 3", "an answer may be good for once only"


async def test_one_registry_is_asked_a_few_questions_at_once_and_holds_up_no_other(asked):
    slow, quick = Registry(), Registry()
    quick.answered.set()
    many = [asked.answer(number, "slow", slow.ask, minute) for number in range(50)]
    assert all(isinstance(answer, Waiting) for answer in await asyncio.gather(*many, return_exceptions=True))
    assert slow.most == 4
    assert await asked.answer("q", "quick", quick.ask, minute) == "answer 1"
    slow.answered.set()
    await asyncio.sleep(0.05)
    assert slow.times == 50, "each in its turn"


@pytest.mark.parametrize("error", [Refused([]), ValueError("a fault of ours")])
async def test_an_error_that_comes_late_is_told_to_who_comes_next(asked, error):
    wait = asyncio.Event()

    async def fail() -> str:
        await wait.wait()
        raise error

    with pytest.raises(Waiting):
        await asked.answer("q", "h", fail, minute)
    wait.set()
    await asyncio.sleep(0)
    for _ in range(2):
        with pytest.raises(type(error)):
            await asked.answer("q", "h", fail, minute)


async def test_the_end_leaves_no_task():
    before = asyncio.all_tasks()
    async with aclosing(Questions(patience=0.01)) as asked:
        for number in range(10):
            with pytest.raises(Waiting):
                await asked.answer(number, "h", Registry().ask, minute)
        waiting = asyncio.create_task(asked.answer("q", "h", Registry().ask, minute))
        await asyncio.sleep(0)
    with pytest.raises(Waiting):
        await waiting
    assert asyncio.all_tasks() == before
