"""The state machine of tasks, and the arithmetic of retries."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import InvalidTransition
from app.domain.tasks import AWAITED, SETTLED, TERMINAL, RetryPolicy, Status, Step, step

OPEN = {Status.PENDING, Status.RUNNING, Status.SUSPENDED, Status.BLOCKED}
JUDGED = {Status.RUNNING, Status.SUSPENDED, Status.PASS, Status.BLOCKED}
ACTIVE = {Status.RUNNING, Status.SUSPENDED}

TABLE: dict[Step, tuple[set[Status], Status]] = {
    Step.DISPATCH: ({Status.PENDING, Status.RUNNING, Status.BLOCKED}, Status.RUNNING),
    Step.SUSPEND: ({Status.PENDING, Status.RUNNING, Status.SUSPENDED}, Status.SUSPENDED),
    Step.RESUME: ({Status.SUSPENDED}, Status.RUNNING),
    Step.DEADLINE_BLOCK: ({Status.SUSPENDED}, Status.BLOCKED),
    Step.FINAL_OK: (ACTIVE, Status.PASS),
    Step.FINAL_FAILED: (ACTIVE, Status.BLOCKED),
    Step.WORKER_FAILED: (ACTIVE, Status.BLOCKED),
    Step.SPAWN_FAILED: ({Status.RUNNING}, Status.BLOCKED),
    Step.ATTEMPT_TIMEOUT: ({Status.RUNNING}, Status.BLOCKED),
    Step.LEASE_LOST: ({Status.RUNNING}, Status.BLOCKED),
    Step.CANCEL: (OPEN, Status.CANCELLED),
    Step.MARK_PASS: (OPEN, Status.PASS),
    Step.MARK_BLOCKED: (OPEN, Status.BLOCKED),
    Step.OVERRIDE_PASS: (JUDGED, Status.PASS),
    Step.OVERRIDE_BLOCKED: (JUDGED, Status.BLOCKED),
}


def test_every_step_is_tested() -> None:
    """The expectations below name every step."""
    assert set(TABLE) == set(Step)


@pytest.mark.parametrize("what", Step)
@pytest.mark.parametrize("status", Status)
def test_a_step_follows_the_table(status: Status, what: Step) -> None:
    """Every other step raises InvalidTransition with task, status and operation."""
    allowed, after = TABLE[what]

    if status in allowed:
        assert step("T-1", status, what) is after
    else:
        with pytest.raises(InvalidTransition) as raised:
            step("T-1", status, what)
        assert raised.value.fields() == {"task_id": "T-1", "status": status.value, "operation": what.value}


def test_the_sets_of_statuses_are_the_documented_ones() -> None:
    """Pass and cancelled are terminal, blocked is settled too, and a poll also returns for suspended."""
    assert {Status.PASS, Status.CANCELLED} == TERMINAL
    assert TERMINAL | {Status.BLOCKED} == SETTLED
    assert SETTLED | {Status.SUSPENDED} == AWAITED


@given(
    attempt=st.integers(1, 10_000),
    deviation=st.floats(-1, 1),
    backoff=st.floats(0, 1000),
    multiplier=st.floats(1, 10),
    most=st.floats(0, 10_000),
    jitter=st.floats(0, 1),
)
def test_a_backoff_stays_within_its_bounds(
    attempt: int, deviation: float, backoff: float, multiplier: float, most: float, jitter: float
) -> None:
    """A delay is never negative and never above the maximum plus jitter, after any number of attempts."""
    policy = RetryPolicy(backoff=backoff, multiplier=multiplier, max_backoff=most, jitter=jitter)

    assert 0 <= policy.delay_ms(attempt, deviation) <= 1000 * most * (1 + jitter) + 1


def test_a_backoff_grows_by_its_multiplier() -> None:
    """Without jitter the delays are exact."""
    policy = RetryPolicy(backoff=0.5, multiplier=3, max_backoff=10, jitter=0)

    assert [policy.delay_ms(n, 1.0) for n in range(1, 6)] == [500, 1500, 4500, 10_000, 10_000]
    assert timedelta(milliseconds=policy.delay_ms(1, 0)) == timedelta(seconds=0.5)


def test_a_policy_limits_attempts_and_endings() -> None:
    """`max_attempts` counts the first attempt; endings that are not listed are not retried."""
    policy = RetryPolicy(max_attempts=3, on=("lost",))

    assert [policy.covers(n, "lost") for n in (1, 2, 3)] == [True, True, False]
    assert not policy.covers(1, "blocked")
    assert not RetryPolicy().covers(1, "lost")
