"""Not too often: what is not urgent is written a while after it came up, or after the last write."""

from datetime import datetime, timedelta

from unicorn_operator.key import Key


class Pace:
    """`interval`: between two writes for a key. `delay`: from when a change comes up until it is written."""

    def __init__(self, interval: timedelta, delay: timedelta) -> None:
        self._interval, self._delay = interval, delay
        self._written: dict[Key, datetime] = {}
        self._came_up: dict[Key, datetime] = {}

    def interval_left(self, key: Key, now: datetime) -> timedelta:
        """Zero or less: it may be written now."""
        last = self._written.get(key)
        return timedelta() if last is None else last + self._interval - now

    def delay_left(self, key: Key, now: datetime) -> timedelta:
        """The same; the first call after a write begins the delay."""
        return self._came_up.setdefault(key, now) + self._delay - now

    def wrote(self, key: Key, now: datetime) -> None:
        self._written[key] = now
        self._came_up.pop(key, None)

    def forget(self, key: Key) -> None:
        self._written.pop(key, None)
        self._came_up.pop(key, None)
