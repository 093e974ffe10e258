"""What /metrics of the user API tells, in a registry of the process's own."""

from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

_BUCKETS = (0.005, 0.025, 0.1, 0.5, 2.5, 10, 60)


@dataclass(eq=False)
class Metrics:
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def __post_init__(self) -> None:
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        registry = self.registry
        self._requests = Counter("unicorn_user_requests", "Answered requests", ["route", "status"], registry=registry)
        self._seconds = Histogram(
            "unicorn_user_request_seconds", "Time to the answer", ["route"], registry=registry, buckets=_BUCKETS
        )
        self._logins = Counter("unicorn_user_logins", "Logins tried", ["outcome"], registry=registry)

    def answered(self, route: str, status: int, seconds: float) -> None:
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def login(self, outcome: str) -> None:
        """outcome: Accepted | Refused | TooMany."""
        self._logins.labels(outcome).inc()

    def text(self) -> bytes:
        return generate_latest(self.registry)
