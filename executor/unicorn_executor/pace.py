"""How much is sent in one request: what the way to the gateway carries in a few seconds.

A thin link needs minutes for what the protocol allows in one request. In that time nothing else of this executor would be heard,
and whatever breaks makes all of it begin anew.
"""

from __future__ import annotations

LEAST = 32 * 1024  # two events
MOST = 4 * 1024 * 1024  # the protocol's limit of a blob's part
FIRST = 512 * 1024
QUICK, SLOW = 1.0, 4.0  # seconds


class Pace:
    """Bytes at once: doubled after a request that was quick and full, halved after one that was slow."""

    def __init__(self) -> None:
        self.size = FIRST

    def took(self, size: int, seconds: float) -> None:
        """A request with a body of `size` bytes was answered after `seconds`."""
        if seconds > SLOW and size > LEAST:
            self.size = max(LEAST, min(self.size, size) // 2)
        elif seconds < QUICK and size > self.size // 2:
            self.size = min(MOST, self.size * 2)

    def late(self, size: int) -> None:
        """A body of `size` bytes did not get through."""
        self.size = max(LEAST, min(self.size, size) // 4)
