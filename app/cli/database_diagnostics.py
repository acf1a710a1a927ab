"""The diagnostics of the database."""

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
    from app.domain.audit import AuditSeal
    from app.state.state import State

Result = tuple[str, Literal["good", "info", "warning", "wrong"], str, str]
"""Subject, state, finding, and what to do about it."""

LARGE_LOG = 512 * 1024**2
SHOWN = 5


def check_database(settings: Settings, *, deep: bool) -> Iterator[Result]:
    """Check that the database is reachable, up to date and sound, and report its contents."""
    url = redact(settings.store_url)
    if not database.is_postgres(settings):
        try:
            if not database.database_file(settings).exists():
                yield ("database", "info", f"{url} does not exist yet; the first start creates it", "")
                return
        except CommandFailed as failure:
            yield ("database", "info", str(failure), "")
            return
    try:
        yield from _reached(settings, url, deep=deep)
    except (EngineError, CommandFailed) as failure:
        yield ("database", "wrong", f"{url}: {redact(str(failure))}", _REPAIR)


_REPAIR = "Correct what it says; replace a damaged file by a backup: `swarmhold restore`."


def _reached(settings: Settings, url: str, *, deep: bool) -> Iterator[Result]:
    from app.state import migrations

    with database.connected(settings) as link:
        found, head = migrations.version(link), migrations.head()
    if found != head:
        mend = "Start the server of this version, or run `swarmhold migrate`; a newer database needs a newer program."
        yield ("database", "warning", f"{url} is at version {found or 'none'}, this program's is {head}", mend)
        return
    yield ("database", "good", f"{url}, version {found}", "")
    if not database.is_postgres(settings):
        yield from _file(settings, deep=deep)
    ring = database.existing_keyring(settings) if deep else None
    seal = None if ring is None else ring.seal()
    facts = database.read(settings, lambda state: _facts(state, seal))
    yield from _contents(facts)


def _file(settings: Settings, *, deep: bool) -> Iterator[Result]:
    from app.state.sqlite.files import integrity

    path = database.database_file(settings)
    for name in (path, path.with_name(f"{path.name}-wal")):
        if name.exists() and stat.S_IMODE(name.stat().st_mode) & 0o077:
            yield ("database file", "wrong", f"{name} can be read by others", f"chmod 600 {name}")
    log = path.with_name(f"{path.name}-wal")
    if log.exists() and log.stat().st_size > LARGE_LOG:
        size = f"{log.stat().st_size / 1024**2:.0f} MiB"
        yield (
            "database log",
            "warning",
            f"{log} has {size}",
            "A long read keeps it from shrinking, or the disk is slow.",
        )
    faults = integrity(path, thorough=deep)
    if faults:
        yield ("database file", "wrong", "; ".join(faults[:SHOWN]), _REPAIR)
    else:
        yield ("database file", "good", f"{path.stat().st_size / 1024**2:.1f} MiB, sound", "")


def _facts(state: State, seal: AuditSeal | None) -> dict[str, Any]:
    from app.engine.ops import loop, reports, scans
    from app.state import audit_log

    return {
        "stats": reports.stats(state),
        "paused": loop.paused_namespaces(state),
        "stranded": scans.stranded(state),
        "audit": None if seal is None else audit_log.verify(state.db, seal),
    }


def _contents(facts: dict[str, Any]) -> Iterator[Result]:
    stats: dict[str, Any] = facts["stats"]
    counts = ", ".join(f"{count} {status}" for status, count in sorted(stats["tasks"].items())) or "none"
    yield ("tasks", "info", counts, "")
    since = stats["oldest_open_question_at"]
    if since is not None:
        age = (time.time() * 1000 - since) / 3_600_000
        found = f"{stats['questions']['open']} open, the oldest since {to_rfc3339(since)} ({age:.1f} h)"
        yield ("questions", "info", found, "")
    if stats["loop"].all.paused:
        found = f"paused by {stats['loop'].all.by}: no attempt starts"
        yield ("dispatching", "warning", found, "The root key resumes dispatching: POST /v1/admin/loop/resume.")
    for name, by in facts["paused"]:
        found = f"paused in {name} by {by}: no attempt starts there"
        yield ("dispatching", "warning", found, "A senior of it resumes dispatching: POST /v1/senior/loop/resume.")
    if facts["stranded"]:
        for row in facts["stranded"][:SHOWN]:
            mend = f"See `swarmhold tasks why {row.task_id}`; cancel it, mark it or dispatch it again."
            yield ("waiting for nothing", "wrong", f"{row.task_id}: {row.what}", mend)
        if len(facts["stranded"]) > SHOWN:
            yield ("waiting for nothing", "wrong", f"and {len(facts['stranded']) - SHOWN} more", "")
    else:
        yield ("waiting for nothing", "good", "every unfinished row has a next event", "")
    if facts["audit"] is not None:
        found = f"broken at row {facts['audit'].seq}: {facts['audit'].why}"
        yield ("audit log", "wrong", found, "Compare it with an earlier export.")
