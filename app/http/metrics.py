"""Prometheus metrics: requests by route, waits and connections of this process, and counts of the engine."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from starlette.requests import ClientDisconnect

__all__ = ["CONTENT_TYPE_LATEST", "Metrics"]

_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
"""Upper bounds of the histogram's buckets, in seconds."""
_BOUNDS = [*map(str, _BUCKETS), "+Inf"]


LEFT = "left"
"""The code of a request whose client was gone before its reply."""


@dataclass(slots=True)
class DoorRequest:
    """One request of a door as metrics count it. Both texts are from a fixed set, so that no client makes series."""

    method: str
    code: str = "ok"


class Metrics:
    """The metrics of the edge, in a registry to which other parts add theirs."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self._requests: dict[tuple[str | int, ...], _Durations] = {}
        self._parked: dict[tuple[str | int, ...], _Durations] = {}
        self._doors: dict[tuple[str | int, ...], _Durations] = {}
        self.registry.register(
            _Histogram(
                "swarmhold_http_request_seconds",
                "Time from request to reply, without the time for which it was parked.",
                ("method", "route", "status"),
                self._requests,
            )
        )
        doors = ("door", "method", "code")
        self.registry.register(_DoorCounts(doors, self._doors))
        self.registry.register(
            _Histogram(
                "swarmhold_door_requests_seconds",
                "Time from request to reply at the doors besides REST and WebSocket, waiting included.",
                doors,
                self._doors,
            )
        )
        self.registry.register(
            _Histogram(
                "swarmhold_http_parked_seconds",
                "Time for which a request was parked: a long poll, a claim, a stream.",
                ("method", "route"),
                self._parked,
            )
        )

    @contextmanager
    def door(self, door: str, method: str) -> Generator[DoorRequest]:
        """Count and time one request of a door: what it says in the end, with the code of an error that ends it."""
        request = DoorRequest(method)
        started = time.perf_counter()
        try:
            yield request
        except BaseException as error:
            left = isinstance(error, asyncio.CancelledError | ClientDisconnect)
            request.code = LEFT if left else str(getattr(error, "code", "internal"))
            raise
        finally:
            key = (door, request.method, request.code)
            self._doors.setdefault(key, _Durations()).add(time.perf_counter() - started)

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Add a gauge whose value `read` returns at each scrape."""
        Gauge(name, text, registry=self.registry).set_function(read)

    def counter(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Add a counter `<name>_total` whose value `read` returns at each scrape."""
        self.registry.register(_Counted(name, text, None, lambda: {"": read()}))

    def counters(self, name: str, text: str, label: str, read: Callable[[], Mapping[str, float]]) -> None:
        """Add a counter `<name>_total` with a label, whose values by the label `read` returns at each scrape."""
        self.registry.register(_Counted(name, text, label, read))

    def request(self, method: str, route: str, status: int, seconds: float, *, parked: float | None = None) -> None:
        """Count one request. `route` is the template of its path, so that ids create no time series.

        `parked` are the seconds of those for which it was parked, None where it never was.
        """
        if parked is not None:
            seconds = max(0.0, seconds - parked)
            self._parked.setdefault((method, route), _Durations()).add(parked)
        key = (method, route, status)
        durations = self._requests.get(key)
        if durations is None:
            durations = self._requests[key] = _Durations()
        durations.add(seconds)

    def text(self) -> bytes:
        """Return all metrics in the Prometheus text format."""
        return generate_latest(self.registry)


class _Durations:
    """The requests of one series, counted by the bucket that their duration falls into."""

    __slots__ = ("buckets", "created", "seconds")

    def __init__(self) -> None:
        self.buckets = [0] * (len(_BUCKETS) + 1)
        self.seconds = 0.0
        self.created = time.time()

    def add(self, seconds: float) -> None:
        self.buckets[bisect_left(_BUCKETS, seconds)] += 1
        self.seconds += seconds


class _Histogram(Collector):
    """A histogram of durations by labels. The library's own takes four times as long to count one."""

    def __init__(
        self, name: str, text: str, labels: tuple[str, ...], series: dict[tuple[str | int, ...], _Durations]
    ) -> None:
        self._name, self._text, self._labels, self._series = name, text, labels, series

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Return the metric with its current values."""
        family = HistogramMetricFamily(self._name, self._text, labels=self._labels)
        for key, durations in self._series.items():
            values = [str(part) for part in key]
            family.add_metric(values, list(zip(_BOUNDS, accumulate(durations.buckets), strict=True)), durations.seconds)
            family.add_sample(f"{self._name}_created", dict(zip(self._labels, values, strict=True)), durations.created)
        yield family


class _DoorCounts(Collector):
    """How many requests the doors have had."""

    def __init__(self, labels: tuple[str, ...], series: dict[tuple[str | int, ...], _Durations]) -> None:
        self._labels, self._series = labels, series

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Return the metric with its current values."""
        text = "Requests of the doors besides REST and WebSocket."
        family = CounterMetricFamily("swarmhold_door_requests", text, labels=self._labels)
        for key, durations in self._series.items():
            family.add_metric([str(part) for part in key], sum(durations.buckets), created=durations.created)
        yield family


class _Counted(Collector):
    """A counter whose values, by a label, are read from elsewhere."""

    def __init__(self, name: str, text: str, label: str | None, read: Callable[[], Mapping[str, float]]) -> None:
        self._name, self._text, self._read = name, text, read
        self._labels = () if label is None else (label,)

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Return the metric with its current values."""
        family = CounterMetricFamily(self._name, self._text, labels=self._labels)
        for value, count in self._read().items():
            family.add_metric((value,) if self._labels else (), count)
        yield family
