"""Which executors have been silent for too long: the design's paragraph on silence, and nothing else."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

GONE_GRACE = timedelta(seconds=30)  # a last report may still be on its way


def heartbeat_seconds(keep_alive: timedelta) -> float:
    """How often an executor is to be heard: several heartbeats fit into the patience that the operator has."""
    return max(1.0, min(30.0, keep_alive.total_seconds() / 4))


@dataclass(frozen=True, slots=True)
class Silence:
    heard: datetime  # aware UTC: the latest of last report, release, and our own reception restored
    keep_alive: timedelta
    gone_since: datetime | None = None  # set once its connector has said twice that nothing runs there


def due(silence: Silence) -> datetime:
    """When silence becomes loss."""
    if silence.gone_since is None:
        return silence.heard + silence.keep_alive
    return silence.heard + min(GONE_GRACE, silence.keep_alive)


def is_lost(silence: Silence, now: datetime) -> bool:
    return now >= due(silence)


def next_look(silences: Iterable[Silence], now: datetime) -> datetime | None:
    """The next moment at which one of them can become lost; None if none can any more."""
    return min((at for silence in silences if (at := due(silence)) > now), default=None)
