from __future__ import annotations

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from swarmhold.call_retry import CallRetry, Failure, retry_after
from swarmhold.jobs import clock_skew, renewal_pause

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def delay(failure: Failure, *, repeatable: bool, failures: int = 1, elapsed: timedelta = timedelta(0)) -> object:
    """The decision of a policy of ten seconds without jitter."""
    policy = CallRetry(timeout=10 * SECOND, initial_backoff=SECOND, max_backoff=4 * SECOND)
    return policy.delay(failure, repeatable=repeatable, failures=failures, elapsed=elapsed, random=0)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("repeatable", [True, False])
def test_a_busy_server_is_asked_again(status: int, repeatable: bool) -> None:
    """It promised to have done nothing, so every call may be sent again."""
    assert delay(Failure.of_reply(status, "lock-busy", None), repeatable=repeatable) == SECOND


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422, 500])
def test_a_refusal_is_final(status: int) -> None:
    """A repetition would get the same reply."""
    assert delay(Failure.of_reply(status, "x", None), repeatable=True) is None


def test_a_paused_loop_is_a_decision_not_a_failure() -> None:
    """People resume it in their own time; the caller gets an error at once."""
    assert delay(Failure.of_reply(503, "loop-paused", SECOND), repeatable=True) is None


@pytest.mark.parametrize("status", [502, 504])
def test_a_gateway_without_an_answer_is_asked_again_only_when_safe(status: int) -> None:
    """The server behind it may have acted."""
    failure = Failure.of_reply(status, "http-502", None)
    assert delay(failure, repeatable=True) == SECOND
    assert delay(failure, repeatable=False) is None


@pytest.mark.parametrize("error", [httpx.ConnectError("x"), httpx.ConnectTimeout("x"), httpx.PoolTimeout("x")])
def test_a_connection_that_never_opened_did_nothing(error: httpx.TransportError) -> None:
    """Every call may be sent again."""
    assert delay(Failure.of_error(error), repeatable=False) == SECOND


@pytest.mark.parametrize("error", [httpx.ReadError("x"), httpx.ReadTimeout("x"), httpx.RemoteProtocolError("x")])
def test_a_connection_that_broke_may_have_done_all(error: httpx.TransportError) -> None:
    """Only a repeatable call is sent again."""
    assert delay(Failure.of_error(error), repeatable=True) == SECOND
    assert delay(Failure.of_error(error), repeatable=False) is None


def test_pauses_double_up_to_the_longest() -> None:
    """Also after failures without number."""
    busy = Failure.of_reply(503, "lock-busy", None)
    assert [delay(busy, repeatable=True, failures=n) for n in (1, 2, 3, 4, 10_000)] == [
        n * SECOND for n in (1, 2, 4, 4, 4)
    ]


def test_the_servers_hint_is_a_lower_bound() -> None:
    """Retry-After lengthens a pause and never shortens it."""
    assert delay(Failure.of_reply(503, "x", 6 * SECOND), repeatable=True) == 6 * SECOND
    assert delay(Failure.of_reply(503, "x", timedelta(0)), repeatable=True) == SECOND


def test_retries_end() -> None:
    """A delay that would outlast the timeout is not begun."""
    busy = Failure.of_reply(503, "x", None)
    assert delay(busy, repeatable=True, elapsed=9 * SECOND) == SECOND
    assert delay(busy, repeatable=True, elapsed=9.5 * SECOND) is None
    assert delay(Failure.of_reply(429, "x", timedelta(hours=1)), repeatable=True) is None


def test_jitter_spreads_by_its_share() -> None:
    """Either way, as the injected randomness has it."""
    policy = CallRetry(initial_backoff=SECOND, jitter=0.5)
    assert policy.backoff(1, random=-1) == 0.5 * SECOND
    assert policy.backoff(1, random=1) == 1.5 * SECOND


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("3", 3 * SECOND),
        (" 0 ", timedelta(0)),
        ("Thu, 01 Jan 2026 12:00:05 GMT", 5 * SECOND),
        ("Thu, 01 Jan 2026 11:00:00 GMT", timedelta(0)),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("²", None),
        ("9" * 400, timedelta(seconds=10**8)),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str, hint: timedelta | None) -> None:
    """What is neither is no hint."""
    assert retry_after({"retry-after": text}, now=NOW) == hint
    assert retry_after({}, now=NOW) is None


def test_a_lease_is_renewed_at_a_third() -> None:
    """Bounded by the longest pause, and never in a busy loop."""
    longest = 20 * SECOND
    assert renewal_pause(NOW + 33 * SECOND, server_now=NOW + 3 * SECOND, longest=longest) == 10 * SECOND
    assert renewal_pause(NOW + 3_600 * SECOND, server_now=NOW, longest=longest) == longest
    assert renewal_pause(None, server_now=NOW, longest=longest) == longest
    assert renewal_pause(NOW, server_now=NOW + 5 * SECOND, longest=longest) == timedelta(milliseconds=50)


def test_skew_is_read_from_the_date_header() -> None:
    """Its resolution of a second is not mistaken for skew."""
    noon = "Thu, 01 Jan 2026 12:00:00 GMT"
    assert clock_skew(noon, local_now=NOW + 1.9 * SECOND) == 0 * SECOND
    assert clock_skew(noon, local_now=NOW - 60 * SECOND) == 60 * SECOND
    for unusable in (None, "yesterday", "Thu, 01 Jan 2026 12:00:00 -0000"):
        assert clock_skew(unusable, local_now=NOW - 60 * SECOND) == 0 * SECOND


@pytest.mark.parametrize(("repeatable", "expected"), [(True, SECOND), (False, None)])
def test_a_server_that_is_unsure_promises_nothing(repeatable: bool, expected: timedelta | None) -> None:
    """A commit that broke may stand: only what may be sent twice is sent again."""
    failure = Failure.of_reply(503, "store-unavailable", None, unsure=True)
    assert delay(failure, repeatable=repeatable) == expected
