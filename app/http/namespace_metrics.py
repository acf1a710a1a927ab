"""Metrics of namespaces: tasks by status and open questions of the one that the scraper belongs to, or of all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from app.domain.namespaces import OTHER
from app.domain.tasks import SETTLED
from app.engine.ops.namespaces import NamespaceSummary

MOST = 100
"""How many namespaces have a label of their own; the rest share the label `other`."""

_SETTLED = frozenset(status.value for status in SETTLED)


def text(found: Sequence[NamespaceSummary]) -> bytes:
    """Return the metrics of these namespaces in the Prometheus text format."""
    registry = CollectorRegistry()
    registry.register(_Summaries(found))
    return generate_latest(registry)


def _busy(row: NamespaceSummary) -> int:
    return row.open_questions + sum(count for status, count in row.tasks.items() if status not in _SETTLED)


class _Summaries(Collector):
    def __init__(self, found: Sequence[NamespaceSummary]) -> None:
        self._found = sorted(found, key=_busy, reverse=True)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Return the metrics, each with the label `namespace`."""
        tasks, questions = Counter[tuple[str, str]](), Counter[str]()
        for place, row in enumerate(self._found):
            name = row.name if place < MOST else OTHER
            questions[name] += row.open_questions
            for status, count in row.tasks.items():
                tasks[name, status] += count
        family = GaugeMetricFamily("swarmhold_tasks", "Tasks by status.", labels=("namespace", "status"))
        for labels, count in tasks.items():
            family.add_metric(labels, count)
        yield family
        family = GaugeMetricFamily("swarmhold_open_questions", "Questions that wait.", labels=("namespace",))
        for name, count in questions.items():
            family.add_metric((name,), count)
        yield family
