"""How often somebody may do something."""

from dataclasses import dataclass


@dataclass(slots=True)
class Bucket:
    """A token bucket. `tokens` below 0 means: not filled yet."""

    tokens: float = -1.0
    at: float = 0.0

    def take(self, now: float, rate: float, burst: float) -> float:
        """0 when there was a token (it is taken), else the seconds until there will be one. `now`: monotonic."""
        self.fill(now, rate, burst)
        if self.tokens < 1:
            return (1 - self.tokens) / rate
        self.tokens -= 1
        return 0.0

    def fill(self, now: float, rate: float, burst: float) -> None:
        """Bring it up to date."""
        self.tokens = burst if self.tokens < 0 else min(burst, self.tokens + (now - self.at) * rate)
        self.at = now
