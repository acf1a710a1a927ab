"""The report: its rows, as a table and as a file."""

from __future__ import annotations

import os
import platform
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

LIBRARIES = ("fastapi", "starlette", "uvicorn", "uvloop", "apsw", "orjson")
RESULTS = Path(__file__).parent / "results.md"


def python_build() -> str:
    """Return the version of the running Python, and whether it was built with optimisation (some 10 % faster)."""
    configured = "--enable-optimizations" in str(sysconfig.get_config_var("CONFIG_ARGS"))
    # Debian and Ubuntu optimise theirs by a target of the makefile, which the configuration does not show.
    packaged = sys.base_prefix == "/usr" and Path("/etc/debian_version").exists()
    optimised = configured or packaged
    return f"Python {platform.python_version()} ({'optimised' if optimised else 'not optimised'} build)"


@dataclass(frozen=True, slots=True)
class Row:
    """One result: what was measured, the value, the baseline, and the goal."""

    what: str
    measured: str
    beside: str
    goal: str


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = ["| what | measured | compared with | goal |", "|---|---|---|---|"]
    lines += [f"| {row.what} | {row.measured} | {row.beside} | {row.goal} |" for row in rows]
    return "\n".join(lines)


def write(rows: Sequence[Row]) -> None:
    """Write `results.md` with the machine, the versions and the rows; the sections behind them stay."""
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    text = f"""# Results

Made by `make bench` on {datetime.now(UTC):%Y-%m-%d}: {python_build()} on {platform.system()}
{platform.machine()}, {os.cpu_count()} cores; {libraries}.
The server has one core, the load generator another. Both sides of a comparison ran in alternating rounds of the same
run; values are medians of the rounds. CPU is the server's, per request or life. Machines are noisy: trust the ratios,
and the counts of `make bench-instructions`.

{table(rows)}
"""
    before = RESULTS.read_text() if RESULTS.exists() else ""
    _, heading, rest = before.partition("\n## ")
    RESULTS.write_text(text + heading + rest)
    sys.stdout.write(text)
