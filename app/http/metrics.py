"""Prometheus metrics: requests by route, waits and connections of this process, and counts of the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

__all__ = ["CONTENT_TYPE_LATEST", "Metrics"]

_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)


class Metrics:
    """The metrics of the edge, in a registry to which other parts add theirs."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self._requests = Histogram(
            "swarmhold_http_request_seconds",
            "Time from request to reply, parked polls included.",
            ("method", "route", "status"),
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._observe: dict[tuple[str, str, int], Callable[[float], None]] = {}

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Add a gauge whose value `read` returns at each scrape."""
        Gauge(name, text, registry=self.registry).set_function(read)

    def counter(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Add a counter `<name>_total` whose value `read` returns at each scrape."""
        self.registry.register(_Counted(name, text, read))

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request. `route` is the template of its path, so that ids create no time series."""
        key = (method, route, status)
        observe = self._observe.get(key)
        if observe is None:
            observe = self._observe[key] = self._requests.labels(method, route, str(status)).observe
        observe(seconds)

    def text(self) -> bytes:
        """Return all metrics in the Prometheus text format."""
        return generate_latest(self.registry)


class _Counted(Collector):
    """A counter whose value is read from elsewhere."""

    def __init__(self, name: str, text: str, read: Callable[[], float]) -> None:
        self._name, self._text, self._read = name, text, read

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Return the metric with its current value."""
        yield CounterMetricFamily(self._name, self._text, value=self._read())
