"""The figures of /metrics, in a registry of their own."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric

if TYPE_CHECKING:
    from unicorn_operator.cache import Caches
    from unicorn_operator.queue import WorkQueue

_SECONDS = (0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """What happened so far in this process. Counting is cheap and never raises."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        self._passes = Histogram(
            "unicorn_reconcile_seconds", "Passes", ["kind", "outcome"], buckets=_SECONDS, registry=self.registry
        )
        self._waits = Histogram(
            "unicorn_queue_wait_seconds", "How long a key stood in the line", buckets=_SECONDS, registry=self.registry
        )
        self._requests = Counter(
            "unicorn_api_requests_total", "Requests to the Kubernetes API", ["method", "resource"], registry=self.registry
        )
        self._operations = Counter(
            "unicorn_operations_total", "Operations on nodes", ["connector_type", "verb", "outcome"], registry=self.registry
        )

        self._builds = Counter("unicorn_builds_total", "Runs of builds that have ended", ["outcome"], registry=self.registry)
        self._open_builds = Gauge(
            "unicorn_open_builds", "Builds that wait for their turn, or run", ["state"], registry=self.registry
        )

    def passed(self, kind: str, outcome: str, seconds: float) -> None:
        self._passes.labels(kind, outcome).observe(seconds)

    def waited(self, seconds: float) -> None:
        self._waits.observe(seconds)

    def requested(self, method: str, path: str) -> None:
        self._requests.labels(method, resource_of(path)).inc()

    def operated(self, connector_type: str, verb: str, outcome: str) -> None:
        """An operation on one executor ended: `outcome` is Done, Failed, Unknown, Waiting, Broken or TimedOut."""
        self._operations.labels(connector_type, verb, outcome).inc()

    def built(self, outcome: str) -> None:
        """A run of a build ended: Succeeded, Found (in the registry), Failed, Cancelled, or Postponed."""
        self._builds.labels(outcome).inc()

    def builds_open(self, waiting: int, running: int) -> None:
        self._open_builds.labels("Waiting").set(waiting)
        self._open_builds.labels("Running").set(running)

    def look_at(self, queue: "WorkQueue", caches: "Caches") -> None:
        """Show these at each scrape."""
        self.registry.register(_Live(queue, caches))

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)


class _Live:
    """Gauges that are read off when somebody asks."""

    def __init__(self, queue: "WorkQueue", caches: "Caches") -> None:
        self._queue, self._caches = queue, caches

    def collect(self) -> Iterable[Metric]:
        depth = GaugeMetricFamily("unicorn_queue_depth", "Keys in the line or waiting for a later moment", labels=["state"])
        depth.add_metric(["ready"], self._queue.depth())
        depth.add_metric(["delayed"], self._queue.delayed())
        yield depth
        objects = GaugeMetricFamily("unicorn_objects", "Objects in the cache", labels=["kind"])
        for cache in self._caches.by_kind.values():
            objects.add_metric([cache.kind], len(cache))
        yield objects
        phases: dict[str, int] = {}
        for item in self._caches.experiments:
            phase = (item.get("status") or {}).get("phase") or "New"
            phases[phase] = phases.get(phase, 0) + 1
        gauge = GaugeMetricFamily("unicorn_experiments", "Experiments by phase", labels=["phase"])
        for phase, count in sorted(phases.items()):
            gauge.add_metric([phase], count)
        yield gauge


def resource_of(path: str) -> str:
    """The plural in a path of the Kubernetes API; what is no resource, such as /version, is called by its first part."""
    parts = path.strip("/").split("/")
    rest = parts[{"api": 2, "apis": 3}.get(parts[0], 0) :]
    if len(rest) > 2 and rest[0] == "namespaces":
        rest = rest[2:]
    return rest[0] if rest else parts[0]
