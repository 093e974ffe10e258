"""Who does the passes. The one place where an error's type is mapped to what happens next. Nothing is raised out of a worker."""

import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import structlog
from unicorn_core.errors import ApiUnavailable, Broken, Conflict, Refused, Waiting
from unicorn_core.text import plain

from unicorn_operator.key import Key
from unicorn_operator.world import Reconcile, World

_AGAIN_AFTER_CONFLICT = timedelta(milliseconds=100)  # the news of the other's change is on its way

log = structlog.get_logger(__name__)


async def work(world: World, reconcilers: Mapping[str, Reconcile], finished: Callable[[str, str, float], None]) -> None:
    """Passes, one after the other, until the queue is closed. `finished` hears of each: kind, outcome, seconds."""
    while (key := await world.queue.get()) is not None:
        began = time.perf_counter()
        outcome = "Cancelled"
        try:
            outcome = await one_pass(key, world, reconcilers)
        finally:
            world.queue.done(key)
            finished(key.kind, outcome, time.perf_counter() - began)


async def one_pass(key: Key, world: World, reconcilers: Mapping[str, Reconcile]) -> str:
    """One pass and what follows from its outcome. Answers Done, Waiting, Conflict, Refused, Broken or Fault."""
    reconcile = reconcilers.get(key.kind)
    if reconcile is None:
        return "Done"
    try:
        again = await reconcile(key, world, world.now())
    except Exception as error:
        return _after(error, key, world)
    world.queue.forget(key)
    if again is not None:
        world.queue.add_after(key, again)
    return "Done"


def _after(error: Exception, key: Key, world: World) -> str:
    match error:
        case Waiting():
            world.queue.forget(key)
            world.queue.add_after(key, error.retry_after)
            return "Waiting"
        case Conflict() if world.queue.failures(key) < 3:
            world.queue.add_failed(key, _AGAIN_AFTER_CONFLICT)
            return "Conflict"
        case Refused():
            delay = world.queue.add_failed(key)
            log.warning("refused", **_about(key), reason=error.reason, error=plain(str(error)), again_in=_seconds(delay))
            return "Refused"
        case Broken():
            asked = error.retry_after if isinstance(error, ApiUnavailable) else None
            delay = world.queue.add_failed(key, asked or timedelta())
            log.warning("failed", **_about(key), reason=error.reason, error=plain(str(error)), again_in=_seconds(delay))
            return "Broken"
        case _:
            delay = world.queue.add_failed(key)
            log.error("a pass failed by a fault of ours", **_about(key), again_in=_seconds(delay), exc_info=error)
            return "Fault"


def _about(key: Key) -> dict[str, Any]:
    return {"kind": key.kind, "namespace": key.namespace, "name": key.name}


def _seconds(delay: timedelta) -> float:
    return round(delay.total_seconds(), 1)
