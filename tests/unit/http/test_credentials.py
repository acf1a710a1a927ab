"""Reading credentials, limiting failed authentication attempts, checking idempotency keys."""

import asyncio
from typing import Any

import pytest

from app.domain.errors import AuthRateLimited, InvalidRequest, Unauthenticated
from app.domain.tokens import CapToken, Handle
from app.http import auth
from app.http.auth_rate_limit import MAX_FINGERPRINTS, MAX_SOURCES, AuthRateLimit, source_of
from app.http.errors import HandleNotAllowed
from app.http.idempotency import idempotency_of
from app.http.settings import AuthRateLimitSettings


def scope_with(*headers: tuple[bytes, bytes], path: str = "/x") -> dict[str, Any]:
    """A request's scope."""
    return {"type": "http", "method": "POST", "path": path, "headers": list(headers)}


def authorized(value: bytes, *, path: str = "/v1/worker/x") -> dict[str, Any]:
    """A scope with an Authorization header."""
    return scope_with((b"authorization", value), path=path)


@pytest.mark.parametrize(
    ("value", "bearer"),
    [
        (b"Bearer aa.bb.cc", CapToken("aa.bb.cc")),
        (b"bearer aa.bb.cc", CapToken("aa.bb.cc")),
        (b"BEARER   aa.bb.cc ", CapToken("aa.bb.cc")),
        (b"Bearer aa.bb.", CapToken("aa.bb.")),
        (b"Bearer wh-abc", Handle("wh-abc")),
        (b"Bearer WH-ABC", Handle("wh-abc")),
    ],
)
def test_tokens_and_handles_are_distinguished(value: bytes, bearer: object) -> None:
    """By their form alone."""
    assert auth.bearer(authorized(value)) == bearer


@pytest.mark.parametrize("path", ["/v1/operator/tasks", "/v1/senior/loop", "/metrics", "/v1/worker", "/v1/workers/x"])
def test_a_handle_is_for_workers_routes_alone(path: str) -> None:
    """A token is taken everywhere: its role and its scope say what it may do."""
    with pytest.raises(HandleNotAllowed):
        auth.bearer(authorized(b"Bearer wh-abc", path=path))
    assert auth.bearer(authorized(b"Bearer aa.bb.cc", path=path)) == CapToken("aa.bb.cc")


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"Bearer",
        b"Bearer ",
        b"Basic YTpi",
        b"aa.bb.cc",
        b"Bearer shk_x",
        b"Bearer a b.c.d",
        b"Bearer \xff.b.c",
        b"Bearer " + b"a" * 20_000 + b".b.c",
    ],
)
def test_anything_else_is_unauthenticated(value: bytes) -> None:
    """Other schemes, API keys, nonsense, what is far too long."""
    with pytest.raises(Unauthenticated):
        auth.bearer(authorized(value))


def test_missing_and_doubled_headers_are_unauthenticated() -> None:
    """Which of two would count is not guessed."""
    line = (b"authorization", b"Bearer aa.bb.cc")
    for scope in (scope_with(), scope_with(line, line)):
        with pytest.raises(Unauthenticated):
            auth.bearer(scope)


def test_an_api_key_is_no_token_and_a_token_no_key() -> None:
    """Each is read where it belongs."""
    assert auth.api_key(authorized(b"Bearer shk_abc")) == "shk_abc"
    for value in (b"Bearer aa.bb.cc", b"Bearer wh-abc", b"Bearer shk_\xe9"):
        with pytest.raises(Unauthenticated):
            auth.api_key(authorized(value))


class Clock:
    """A clock that is moved by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def attempts_until_refused(limit: AuthRateLimit, source: str, *, same: bool = False) -> int:
    """How many failures one source has before it is refused."""
    for count in range(10_000):
        try:
            limit.count_failure(source, "same" if same else str(count))
        except AuthRateLimited:
            return count
    return -1


def test_each_source_has_its_own_patience() -> None:
    """Failures of one source do not use up the limit of another."""
    limit = AuthRateLimit(AuthRateLimitSettings(burst_per_source=5, per_source_per_second=1), clock=Clock())

    assert attempts_until_refused(limit, "a") == 5
    assert attempts_until_refused(limit, "b") == 5


def test_the_same_wrong_credential_is_hardly_a_guess() -> None:
    """It weighs a fifth."""
    limit = AuthRateLimit(AuthRateLimitSettings(burst_per_source=5), clock=Clock())

    assert attempts_until_refused(limit, "a", same=True) in (20, 21)


def test_patience_comes_back_with_time() -> None:
    """And the reply says how long to wait."""
    clock = Clock()
    limit = AuthRateLimit(AuthRateLimitSettings(burst_per_source=2, per_source_per_second=0.5), clock=clock)
    attempts_until_refused(limit, "a")
    with pytest.raises(AuthRateLimited) as refused:
        limit.count_failure("a", "x")
    assert refused.value.retry_after_s == pytest.approx(2.0)

    clock.now += 2

    limit.count_failure("a", "y")


def test_all_sources_together_have_a_limit() -> None:
    """Guessing from many addresses is guessing."""
    limit = AuthRateLimit(AuthRateLimitSettings(burst_overall=10, overall_per_second=0), clock=Clock())
    for count in range(10):
        limit.count_failure(f"source {count}", "x")

    with pytest.raises(AuthRateLimited):
        limit.count_failure("another", "x")


def test_memory_is_bounded() -> None:
    """The least recently seen sources and credentials are dropped."""
    limit = AuthRateLimit(AuthRateLimitSettings(burst_overall=1e9, burst_per_source=1e9), clock=Clock())
    for count in range(MAX_SOURCES + 100):
        limit.count_failure(f"source {count}", "x")
    for count in range(MAX_FINGERPRINTS + 100):
        limit.count_failure("one", str(count))

    assert len(limit._sources) == MAX_SOURCES
    assert len(limit._sources["one"].fingerprints) == MAX_FINGERPRINTS


@pytest.mark.parametrize(
    ("client", "source"),
    [
        (None, "unknown"),
        (("10.0.0.1", 5), "10.0.0.1"),
        (("2001:db8:1:2:3:4:5:6", 5), "2001:db8:1:2::/64"),
        (("2001:db8:1:2:ffff::1", 5), "2001:db8:1:2::/64"),
        (("fe80::1%eth0", 5), "fe80::/64"),
        (("a:strange:name", 5), "a:strange:name"),
    ],
)
def test_a_source_is_an_address_or_its_network(client: tuple[str, int] | None, source: str) -> None:
    """An IPv6 customer has a whole /64 to guess from."""
    assert source_of(client) == source


def key(value: bytes, *, body: bytes = b"{}", path: str = "/x") -> Any:
    """The idempotency of a request with a key."""
    return asyncio.run(idempotency_of(scope_with((b"idempotency-key", value), path=path), body))


def test_a_key_comes_with_its_requests_digest() -> None:
    """Same request, same digest, however its JSON is spelled; another body or path, another one."""
    assert key(b"k") == key(b"k")
    assert key(b"k", body=b'{"a":1,"b":[{"c":2,"d":3}]}') == key(b"k", body=b'{ "b" : [{"d":3, "c":2}], "a":1 }')
    assert key(b"k", body=b"[1,2]") != key(b"k", body=b"[2,1]")
    assert key(b"k", body=b"plain text") == key(b"k", body=b"plain text")
    assert key(b"k").key == "k"
    assert len({key(b"k").fingerprint, key(b"k", body=b"[]").fingerprint, key(b"k", path="/y").fingerprint}) == 3
    assert asyncio.run(idempotency_of(scope_with(), b"")) is None


@pytest.mark.parametrize("value", [b"", b"   ", b"x" * 256, b"\xff", b"a\nb", b"a\x7f"])
def test_a_key_that_cannot_be_one_is_refused(value: bytes) -> None:
    """One to 255 printable ASCII characters."""
    with pytest.raises(InvalidRequest):
        key(value)
