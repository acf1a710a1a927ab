"""The state as one transaction sees it.

An operation is a plain function of a `State`. It reads and writes rows, appends events and names the topics to wake
once its transaction is committed; it does nothing else, because it runs again after a conflict.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from app.domain import traces
from app.domain.audit import AuditRow, AuditSeal
from app.domain.clock import Instant
from app.domain.doors import Door
from app.domain.errors import EngineError
from app.domain.events import EventKind
from app.domain.ids import IdSource
from app.domain.json import Json
from app.domain.spans import Ended
from app.domain.traces import Trace
from app.domain.usage import Spender, Usage
from app.state import audit_log, feed
from app.state.statements import Connection

E = TypeVar("E", bound=EngineError)

LONG_EVENT = 8192
"""Characters of an event's data, as JSON, beyond which its texts are cut."""
LONG_TEXT = 2000
"""Characters to which they are cut."""

_DATABASE_NOW = "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint"


COUNTED: dict[str, tuple[str, ...]] = {
    EventKind.TASK_ATTEMPT_STARTED: ("spawner",),
    EventKind.TASK_ATTEMPT_COMPLETED: ("outcome", "reason"),
    EventKind.TASK_RETRY_SCHEDULED: (),
    EventKind.LEASE_LOST: (),
    EventKind.TASK_PASS: (),
    EventKind.TASK_BLOCKED: (),
    EventKind.TASK_CANCELLED: (),
}
"""The events that metrics count, and the data by which they are distinguished."""

Counted = tuple[Any, ...]
"""Namespace and kind of a counted event, and the data that COUNTED names."""


class Effects:
    """Effects of a commit: topics to wake, the earliest new due instant, and the cursors of the appended events.

    `counts` are what metrics count of the events, each with the cells of `Counted`; `used` what was reported as used;
    `ended` is what gets a span.
    """

    __slots__ = ("counts", "due", "ended", "events", "first_event", "last_event", "used", "wakes")

    def __init__(self) -> None:
        self.wakes: set[str] = set()
        self.counts: list[Counted] = []
        self.used: list[tuple[Spender, Usage]] = []
        self.due: Instant | None = None
        self.ended: list[Ended] | None = None
        self.events = 0
        self.first_event = self.last_event = 0
        """Cursors of the events, when there are any."""

    def __repr__(self) -> str:
        return f"Effects(wakes={sorted(self.wakes)}, due={self.due}, events={self.events})"

    def add(self, other: Effects) -> None:
        """Merge the effects of another operation into these."""
        self.wakes |= other.wakes
        self.counts += other.counts
        if other.ended:
            self.ended = [*(self.ended or ()), *other.ended]
        self.used += other.used
        if other.events:
            self.appended(other.events, other.first_event, other.last_event)
        if other.due is not None and (self.due is None or other.due < self.due):
            self.due = other.due

    def appended(self, count: int, first: int, last: int) -> None:
        """Count events with cursors from `first` to `last`."""
        self.first_event = min(self.first_event, first) if self.events else first
        self.last_event = max(self.last_event, last)
        self.events += count


@dataclass(frozen=True, slots=True)
class CommitThenRaise(Generic[E]):
    """Returned by an operation that fails although what it wrote must be committed (a late result, say).

    The transaction commits; then `Transactions` raises `error`.
    """

    error: E


def _cut(value: Any) -> Any:
    return value[:LONG_TEXT] + "…" if isinstance(value, str) and len(value) > LONG_TEXT else value


def even_jitter() -> float:
    """Return a random number in [-1, 1]."""
    return random.uniform(-1, 1)  # noqa: S311 - it spreads retries and guards nothing


class State:
    """One open transaction. Valid only inside the operation that receives it.

    `now` is one instant for the whole transaction; `jitter()` is injected randomness in [-1, 1]; `door` is the way by
    which the call came, `trace` its trace context, and `writes_spans` whether to record what ends. `locked_jti` is the
    token whose record was read under a lock, if one was, and `names` the names of namespaces that this process knows.
    """

    __slots__ = (
        *("_audit_rows", "_events", "_traces", "db", "door", "effects", "ids", "jitter", "locked_jti", "names", "now"),
        *("seal", "trace", "writes_spans"),
    )

    def __init__(
        self,
        db: Connection,
        *,
        now: Instant,
        ids: IdSource,
        jitter: Callable[[], float],
        seal: AuditSeal | None = None,
        names: dict[int, str | None] | None = None,
    ) -> None:
        self.db = db
        self.now = now
        self.ids = ids
        self.jitter = jitter
        self.door = Door.ENGINE
        self.trace: Trace | None = None
        self.writes_spans = False
        self.locked_jti: str | None = None
        self._traces: dict[str, str] | None = None
        self.effects: Effects | None = None
        self.seal = seal
        self.names = {} if names is None else names
        self._events: list[feed.Cells] = []
        self._audit_rows: list[AuditRow] = []

    def _follow(self) -> Effects:
        """Return the effects, created on first use: most operations have none."""
        if self.effects is None:
            self.effects = Effects()
        return self.effects

    def wake(self, topic: str) -> None:
        """After the commit, wake the waiters of a topic. A hint: they read the rows again."""
        self._follow().wakes.add(topic)

    def due(self, at: Instant) -> None:
        """After the commit, make the timers run at `at` or sooner."""
        effects = self._follow()
        if effects.due is None or at < effects.due:
            effects.due = at

    def used(self, who: Spender, usage: Usage) -> None:
        """After the commit, add to what metrics count as used."""
        self._follow().used.append((who, usage))

    def emit(
        self,
        kind: EventKind,
        *,
        namespace: int,
        task_id: str | None = None,
        session_id: str | None = None,
        attempt: int | None = None,
        **data: Any,
    ) -> None:
        """Append an event to the feed in this transaction. `data` must be JSON-serialisable and free of secrets.

        Readers hold whole pages of events: the texts of a long one are cut.
        """
        if (names := COUNTED.get(kind)) is not None:
            self._follow().counts.append((namespace, kind, *[str(data.get(name)) for name in names]))
        if self._traces is not None and task_id in self._traces:
            data["trace"] = traces.fields(self._traces[task_id])
        body = Json.of(data).text if data else None
        if body is not None and len(body) > LONG_EVENT:
            body = Json.of({name: _cut(value) for name, value in data.items()}).text
        self._events.append((str(kind), self.now, task_id, session_id, attempt, body, namespace))

    def carry_trace(self, task_id: str, trace: str) -> None:
        """Put a task's trace context into its events from now on."""
        if self._traces is None:
            self._traces = {}
        self._traces[task_id] = trace

    def ended(self, what: Ended) -> None:
        """After the commit, write the span of what ended."""
        effects = self._follow()
        effects.ended = [*(effects.ended or ()), what]

    def database_now(self) -> Instant:
        """Return the instant by the database's clock, which nodes have in common; on SQLite, `now`."""
        return self.now if self.db.dialect == "sqlite" else self.db.query(_DATABASE_NOW, ())[0][0]

    def audit(self, row: AuditRow) -> None:
        """Append a row to the audit log in this transaction; its number and digest are given when it is written."""
        self._audit_rows.append(row)

    def require_seal(self) -> AuditSeal:
        """Return the keys that chain the audit log. Raises RuntimeError in a store that was given none."""
        if self.seal is None:
            raise RuntimeError("this store has no keys for the audit log")
        return self.seal

    def flush(self) -> None:
        """Write the appended events, then the audit rows. The store calls it when the operation has returned."""
        if self._events:
            self._follow().appended(len(self._events), *feed.append(self.db, self._events))
            self._events = []
        if self._audit_rows:
            audit_log.append(self.db, self.require_seal(), self._audit_rows)
            self._audit_rows = []
