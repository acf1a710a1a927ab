"""Capability tokens: signed JWTs whose rights never grow.

Claims: `iss`, `aud`, `sub`, `role`, `scope`, `iat`, `nbf`, `exp`, `jti`, optional `max_uses`, and for workers `tid` and
`att`. The header names the key (`kid`) and the role's own `typ`. The algorithm is the server's, never the token's
(RFC 8725, sections 3.1 and 3.11).
"""

from __future__ import annotations

import hmac
import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, NamedTuple

from app.domain.access import Role, Verb, read_scope
from app.domain.clock import Clock, Instant, system_clock
from app.domain.errors import BadSignature, InvalidRequest, TokenExpired

ALGORITHM = "HS256"
ISSUER = "swarmhold"
AUDIENCE = "swarmhold"
KEY_PREFIX = "shk_"
"""Prefix of every API key."""
TYPES = {role: f"swarmhold-{role.value}+jwt" for role in Role}
_KID = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class CapToken:
    """A signed token in the form its holder presents. Its repr shows a fingerprint only."""

    text: str

    def __repr__(self) -> str:
        return f"CapToken({fingerprint(self.text)})"


@dataclass(frozen=True, slots=True)
class Handle:
    """A worker handle in the form its holder presents. Its repr shows a fingerprint only."""

    text: str

    def __repr__(self) -> str:
        return f"Handle({fingerprint(self.text)})"


Bearer = CapToken | Handle
"""The credentials that a worker may present."""


def is_key_text(text: str) -> bool:
    """Return whether a text may be an API key: it has the prefix and printable ASCII characters without spaces."""
    return text.startswith(KEY_PREFIX) and text.isascii() and text.isprintable() and " " not in text


def fingerprint(secret: str) -> str:
    """Return twelve hexadecimal characters that identify a secret in logs without revealing it."""
    return sha256(secret.encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """The claims of a token. Instants are in ms here and in seconds inside the JWT (RFC 7519, section 2)."""

    subject: str
    role: Role
    jti: str
    issued_at: Instant
    expires_at: Instant
    scope: frozenset[Verb] | None = None
    max_uses: int | None = None
    task_id: str | None = None
    attempt: int | None = None


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One key of the key ring: its id and 32 or more random bytes."""

    kid: str
    secret: bytes

    def __post_init__(self) -> None:
        if not _KID.fullmatch(self.kid):
            raise InvalidRequest("a key id has 1 to 64 letters, digits, '_' or '-'", "kid")
        if len(self.secret) < 32:
            raise InvalidRequest("a signing key has 32 bytes or more", "secret")

    def __repr__(self) -> str:
        return f"SigningKey({self.kid})"


class TokenSigner:
    """Signs with the first key of the ring and verifies with all of them, so that keys rotate without downtime.

    Verified claims are cached by the token's text (bounded, never past expiry): each signature is checked once.
    Revocation and remaining uses are checked elsewhere, in the state at every call.
    """

    def __init__(self, ring: Sequence[SigningKey], *, clock: Clock = system_clock, cache_size: int = 20_000) -> None:
        self._clock = clock
        self._verified: OrderedDict[str, Claims] = OrderedDict()
        self._cache_size = cache_size
        self.use_ring(ring)

    def use_ring(self, ring: Sequence[SigningKey]) -> None:
        """Sign and verify with this ring from now on; tokens signed by keys outside it become invalid."""
        if not ring:
            raise InvalidRequest("the key ring is empty; give at least one signing key", "ring")
        self._ring = {key.kid: key for key in ring}
        self._first = ring[0]
        self._verified.clear()

    @property
    def ring(self) -> tuple[SigningKey, ...]:
        """Return the keys of the ring, the signing one first."""
        return tuple(self._ring.values())

    @property
    def key_ids(self) -> tuple[str, ...]:
        """Return the ids of the ring's keys, the signing one first."""
        return tuple(self._ring)

    def derived(self, purpose: str) -> list[tuple[str, bytes]]:
        """Return the id of each key, the signing one first, with 32 bytes for another purpose that reveal no key."""
        return [
            (kid, hmac.digest(key.secret, f"swarmhold {purpose}".encode(), "sha256")) for kid, key in self._ring.items()
        ]

    def sign(self, claims: Claims) -> CapToken:
        """Return the token for these claims. Deterministic as long as the signing key stays."""
        payload: dict[str, Any] = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": claims.subject,
            "role": claims.role.value,
            "scope": "*" if claims.scope is None else " ".join(sorted(claims.scope)),
            "iat": claims.issued_at // 1000,
            "nbf": claims.issued_at // 1000,
            "exp": -(-claims.expires_at // 1000),
            "jti": claims.jti,
        }
        bounds = {"max_uses": claims.max_uses, "tid": claims.task_id, "att": claims.attempt}
        payload |= {name: value for name, value in bounds.items() if value is not None}
        headers = {"kid": self._first.kid, "typ": TYPES[claims.role]}
        return CapToken(_jwt().encode(payload, self._first.secret, algorithm=ALGORITHM, headers=headers))

    def verify(self, token: CapToken) -> Claims:
        """Return the claims after checking signature, issuer, audience, type and expiry.

        Raises BadSignature or TokenExpired.
        """
        text = token.text
        claims = self._verified.get(text)
        if claims is None:
            claims = self._decode(text)
            self._verified[text] = claims
            if len(self._verified) > self._cache_size:
                self._verified.popitem(last=False)
        if claims.expires_at <= self._clock():
            self._verified.pop(text, None)
            raise TokenExpired
        return claims

    def _decode(self, text: str) -> Claims:
        jwt = _jwt()
        try:
            header = jwt.get_unverified_header(text)
            key = self._ring.get(header["kid"])
            if key is None:
                raise BadSignature(unknown_key=True)
            payload: dict[str, Any] = jwt.decode(
                text,
                key.secret,
                algorithms=[ALGORITHM],
                issuer=ISSUER,
                audience=AUDIENCE,
                # Times are compared with the injected clock by the caller.
                options={
                    "require": ["iss", "aud", "sub", "iat", "nbf", "exp", "jti"],
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
            role = Role(payload["role"])
            # Signed tokens are valid from their issue. Whether that instant has come is not checked: a clock that was
            # set back must not invalidate tokens signed before.
            if header.get("typ") != TYPES[role] or payload["nbf"] != payload["iat"]:
                raise BadSignature
            return _claims(payload, role)
        except (jwt.InvalidTokenError, KeyError, ValueError, TypeError, OverflowError) as error:
            raise BadSignature from error


def _jwt() -> Any:
    import jwt  # loaded with the first token: commands see none. Its types name a dependency that is not installed

    return jwt


def _claims(payload: dict[str, Any], role: Role) -> Claims:
    scope = str(payload["scope"])
    task_id, attempt = payload.get("tid"), payload.get("att")
    if not (str(payload["jti"]).isascii() and _is_bound(task_id, attempt)):
        raise ValueError("claims that this server does not write")
    return Claims(
        subject=str(payload["sub"]),
        role=role,
        jti=str(payload["jti"]),
        issued_at=int(payload["iat"]) * 1000,
        expires_at=int(payload["exp"]) * 1000,
        scope=None if scope == "*" else frozenset(Verb(verb) for verb in scope.split()),
        max_uses=payload.get("max_uses"),
        task_id=task_id,
        attempt=attempt,
    )


def _is_bound(task_id: Any, attempt: Any) -> bool:
    """Return whether the claims bind a task and an attempt, a task alone, or nothing."""
    if task_id is None:
        return attempt is None
    return isinstance(task_id, str) and task_id.isascii() and (attempt is None or type(attempt) is int)


class TokenRecord(NamedTuple):
    """One row of `tokens`: the server's record of a token. `uses_left` is None when unlimited.

    `parent_jti` is the token that it was minted with: revoking the parent revokes it as well. `key_id` is the API key
    that it descends from, None for the tokens of code of this process.
    """

    jti: str
    role: Role
    subject: str
    scope: str | None
    parent_jti: str | None
    task_id: str | None
    session_id: str | None
    issued_at: Instant
    expires_at: Instant
    max_uses: int | None
    uses_left: int | None
    revoked_at: Instant | None
    namespace: int
    key_id: str | None

    def claims(self) -> Claims:
        """Return the token's claims; signing them again returns an identical token."""
        return Claims(
            subject=self.subject,
            role=self.role,
            jti=self.jti,
            issued_at=self.issued_at,
            expires_at=self.expires_at,
            scope=read_scope(self.scope),
            max_uses=self.max_uses,
            task_id=self.task_id,
        )


class HeldId(NamedTuple):
    """One row of `held_ids`: the API key that owns an id of a bridge, hook or backend."""

    namespace: int
    id: str
    key_id: str
    held_at: Instant


class ApiKey(NamedTuple):
    """One row of `api_keys`: the right to attach with some roles. Only the digest of its text is stored.

    A root key is of no namespace (`ALL_ID`). A `person` is somebody whose key no program holds.
    """

    id: str
    name: str
    roles: str
    digest: str
    root: bool
    created_at: Instant
    expires_at: Instant | None
    revoked_at: Instant | None
    namespace: int
    person: bool
    email: str | None

    @property
    def role_set(self) -> frozenset[Role]:
        """Return the roles that a session attached with this key may have."""
        return frozenset(Role(role) for role in self.roles.split())
