"""Tokens: signing, verification, and rejected forgeries."""

import base64
import json
from dataclasses import replace

import jwt
import pytest

from app.domain.access import Role, Verb
from app.domain.errors import BadSignature, InvalidRequest, TokenExpired
from app.domain.tokens import ALGORITHM, AUDIENCE, ISSUER, TYPES, CapToken, Claims, Handle, SigningKey, TokenSigner
from tests.support.clocks import START, HandClock

KEY, OTHER = SigningKey("one", b"1" * 32), SigningKey("two", b"2" * 32)
CLAIMS = Claims(subject="me", role=Role.OPERATOR, jti="W-1", issued_at=START, expires_at=START + 60_000)


@pytest.fixture
def clock() -> HandClock:
    """Return a stopped clock."""
    return HandClock()


@pytest.fixture
def signer(clock: HandClock) -> TokenSigner:
    """Return a signer with one key."""
    return TokenSigner([KEY], clock=clock)


@pytest.mark.parametrize(
    "claims",
    [
        CLAIMS,
        replace(CLAIMS, role=Role.SENIOR, scope=frozenset({Verb.ANSWER_QUERY})),
        replace(CLAIMS, role=Role.OBSERVER, max_uses=3, scope=frozenset()),
        replace(CLAIMS, role=Role.WORKER, task_id="T-1", attempt=2),
    ],
    ids=lambda claims: claims.role.value,
)
def test_claims_survive_a_round_trip(signer: TokenSigner, claims: Claims) -> None:
    """Verifying returns the signed claims, and signing again returns an identical token."""
    token = signer.sign(claims)

    assert signer.verify(token) == claims
    assert signer.verify(token) == claims
    assert signer.sign(claims) == token


def test_a_token_lives_until_its_last_millisecond(signer: TokenSigner, clock: HandClock) -> None:
    """It is valid before its expiry and expired from that instant on, also when it was cached before."""
    token = signer.sign(CLAIMS)
    clock.now = CLAIMS.expires_at - 1
    signer.verify(token)
    clock.now = CLAIMS.expires_at

    for _ in range(2):
        with pytest.raises(TokenExpired):
            signer.verify(token)


def test_a_clock_that_is_set_back_invalidates_nothing(signer: TokenSigner, clock: HandClock) -> None:
    """A token that was issued "tomorrow" was issued before the clock was corrected."""
    signed = signer.sign(CLAIMS)
    clock.now -= 86_400_000
    assert signer.verify(signed) == CLAIMS


def test_keys_rotate_without_downtime(signer: TokenSigner, clock: HandClock) -> None:
    """The first key of the ring signs and all of them verify; a removed key no longer does."""
    old = signer.sign(CLAIMS)
    rotated = TokenSigner([OTHER, KEY], clock=clock)
    new = rotated.sign(CLAIMS)

    assert rotated.key_ids == ("two", "one")
    assert rotated.verify(old) == rotated.verify(new) == CLAIMS
    with pytest.raises(BadSignature):
        signer.verify(new)
    with pytest.raises(BadSignature):
        TokenSigner([OTHER], clock=clock).verify(old)


def forged(**changes: object) -> str:
    """Return a token signed with the right key, with a changed payload or header."""
    payload = {
        "iss": ISSUER, "aud": AUDIENCE, "sub": "me", "role": "operator", "scope": "*",
        "iat": START // 1000, "nbf": START // 1000, "exp": START // 1000 + 60, "jti": "W-1",
    }  # fmt: skip
    headers: dict[str, object] = {"kid": "one", "typ": TYPES[Role.OPERATOR]}
    algorithm = str(changes.pop("alg", ALGORITHM))
    for name in ("kid", "typ"):
        if name in changes:
            headers[name] = changes.pop(name)
    whole = {name: value for name, value in (payload | changes).items() if value is not None}
    return jwt.encode(whole, KEY.secret, algorithm=algorithm, headers=headers)


def test_the_unchanged_forgery_is_valid(signer: TokenSigner) -> None:
    """Without changes `forged` returns a valid token, so that the rejections below are due to the changes."""
    assert signer.verify(CapToken(forged())) == CLAIMS


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "somebody"}, {"aud": "else"}, {"iss": None}, {"aud": None}, {"sub": None}, {"jti": None},
        {"exp": None}, {"iat": None}, {"nbf": None}, {"role": "king"}, {"role": None}, {"scope": None},
        {"scope": "fly"}, {"exp": "soon"}, {"kid": "three"}, {"typ": "JWT"}, {"typ": TYPES[Role.SENIOR]},
        {"role": "senior"}, {"alg": "HS384"}, {"alg": "HS512"}, {"sub": 7},
        {"nbf": 10**11}, {"nbf": "soon"}, {"exp": float("inf")}, {"jti": "\ud800"},
        {"tid": {"a": 1}, "att": 1}, {"tid": 7}, {"tid": "\ud800"},
        {"tid": "T-1", "att": "1"}, {"tid": "T-1", "att": True}, {"tid": None, "att": 1},
    ],
    ids=str,
)  # fmt: skip
def test_claims_that_the_signer_does_not_write_are_rejected(signer: TokenSigner, changes: dict[str, object]) -> None:
    """A right key with wrong claims, another type, role or algorithm raises BadSignature."""
    with pytest.raises(BadSignature):
        signer.verify(CapToken(forged(**changes)))


def test_an_unsigned_token_is_rejected(signer: TokenSigner) -> None:
    """Algorithm `none`, a truncated signature, a changed body, and text that is not a token."""
    good = signer.sign(CLAIMS).text
    head, body, signature = good.split(".")
    other = base64.urlsafe_b64encode(json.dumps({"role": "senior"}).encode()).decode().rstrip("=")
    none = base64.urlsafe_b64encode(b'{"alg":"none","kid":"one","typ":"swarmhold-operator+jwt"}').decode().rstrip("=")

    made = (f"{none}.{body}.", f"{head}.{body}.", f"{head}.{other}.{signature}")
    deep = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":' + b"[" * 5_000 + b"]" * 5_000 + b"}").decode().rstrip("=")
    for text in (*made, f"{deep}.{body}.{signature}", "", "a.b.c", "é" * 9, "\ud800", "."):
        with pytest.raises(BadSignature):
            signer.verify(CapToken(text))


def test_the_cache_is_bounded(clock: HandClock) -> None:
    """Verified tokens are cached up to a limit, the oldest evicted first and verified again."""
    signer = TokenSigner([KEY], clock=clock, cache_size=2)
    tokens = [signer.sign(replace(CLAIMS, jti=f"W-{n}")) for n in range(5)]

    assert [signer.verify(token).jti for token in tokens + tokens] == [f"W-{n}" for n in range(5)] * 2


def test_secrets_do_not_show(signer: TokenSigner) -> None:
    """Neither a token's, a handle's nor a key's text is in its repr."""
    token = signer.sign(CLAIMS)
    assert token.text not in repr(token)
    assert "wh-abc" not in repr(Handle("wh-abc"))
    assert "111" not in repr(KEY)


def test_keys_have_a_name_and_32_bytes() -> None:
    """Short keys, invalid key ids and empty rings are rejected."""
    for kid, secret in (("one", b"1" * 31), ("", b"1" * 32), ("a b", b"1" * 32), ("a" * 65, b"1" * 32)):
        with pytest.raises(InvalidRequest):
            SigningKey(kid, secret)
    with pytest.raises(InvalidRequest):
        TokenSigner([])
