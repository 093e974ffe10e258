"""How often somebody may fail, by name or by address."""

from collections import OrderedDict
from dataclasses import dataclass, field

from unicorn_gateway.rates import Bucket

_REMEMBERED = 20_000


@dataclass(eq=False)
class Attempts:
    """`rate`: failures a second, on average; `burst`: at once. A success does not count. `now`: monotonic."""

    rate: float
    burst: float
    _buckets: OrderedDict[str, Bucket] = field(default_factory=OrderedDict)

    def delay(self, key: str, now: float) -> float:
        """0, or the seconds until there may be another attempt."""
        bucket = self._buckets.get(key)
        if bucket is None:
            return 0.0
        bucket.fill(now, self.rate, self.burst)
        return 0.0 if bucket.tokens >= 1 else (1 - bucket.tokens) / self.rate

    def fail(self, key: str, now: float) -> None:
        bucket = self._buckets.setdefault(key, Bucket())
        self._buckets.move_to_end(key)
        if len(self._buckets) > _REMEMBERED:
            self._buckets.popitem(last=False)
        bucket.take(now, self.rate, self.burst)
