"""The progress of the demo: counts by agent, and the latest messages."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from swarmhold.models.events import Event

_AFTER = {
    "task_created": "pending",
    "task_attempt_started": "running",
    "task_retry_scheduled": "waiting",
    "task_suspended": "suspended",
    "task_resumed": "running",
    "task_pass": "pass",
    "task_blocked": "blocked",
    "task_cancelled": "cancelled",
}
_COLUMNS = ("pending", "running", "waiting", "suspended", "blocked", "pass")


@dataclass(slots=True)
class Progress:
    """Counts the server's events. On a terminal it is a live display; elsewhere each message is printed as a line."""

    console: Console
    expected: int
    agents: dict[str, str] = field(default_factory=dict[str, str])
    states: dict[str, str] = field(default_factory=dict[str, str])
    seen: int = 0
    _messages: deque[str] = field(default_factory=lambda: deque[str](maxlen=8))
    _began: float = field(default_factory=time.monotonic)
    _live: Live | None = None

    @contextmanager
    def shown(self) -> Generator[None]:
        """Show the progress while the block runs."""
        if not self.console.is_terminal:
            yield
            return
        with Live(self._display(), console=self.console, refresh_per_second=10, transient=True) as self._live:
            yield
        self._live = None

    @property
    def passed(self) -> int:
        """Number of tasks that have passed so far."""
        return sum(state == "pass" for state in self.states.values())

    def say(self, text: str) -> None:
        """Show a message."""
        line = f"{time.monotonic() - self._began:5.1f} s  {text}"
        self._messages.append(line)
        if self._live is None:
            self.console.print(Text(line), soft_wrap=True)
        else:
            self._live.update(self._display())

    def record(self, event: Event) -> None:
        """Count one event of the feed."""
        self.seen += 1
        if event.task_id is None:
            return
        if event.kind == "task_created":
            self.agents[event.task_id] = str(getattr(event, "agent", "") or "?")
        after = _AFTER.get(event.kind)
        if after is not None:
            self.states[event.task_id] = after
        if self._live is not None:
            self._live.update(self._display())

    def _display(self) -> Group:
        counts: dict[str, Counter[str]] = {}
        for task_id, state in self.states.items():
            counts.setdefault(self.agents.get(task_id, "?"), Counter())[state] += 1
        table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
        for name in ("agent", *_COLUMNS):
            table.add_column(name, justify="left" if name == "agent" else "right")
        for agent in sorted(counts):
            table.add_row(Text(agent), *(str(counts[agent][state] or "·") for state in _COLUMNS))
        bar = ProgressBar(total=self.expected, completed=self.passed, width=60)
        return Group(table, bar, *(Text(line) for line in self._messages))
