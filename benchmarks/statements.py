"""Count what PostgreSQL is asked for each step of a task's life: statements, each of which is a round trip.

    python -m benchmarks.statements postgresql://… [--list]

BEGIN and COMMIT count as well. `--list` shows the statements of each step, with how often they ran and how long the
server process waited for them.
"""

from __future__ import annotations

import asyncio
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from app.state.postgres.connection import PostgresConnection
from benchmarks import instructions
from benchmarks.instructions import LIVES

_SHOWN = 150


class Counts:
    """The statements since the last mark, and those of the steps before."""

    def __init__(self) -> None:
        self.steps: dict[str, tuple[Counter[str], Counter[str]]] = {}
        self._runs, self._waits = Counter[str](), Counter[str]()
        self._lock = threading.Lock()

    def count(self, sql: str, seconds: float) -> None:
        """Count one statement and the time that it was waited for."""
        with self._lock:
            self._runs[sql] += 1
            self._waits[sql] += round(seconds * 1e6)

    def mark(self, name: str) -> None:
        """End the step of this name; without one, begin a step."""
        if name:
            self.steps[name] = self._runs, self._waits
        self._runs, self._waits = Counter(), Counter()


def _watch(counts: Counts) -> None:
    """Count every statement of this process's connections."""

    def counted(method: str, text: Callable[[Any], str]) -> None:
        run = getattr(PostgresConnection, method)

        def timed(self: PostgresConnection, sql: Any, *args: Any) -> Any:
            begin = time.perf_counter()
            try:
                return run(self, sql, *args)
            finally:
                counts.count(text(sql), time.perf_counter() - begin)

        setattr(PostgresConnection, method, timed)

    counted("_run", lambda sql: sql)
    counted("_simple", lambda sql: sql.decode())


def measure(url: str) -> Counts:
    """Run lives on an empty database and return what each step asked for."""
    counts = Counts()
    _watch(counts)
    asyncio.run(instructions.run(counts.mark, database_url=url))
    return counts


def _brief(sql: str) -> str:
    """Return a statement on one line, without its lists of columns."""
    text = " ".join(sql.split())
    text = re.sub(r"SELECT (?:[^()]*?,){4}.*? FROM (?=\w+ )", "SELECT … FROM ", text)
    text = re.sub(r"\((?:[a-z_]+, ){4}[^)]*\) VALUES .*", "(…)", text)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def main(arguments: Sequence[str]) -> None:
    """Print the statements per operation of each step."""
    url, *options = arguments
    for step, (runs, waits) in measure(url).steps.items():
        total = sum(runs.values()) / LIVES
        print(f"{step:10} {total:5.1f} statements, {sum(waits.values()) / LIVES:6.0f} µs")
        if "--list" in options:
            for sql, count in runs.most_common():
                if count >= LIVES // 8:
                    print(f"    {count / LIVES:4.1f} {waits[sql] / count:6.0f} µs  {_brief(sql)}")


if __name__ == "__main__":
    main(sys.argv[1:])
