"""Bytes that SQLite writes for a task's life: to its log, which every commit waits for, and to the database itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import apsw

from benchmarks import lives, servers
from benchmarks.load import run_async
from benchmarks.report import Row
from benchmarks.swarm import attach

LIVES = 3_000
WARM = 1_000
ROUNDS = 3
LARGE = 64 * 1024
LARGE_LIVES = 500

_LOG_HEADER, _FRAME_HEADER = 32, 24
"""SQLite's file format, section 4.1: the log's header, and that of each page in it."""


class Written:
    """The bytes in a database and in its log, which does not start over while this is open."""

    def __init__(self, path: Path) -> None:
        self._path, self._log = path, path.with_name(f"{path.name}-wal")
        self._reader = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        self._page = int(self._reader.pragma("page_size"))
        self._reader.execute("BEGIN")
        self._reader.execute("SELECT count(*) FROM meta").fetchall()
        self._begun = (self.log(), self.database())

    def log(self) -> int:
        """Return how many bytes of the log are in use: pages of the present pass, with their headers."""
        data = self._log.read_bytes()
        size, salt = self._page + _FRAME_HEADER, data[16:24]
        used = (start for start in range(_LOG_HEADER, len(data), size) if data[start + 8 : start + 16] != salt)
        return next(used, len(data))

    def database(self) -> int:
        """Return how many bytes the pages take that are in use now."""
        raw = apsw.Connection(str(self._path), flags=apsw.SQLITE_OPEN_READONLY)
        pages = int(raw.pragma("page_count")) - int(raw.pragma("freelist_count"))
        raw.close()
        return pages * self._page

    def since(self) -> tuple[int, int]:
        """Return how many bytes of log and database were written since the beginning."""
        return self.log() - self._begun[0], self.database() - self._begun[1]

    def close(self) -> None:
        """Let the log start over."""
        self._reader.close()


@contextmanager
def _counting(server: servers.Server) -> Iterator[Written]:
    counted = Written(server.data_dir / "swarmhold.db")
    try:
        yield counted
    finally:
        counted.close()


async def _round(server: servers.Server, token: str, count: int, final: bytes) -> tuple[float, float]:
    """Return the bytes of log and database for each of so many lives."""
    with _counting(server) as counted:
        await lives.many([server.url], token, count, final)
        log, database = counted.since()
    return log / count, database / count


async def measure() -> list[Row]:
    """Measure short lives, then some with a large Final; return the medians of the rounds."""
    with servers.swarmhold() as real:
        token = await attach(real.url, real.root_key)
        await lives.many([real.url], token, WARM)
        rounds = [await _round(real, token, LIVES, b"done") for _ in range(ROUNDS)]
        large = await _round(real, token, LARGE_LIVES, b"x" * LARGE)
    log, database = (median(values) for values in zip(*rounds, strict=True))
    each = f"whole life, {lives.CLIENTS} clients"
    return [
        Row(f"bytes of log per {each}", f"{log:,.0f}", "", "≤ 8,192"),
        Row(f"bytes of database per {each}", f"{database:,.0f}", "", "≤ 1,536"),
        Row(
            f"bytes of database per life with a Final of {LARGE:,}",
            f"{large[1]:,.0f}",
            f"{(large[1] - database) / LARGE:.2f} × the Final",
            "stored once",
        ),
    ]


def main() -> list[Row]:
    """Run the benchmark."""
    return run_async(measure)
