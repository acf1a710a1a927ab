"""How often a client is told to ask, and for how long a task is kept."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.engine.ops.reports import Outlook
from app.http.settings import HttpSettings
from app.mcp.task_states import state_of_question, state_of_task

DAY_MS = 86_400_000


def ago(**since: float) -> str:
    """An instant in the past, as replies have it."""
    return (datetime.now(UTC) - timedelta(**since)).isoformat()


def task(status: str, **more: Any) -> dict[str, Any]:
    """A task as the API shows it."""
    return {"id": "T-1", "status": status, "attempt": 1, "created_at": ago(days=3), "updated_at": ago(days=1), **more}


@pytest.mark.parametrize(
    ("age", "pace"),
    [({"seconds": 5}, 2_000), ({"minutes": 2}, 10_000), ({"minutes": 59}, 10_000), ({"hours": 2}, 60_000)],
)
def test_the_pace_follows_the_age(age: dict[str, float], pace: int) -> None:
    """Two seconds at first, a minute from the second hour on."""
    question = {"key": "R-1", "status": "open", "asked_at": ago(**age)}
    state = state_of_question(question, None, HttpSettings())
    assert (state["pollIntervalMs"], state["ttlMs"]) == (pace, None)


def test_a_life_reaches_from_the_beginning_to_the_deletion() -> None:
    """By the retention of what it is; without one it has no end, nor has what is open or tried again."""
    settings = HttpSettings(finished_kept=timedelta(days=10), blocked_kept=timedelta(days=20))
    settled = {"settled_at": ago(days=1)}
    by_result = Outlook(None, tries_again=False, failure=None)
    passed = state_of_task(task("pass", **settled), None, settings)
    blocked = state_of_task(task("blocked", **settled), by_result, settings)
    assert round(passed["ttlMs"] / DAY_MS, 3) == 12
    assert round(blocked["ttlMs"] / DAY_MS, 3) == 22
    retried = state_of_task(task("blocked", **settled), Outlook("a retry", tries_again=True, failure=None), settings)
    kept = state_of_task(task("pass", **settled), None, HttpSettings(finished_kept=None))
    running = state_of_task(task("running"), Outlook(None, tries_again=False, failure=None), settings)
    assert [state["ttlMs"] for state in (retried, kept, running)] == [None] * 3
    assert [state["status"] for state in (passed, blocked, retried, running)] == [
        "completed", "completed", "working", "working"
    ]  # fmt: skip
