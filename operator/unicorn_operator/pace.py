"""Not too often: what is not urgent is written a while after it came up, or after the last write."""

from datetime import datetime, timedelta

from unicorn_operator.key import Key


class Pace:
    """`interval`: between two writes for a key."""

    def __init__(self, interval: timedelta) -> None:
        self._interval = interval
        self._written: dict[Key, datetime] = {}
        self._came_up: dict[Key, datetime] = {}

    def interval_left(self, key: Key, now: datetime) -> timedelta:
        """Zero or less: it may be written now."""
        last = self._written.get(key)
        return timedelta() if last is None else last + self._interval - now

    def delay_left(self, key: Key, now: datetime, delay: timedelta) -> timedelta:
        """The same; the first call after a write begins the `delay`."""
        return self._came_up.setdefault(key, now) + delay - now

    def wrote(self, key: Key, now: datetime) -> None:
        self._written[key] = now
        self._came_up.pop(key, None)

    def forget(self, key: Key) -> None:
        self._written.pop(key, None)
        self._came_up.pop(key, None)
