"""Metrics of namespaces: what the one that the scraper belongs to, or each of all, holds, did and waits for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from app.domain.events import EventKind
from app.domain.namespaces import ALL_ID, OTHER
from app.domain.tasks import SETTLED
from app.domain.usage import Spender, Usage
from app.engine.ops.measures import Measures
from app.engine.ops.namespaces import NamespaceSummary
from app.state.state import Counted

MOST = 100
"""How many namespaces, and how many queues, have a label of their own; the rest share the label `other`."""
EVERYWHERE = "*"
"""The label of a webhook for the events of all namespaces."""

_SETTLED = frozenset(status.value for status in SETTLED)
_SETTLING = {
    EventKind.TASK_PASS: "pass",
    EventKind.TASK_BLOCKED: "blocked",
    EventKind.TASK_CANCELLED: "cancelled",
}

Samples = Counter[tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """Measures of all namespaces and counts of this process. `everything`: the scraper sees all of them."""

    measures: Measures
    counts: Mapping[Counted, int]
    used: Sequence[tuple[Spender, Usage]]
    name_of: Callable[[int], str | None]
    everything: bool


def text(found: Sequence[NamespaceSummary], observed: Observed | None = None) -> bytes:
    """Return the metrics of these namespaces in the Prometheus text format."""
    registry = CollectorRegistry()
    registry.register(_Namespaces(found, observed))
    return generate_latest(registry)


def _busy(row: NamespaceSummary) -> int:
    return row.open_questions + sum(count for status, count in row.tasks.items() if status not in _SETTLED)


class _Namespaces(Collector):
    def __init__(self, found: Sequence[NamespaceSummary], observed: Observed | None) -> None:
        self._found = sorted(found, key=_busy, reverse=True)
        self._labels = {row.name: row.name if place < MOST else OTHER for place, row in enumerate(self._found)}
        self._observed = observed

    def collect(self) -> Iterator[Metric]:
        """Return the metrics, each with the label `namespace`."""
        yield from self._standing()
        if self._observed is not None:
            yield from self._counted(self._observed)
            yield from self._used(self._observed)
            yield from self._queues(self._observed)
            yield from self._webhooks(self._observed)
            yield from self._server(self._observed.measures)

    def _standing(self) -> Iterator[Metric]:
        tasks, questions = Samples(), Samples()
        oldest: dict[tuple[str, ...], float] = {}
        now = None if self._observed is None else self._observed.measures.at
        for row in self._found:
            name = self._labels[row.name]
            questions[name,] += row.open_questions
            for status, count in row.tasks.items():
                tasks[name, status] += count
            if now is not None:
                waited = 0.0 if row.oldest_open_at is None else max(0, now - row.oldest_open_at) / 1000
                oldest[name,] = max(oldest.get((name,), 0.0), waited)
        yield _gauge("swarmhold_tasks", "Tasks by status.", ("namespace", "status"), tasks)
        yield _gauge("swarmhold_open_questions", "Questions that wait.", ("namespace",), questions)
        if now is not None:
            about = "For how long the oldest open question has waited."
            yield _gauge("swarmhold_oldest_open_question_seconds", about, ("namespace",), oldest)

    def _server(self, measures: Measures) -> Iterator[Metric]:
        nodes = {(state,): float(count) for state, count in measures.nodes.items()}
        behind_s = 0.0 if measures.unread_since is None else max(0, measures.at - measures.unread_since) / 1000
        yield _gauge("swarmhold_database_bytes", "Size of the database.", (), {(): measures.database_bytes})
        yield _gauge("swarmhold_nodes", "Nodes by state; dead ones for an hour.", ("state",), nodes)
        about = "Committed events that streams of this node have still to read; 10,000 are counted at most."
        yield _gauge("swarmhold_feed_unread_events", about, (), {(): measures.unread})
        yield _gauge("swarmhold_feed_unread_seconds", "Age of the oldest of them.", (), {(): behind_s})

    def _counted(self, observed: Observed) -> Iterator[Metric]:
        found = {kind: Samples() for kind in ("settled", "started", "ended", "retries", "lost")}
        for (namespace, kind, *more), count in observed.counts.items():
            if (label := self._label_of(observed, namespace)) is None:
                continue
            if kind in _SETTLING:
                found["settled"][label, _SETTLING[kind]] += count
            elif kind == EventKind.TASK_ATTEMPT_STARTED:
                found["started"][label, *more] += count
            elif kind == EventKind.TASK_ATTEMPT_COMPLETED:
                found["ended"][label, *more] += count
            else:
                found["lost" if kind == EventKind.LEASE_LOST else "retries"][label,] += count
        for name, about, labels, samples in (
            ("swarmhold_tasks_settled", "Tasks that were settled, by outcome.", ("outcome",), found["settled"]),
            ("swarmhold_attempts_started", "Attempts that began, by kind.", ("kind",), found["started"]),
            ("swarmhold_attempts_ended", "Attempts that ended, and why.", ("outcome", "reason"), found["ended"]),
            ("swarmhold_retries", "Attempts that were planned by retry policies.", (), found["retries"]),
            ("swarmhold_leases_lost", "Attempts whose workers were lost.", (), found["lost"]),
        ):
            yield _counter(name, f"{about} Since this process started.", ("namespace", *labels), samples)

    def _used(self, observed: Observed) -> Iterator[Metric]:
        tokens, cost = Samples(), dict[tuple[str, ...], float]()
        for (namespace, agent, model), usage in observed.used:
            if (label := self._label_of(observed, namespace)) is None:
                continue
            for direction, count in (("input", usage.input_tokens), ("output", usage.output_tokens)):
                if count is not None:
                    tokens[label, agent, model, direction] += count
            if usage.cost is not None:
                cost[label, agent, model] = cost.get((label, agent, model), 0.0) + usage.cost
        labels = ("namespace", "agent", "model")
        about = "that workers reported, by agent and model. Since this process started."
        yield _counter("swarmhold_usage_tokens", f"Tokens {about}", (*labels, "direction"), tokens)
        yield _counter("swarmhold_usage_cost", f"Cost {about}", labels, cost)

    def _queues(self, observed: Observed) -> Iterator[Metric]:
        depth, oldest = Samples(), dict[tuple[str, ...], float]()
        for place, row in enumerate(sorted(observed.measures.queues, key=lambda one: one.depth, reverse=True)):
            if (label := self._label_of(observed, row.namespace)) is None:
                continue
            key = (label, row.queue if place < MOST else OTHER)
            depth[key] += row.depth
            oldest[key] = max(oldest.get(key, 0.0), (observed.measures.at - row.oldest_at) / 1000)
        labels = ("namespace", "queue")
        yield _gauge("swarmhold_queue_depth", "Attempts that wait to be claimed.", labels, depth)
        yield _gauge("swarmhold_queue_oldest_seconds", "For how long the oldest of them has waited.", labels, oldest)

    def _webhooks(self, observed: Observed) -> Iterator[Metric]:
        lag, failures, paused = (dict[tuple[str, ...], float]() for _ in range(3))
        for row in observed.measures.webhooks:
            if (label := self._label_of(observed, row.namespace)) is None:
                continue
            since = observed.measures.at if row.waiting_since is None else row.waiting_since
            key = (label, row.webhook)
            lag[key] = max(0, observed.measures.at - since) / 1000
            failures[key], paused[key] = row.failures, row.paused
        labels = ("namespace", "webhook")
        yield _gauge("swarmhold_webhook_lag_seconds", "Age of the oldest event to be delivered.", labels, lag)
        yield _gauge("swarmhold_webhook_failures", "Failures since the last delivery.", labels, failures)
        yield _gauge("swarmhold_webhook_paused", "1 while nothing is delivered.", labels, paused)

    def _label_of(self, observed: Observed, namespace: int) -> str | None:
        """Return the label of a namespace, None for one that is not shown to this scraper."""
        if namespace == ALL_ID:
            return EVERYWHERE if observed.everything else None
        return self._labels.get(observed.name_of(namespace) or "")


def _gauge(name: str, about: str, labels: Sequence[str], samples: Mapping[tuple[str, ...], float]) -> Metric:
    family = GaugeMetricFamily(name, about, labels=labels)
    for key, value in samples.items():
        family.add_metric(key, value)
    return family


def _counter(name: str, about: str, labels: Sequence[str], samples: Mapping[tuple[str, ...], float]) -> Metric:
    family = CounterMetricFamily(name, about, labels=labels)
    for key, value in samples.items():
        family.add_metric(key, value)
    return family
