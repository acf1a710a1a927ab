"""Deadlines of an attempt: how heartbeats move them, and what suspension does to them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.attempts import Attempt, Phase
from app.domain.json import Json
from app.engine.ops import leases
from app.engine.ops.rules import EngineCfg

CFG = EngineCfg(worker_token_life_ms=100_000, handle_life_ms=1_000_000)
NOW = 1_000_000


def attempt(**fields: Any) -> Attempt:
    """A running attempt with a lease of a minute and a heartbeat just now."""
    row = Attempt(
        task_id="T-1",
        attempt=1,
        agent="coder",
        phase=Phase.RUNNING,
        prompt=None,
        system=None,
        kind="external",
        spawner=Json("{}"),
        layers=Json("[]"),
        steps=False,
        repeatable=False,
        session_id=None,
        jti="W-1",
        parent_jti=None,
        worker_id=None,
        process=None,
        lease_ms=60_000,
        lease_expires_at=NOW + 60_000,
        timeout_at=None,
        handle_expires_at=NOW + 100_000,
        paused_at=None,
        due_at=NOW + 60_000,
        queue=None,
        priority=0,
        turn=0,
        owner=None,
        epoch=1,
        last_seen_at=NOW,
        final=None,
        final_ok=None,
        outcome=None,
        reason=None,
        detail=None,
        held_by=None,
        warned_at=None,
        outputs=0,
        late=0,
        started_at=NOW,
        ended_at=None,
        detached=True,
        hands_out_handle=True,
    )
    return row._replace(**fields)


def test_the_next_deadline_is_the_earliest() -> None:
    """What is not set does not count."""
    assert leases.next_deadline(3, 2, 1) == 1
    assert leases.next_deadline(None, 2, 5) == 2
    assert leases.next_deadline(None, None, 5) == 5


def test_a_handle_lives_longer_without_a_lease() -> None:
    """With one it lives as long as the worker's token, and never shorter than the lease."""
    assert leases.handle_life_ms(CFG, None) == 1_000_000
    assert leases.handle_life_ms(CFG, 5_000) == 100_000
    assert leases.handle_life_ms(CFG, 300_000) == 300_000


@pytest.mark.parametrize(
    ("lease_ms", "since", "due"),
    [(60_000, 5_999, False), (60_000, 6_000, True), (None, 9_999, False), (None, 10_000, True), (10, 1, True)],
)
def test_a_heartbeat_is_written_when_a_tenth_of_the_lease_has_passed(
    lease_ms: int | None, since: int, due: bool
) -> None:
    """At the latest after ten seconds."""
    assert leases.renewal_due(CFG, NOW - since, lease_ms, NOW) is due


@pytest.mark.parametrize(
    "fields", [{"paused_at": NOW}, {"phase": Phase.WAITING}, {"phase": Phase.QUEUED}, {"phase": Phase.HELD}]
)
def test_no_heartbeat_is_expected_while_nobody_holds_the_attempt(fields: dict[str, Any]) -> None:
    """Before the start, with a held Final, and while the clocks stand still."""
    assert leases.last_heartbeat(attempt(**fields)) is None
    assert leases.renewal(CFG, attempt(**fields), NOW + 50_000) == {}


def test_a_heartbeat_renews_lease_and_handle_but_not_the_timeout() -> None:
    """The timeout is the task's own, and becomes the next deadline when it is the earliest."""
    at = NOW + 30_000
    assert leases.renewal(CFG, attempt(timeout_at=at + 1), at) == {
        "last_seen_at": at,
        "lease_expires_at": at + 60_000,
        "handle_expires_at": at + 100_000,
        "due_at": at + 1,
    }


def test_an_explicit_heartbeat_is_always_written() -> None:
    """The reply says until when the lease lasts."""
    assert leases.renewal(CFG, attempt(), NOW + 1) == {}
    assert leases.renewal(CFG, attempt(), NOW + 1, always=True)["lease_expires_at"] == NOW + 60_001


@given(at=st.integers(NOW - 10**9, NOW + 10**9), lease_ms=st.none() | st.integers(1, 10**8))
def test_a_heartbeat_never_shortens_the_life_of_a_handle(at: int, lease_ms: int | None) -> None:
    """Not even one that comes with a clock that was set back."""
    row = attempt(lease_ms=lease_ms)
    columns = leases.renewal(CFG, row, at, always=True)
    assert columns["handle_expires_at"] >= row.handle_expires_at
    assert columns["due_at"] <= columns["handle_expires_at"]
