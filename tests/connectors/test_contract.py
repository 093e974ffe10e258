"""The contract of core/unicorn_core/connector.py, over every connector."""

import asyncio
import logging
from datetime import timedelta
from pathlib import Path

from unicorn_core.connector import Done, Exited, Failed, Node, Running, Seen, Unreachable

GRACE = timedelta(seconds=5)


async def only(outcomes):
    """The outcome of a verb on one executor."""
    (outcome,) = (await outcomes).values()
    return outcome


async def seen(connector, order):
    sighting = (await connector.observe([order.handle.node]))[order.handle.node.name]
    assert isinstance(sighting, Seen)
    return sighting.executors.get(order.handle.executor)


async def exited(connector, order, until):
    async def look():
        found = await seen(connector, order)
        return found if isinstance(found, Exited) else None

    return await until(look, what="seen as exited")


async def started(connector, order):
    assert await only(connector.prepare([order])) == Done()
    assert await only(connector.start([order])) == Done()
    return order


async def test_it_is_healthy_and_offers_its_node(system, connect):
    connector = connect(system)
    health = await connector.check()
    assert health.healthy, health
    assert system.node.name in [node.name for node in await connector.discover()]


async def test_prepare_starts_nobody(system, connect):
    connector, order = connect(system), system.order()
    assert await only(connector.prepare([order])) == Done()
    assert isinstance(await only(connector.prepare([order])), Done)
    assert await seen(connector, order) is None
    assert not await system.alive(order.handle.executor)


async def test_start_twice_starts_once(system, connect):
    connector, order = connect(system), system.order()
    await started(connector, order)
    again = await asyncio.gather(only(connector.start([order])), only(connector.start([order])))
    assert all(isinstance(outcome, Done) for outcome in again)
    assert isinstance(await seen(connector, order), Running)
    assert await system.starts(order.handle.executor) == 1


async def test_starts_at_the_same_moment_start_once(system, connect):
    first, second, order = connect(system), connect(system), system.order()
    outcomes = await asyncio.gather(*(only(connector.start([order])) for connector in (first, second, first)))
    assert all(isinstance(outcome, Done) for outcome in outcomes), outcomes
    assert await system.starts(order.handle.executor) == 1


async def test_what_has_ended_is_not_started_again_with_the_same_fence(system, connect, until):
    connector, order = connect(system), system.order()
    await started(connector, order)
    assert await system.starts(order.handle.executor) == 1
    await system.exit(order, 143)
    await exited(connector, order, until)
    assert isinstance(await only(connector.start([order])), Done)
    assert isinstance(await seen(connector, order), Exited)
    assert await system.starts(order.handle.executor) == 1


async def test_a_lower_fence_is_refused_and_changes_nothing(system, connect):
    connector = connect(system)
    order = await started(connector, system.order(fence=3))
    outcome = await only(connector.start([system.same(order, fence=2)]))
    assert isinstance(outcome, Failed), outcome
    assert outcome.reason == "Superseded"
    assert isinstance(await seen(connector, order), Running)
    assert await system.starts(order.handle.executor) == 1


async def test_a_higher_fence_replaces_the_one_before(system, connect):
    connector = connect(system)
    order = await started(connector, system.order(fence=1))
    assert await system.starts(order.handle.executor) == 1
    assert await only(connector.start([system.same(order, fence=2)])) == Done()
    assert isinstance(await seen(connector, order), Running)
    outcome = await only(connector.start([order]))
    assert (type(outcome), outcome.reason) == (Failed, "Superseded")


async def test_stop_is_evidence(system, connect):
    connector = connect(system)
    order = await started(connector, system.order())
    await system.starts(order.handle.executor)
    assert isinstance(await only(connector.stop([order.handle], GRACE)), Done)
    assert not await system.alive(order.handle.executor)
    assert not isinstance(await seen(connector, order), Running)
    assert isinstance(await only(connector.stop([order.handle], GRACE)), Done)


async def test_stop_and_cleanup_of_what_was_never_there_are_done(system, connect):
    connector, order = connect(system), system.order()
    assert isinstance(await only(connector.stop([order.handle], GRACE)), Done)
    assert isinstance(await only(connector.cleanup([order.handle])), Done)


async def test_a_stop_meant_for_an_earlier_start_is_refused(system, connect):
    connector = connect(system)
    order = await started(connector, system.order(fence=2))
    outcome = await only(connector.stop([system.same(order, fence=1).handle], GRACE))
    assert (type(outcome), outcome.reason) == (Failed, "Superseded")
    assert isinstance(await seen(connector, order), Running)
    assert isinstance(await only(connector.stop([system.same(order, fence=0).handle], GRACE)), Done)


async def test_another_connector_object_takes_up_what_runs(system, connect, until):
    before, order, news = connect(system), system.order(), []
    await started(before, order)
    await before.close()
    after = connect(system, notify=news.append)
    assert isinstance(await seen(after, order), Running)
    assert isinstance(await only(after.start([order])), Done)
    assert await system.starts(order.handle.executor) == 1
    news.clear()
    await system.exit(order, 143)
    await until(lambda: order.handle.executor in news, what="news of its end")
    await exited(after, order, until)


async def test_an_exit_is_seen_with_its_code_and_is_news(system, connect, until):
    news = []
    connector = connect(system, notify=news.append)
    order = await started(connector, system.order())
    await system.starts(order.handle.executor)
    news.clear()
    await system.exit(order, 143)
    await until(lambda: order.handle.executor in news, what="news of its end")
    assert (await exited(connector, order, until)).code == 143


async def test_an_unknown_node(system, connect):
    connector, order = connect(system), system.order(node=Node("no-such-node"))
    sighting = (await connector.observe([order.handle.node]))["no-such-node"]
    assert sighting == Seen({}) or isinstance(sighting, Unreachable)
    for verb in (connector.prepare, connector.start):
        outcome = await only(verb([order]))
        assert (type(outcome), outcome.reason) == (Failed, "NodeGone")
    assert isinstance(await only(connector.stop([order.handle], GRACE)), Done)


async def test_cleanup_is_for_the_stopped_and_can_be_repeated(system, connect):
    connector = connect(system)
    order = await started(connector, system.order())
    refused = await only(connector.cleanup([order.handle]))
    assert (type(refused), refused.reason) == (Failed, "StillRunning")
    await connector.stop([order.handle], GRACE)
    for _ in range(2):
        assert isinstance(await only(connector.cleanup([order.handle])), Done)
    assert await seen(connector, order) is None


async def test_one_that_fails_does_not_hold_up_the_others(system, connect):
    connector, good, bad = connect(system), system.order(), system.order(node=Node("no-such-node"))
    for verb in (connector.prepare, connector.start):
        outcomes = await verb([bad, good])
        assert isinstance(outcomes[good.handle.executor], Done)
        assert isinstance(outcomes[bad.handle.executor], Failed)
    assert isinstance(await seen(connector, good), Running)


async def test_a_call_that_was_cancelled_can_be_repeated(system, connect):
    connector = connect(system)

    async def cancelled_then_repeated(verb, argument, *more, turns):
        """Cancelled after so many turns of the loop: at whatever point of the call that is."""
        call = asyncio.ensure_future(verb([argument], *more))
        for _ in range(turns):
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait([call])
        assert isinstance(await only(verb([argument], *more)), Done), turns

    async def life(turns):
        order = system.order()
        await cancelled_then_repeated(connector.prepare, order, turns=turns)
        await cancelled_then_repeated(connector.start, order, turns=turns)
        assert isinstance(await seen(connector, order), Running), turns
        assert await system.starts(order.handle.executor) == 1, turns
        await cancelled_then_repeated(connector.stop, order.handle, GRACE, turns=turns)
        assert not await system.alive(order.handle.executor), turns
        await cancelled_then_repeated(connector.cleanup, order.handle, turns=turns)

    await asyncio.gather(*(life(turns) for turns in (0, 1, 2, 5, 20)))


async def test_secrets_show_nowhere(system, connect, caplog):
    caplog.set_level(logging.DEBUG)
    connector, order = connect(system), system.order()
    await started(connector, order)
    await system.starts(order.handle.executor)
    assert "SECRET" not in repr(order)
    assert "SECRET" not in repr(await connector.observe([order.handle.node]))
    assert "SECRET" not in caplog.text
    for cmdline in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert b"SECRET" not in cmdline.read_bytes(), cmdline
        except (FileNotFoundError, ProcessLookupError):
            continue
