"""Not too often: when something was last written for a key, and how long to wait before the next write."""

from datetime import datetime, timedelta

from unicorn_operator.key import Key


class Pace:
    def __init__(self, interval: timedelta) -> None:
        self._interval = interval
        self._last: dict[Key, datetime] = {}

    def left(self, key: Key, now: datetime) -> timedelta:
        """Zero or less: it may be written now."""
        last = self._last.get(key)
        return timedelta() if last is None else last + self._interval - now

    def mark(self, key: Key, now: datetime) -> None:
        self._last[key] = now

    def forget(self, key: Key) -> None:
        self._last.pop(key, None)
