"""What /metrics tells, in a registry of the process's own."""

from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

_BUCKETS = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10, 60)


@dataclass(eq=False)
class Metrics:
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def __post_init__(self) -> None:
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        registry = self.registry
        self._requests = Counter("unicorn_gateway_requests", "Answered requests", ["route", "status"], registry=registry)
        self._seconds = Histogram(
            "unicorn_gateway_request_seconds",
            "Time to the answer, long polls included",
            ["route"],
            registry=registry,
            buckets=_BUCKETS,
        )
        self.heartbeats = Counter("unicorn_gateway_heartbeats", "Heartbeats taken", registry=registry)
        self.events = Counter("unicorn_gateway_events", "Events stored", registry=registry)
        self.truncated = Counter(
            "unicorn_gateway_log_bytes_truncated", "Bytes of log over an executor's quota", registry=registry
        )
        self.sessions = Gauge("unicorn_gateway_sessions", "Executors in mind", registry=registry)
        self.store_works = Gauge("unicorn_gateway_store_works", "1 when PostgreSQL takes heartbeats", registry=registry)
        self._counters: dict[tuple[str, int], Counter] = {}  # labels() costs more than a heartbeat can afford
        self._histograms: dict[str, Histogram] = {}

    def answered(self, route: str, status: int, seconds: float) -> None:
        counter = self._counters.get((route, status))
        if counter is None:
            counter = self._counters[route, status] = self._requests.labels(route, str(status))
        counter.inc()
        histogram = self._histograms.get(route)
        if histogram is None:
            histogram = self._histograms[route] = self._seconds.labels(route)
        histogram.observe(seconds)

    def text(self) -> bytes:
        return generate_latest(self.registry)
