"""Run the named benchmarks: `python -m benchmarks [hot …]`. Without names, run all and write `results.md`."""

from __future__ import annotations

import sys
from collections.abc import Callable

from benchmarks import cluster, grown, hints, hot, lives, servers, stalls, store, wakes, written
from benchmarks.report import Row, table, write

SUITES: dict[str, Callable[[], list[Row]]] = {
    "hot": hot.main,
    "lives": lives.main,
    "written": written.main,
    "wakes": wakes.main,
    "hints": hints.main,
    "store": store.main,
    "grown": grown.main,
    "stalls": stalls.main,
    "cluster": cluster.main,
}


def main(names: list[str]) -> int:
    """Run the benchmarks and return the exit status: 2 for an unknown name."""
    unknown = [name for name in names if name not in SUITES]
    if unknown:
        sys.stderr.write(f"unknown benchmarks: {', '.join(unknown)}; choose from {', '.join(SUITES)}\n")
        return 2
    servers.pin({1})
    rows: list[Row] = []
    for name in names or SUITES:
        found = SUITES[name]()
        sys.stdout.write(table(found) + "\n\n")
        sys.stdout.flush()
        rows += found
    if not names:
        write(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
