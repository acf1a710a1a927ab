"""What the doctor finds in the database."""

from __future__ import annotations

import stat
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

from app.cli import database
from app.cli.exits import CommandFailed
from app.config import Settings
from app.domain.clock import to_rfc3339
from app.domain.errors import EngineError
from app.domain.redaction import redact

if TYPE_CHECKING:
    from app.state.state import State

Look = tuple[str, Literal["good", "info", "warning", "wrong"], str, str]
"""About what, how it is, what was found, how to mend it."""

LARGE_LOG = 512 * 1024**2
SHOWN = 5


def check_database(settings: Settings, *, deep: bool) -> Iterator[Look]:
    """Reach, version, soundness, and what stands in it."""
    place = redact(settings.store_url)
    if not database.is_postgres(settings):
        try:
            if not database.database_file(settings).exists():
                yield ("database", "info", f"{place} does not exist yet; the first start makes it", "")
                return
        except CommandFailed as failure:
            yield ("database", "info", str(failure), "")
            return
    try:
        yield from _reached(settings, place, deep=deep)
    except (EngineError, CommandFailed) as failure:
        yield ("database", "wrong", f"{place}: {redact(str(failure))}", _MEND_REACH)


_MEND_REACH = "Mend what it says; a damaged file is replaced by a backup: `swarmhold restore`."


def _reached(settings: Settings, place: str, *, deep: bool) -> Iterator[Look]:
    from app.state import migrations

    with database.connected(settings) as link:
        found, head = migrations.version(link), migrations.head()
    if found != head:
        mend = "Start the server of this version, or run `swarmhold migrate`; a newer database needs a newer program."
        yield ("database", "warning", f"{place} is at version {found or 'none'}, this program's is {head}", mend)
        return
    yield ("database", "good", f"{place}, version {found}", "")
    if not database.is_postgres(settings):
        yield from _file(settings, deep=deep)
    facts = database.read(settings, lambda state: _facts(state, deep=deep))
    yield from _contents(facts)


def _file(settings: Settings, *, deep: bool) -> Iterator[Look]:
    from app.state.sqlite.files import integrity

    path = database.database_file(settings)
    for name in (path, path.with_name(f"{path.name}-wal")):
        if name.exists() and stat.S_IMODE(name.stat().st_mode) & 0o077:
            yield ("database file", "wrong", f"{name} can be read by others", f"chmod 600 {name}")
    log = path.with_name(f"{path.name}-wal")
    if log.exists() and log.stat().st_size > LARGE_LOG:
        size = f"{log.stat().st_size / 1024**2:.0f} MiB"
        yield ("database log", "warning", f"{log} has {size}", "A reader holds it back, or the disk is slow.")
    faults = integrity(path, thorough=deep)
    if faults:
        yield ("database file", "wrong", "; ".join(faults[:SHOWN]), _MEND_REACH)
    else:
        yield ("database file", "good", f"{path.stat().st_size / 1024**2:.1f} MiB, sound", "")


def _facts(state: State, *, deep: bool) -> dict[str, Any]:
    from app.engine.ops import audit, reports, scans

    return {
        "stats": reports.stats(state),
        "stranded": scans.stranded(state),
        "audit": audit.verify(state) if deep else None,
    }


def _contents(facts: dict[str, Any]) -> Iterator[Look]:
    stats: dict[str, Any] = facts["stats"]
    counts = ", ".join(f"{count} {status}" for status, count in sorted(stats["tasks"].items())) or "none"
    yield ("tasks", "info", counts, "")
    since = stats["oldest_open_question_at"]
    if since is not None:
        age = (time.time() * 1000 - since) / 3_600_000
        found = f"{stats['questions']['open']} open, the oldest since {to_rfc3339(since)} ({age:.1f} h)"
        yield ("questions", "info", found, "")
    if stats["loop"]["paused"]:
        found = f"paused by {stats['loop']['by']}: no attempt starts"
        yield ("loop", "warning", found, "A senior resumes it: POST /v1/senior/loop/resume.")
    if facts["stranded"]:
        for row in facts["stranded"][:SHOWN]:
            mend = f"Look with `swarmhold tasks why {row.task_id}`; cancel it, mark it or dispatch it again."
            yield ("waiting for nothing", "wrong", f"{row.task_id}: {row.what}", mend)
        if len(facts["stranded"]) > SHOWN:
            yield ("waiting for nothing", "wrong", f"and {len(facts['stranded']) - SHOWN} more", "")
    else:
        yield ("waiting for nothing", "good", "every unsettled row has a next event", "")
    if facts["audit"] is not None:
        yield ("audit log", "wrong", f"changed at row {facts['audit']}", "Compare it with an earlier export.")
