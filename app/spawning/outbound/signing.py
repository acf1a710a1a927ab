"""Signatures of requests to workers: the receiver can verify that this server sent one, unchanged and recently.

    Swarmhold-Timestamp: 1735689600
    Swarmhold-Signature: v1=<hexadecimal HMAC-SHA256 of "1735689600." + body>[, v1=<with the next secret>]

Beside these, each request has the headers of Standard Webhooks 1.0, which its libraries verify:

    webhook-id: E-17
    webhook-timestamp: 1735689600
    webhook-signature: v1,<base64 HMAC-SHA256 of "E-17.1735689600." + body>[ v1,<with the next secret>]

These are keyed with the bytes behind `whsec_` in Base64, the others with the secret as it is written. A secret without
that prefix is its own bytes for both.

Where the receiver shares no secret, the last of these is `v1a,<base64 Ed25519 signature of the same text>` by a key of
the server, and there are no `Swarmhold-*` headers.

A receiver takes the raw body as it came, before any decoding, and refuses what `verify` refuses.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

TIMESTAMP = "Swarmhold-Timestamp"
SIGNATURE = "Swarmhold-Signature"
TOLERANCE_S = 300.0
SHORTEST_SECRET = 32
SECRET_PREFIX = b"whsec_"
PRIVATE_PREFIX, PUBLIC_PREFIX = "whsk_", "whpk_"
"""Of the keys of asymmetric signatures, in Base64, as Standard Webhooks writes them."""
SHORTEST_KEY = 24
"""Bytes that a secret with the prefix stands for at least."""


class SignatureInvalid(Exception):
    """The request was not signed with a known secret, or not recently. The message says which."""


def sign(secrets: Sequence[bytes], body: bytes, *, id: str, at_s: int) -> dict[str, str]:
    """Return the headers that sign `body` with every secret, so that secrets rotate without a gap.

    `id` identifies the message. Raises ValueError for a secret that `check_secret` refuses.
    """
    signed = f"{id}.{at_s}.".encode() + body
    digests = [base64.b64encode(hmac.digest(_key(secret), signed, "sha256")).decode() for secret in secrets]
    return {
        TIMESTAMP: str(at_s),
        SIGNATURE: ", ".join(f"v1={_digest(secret, at_s, body)}" for secret in secrets),
        "webhook-id": id,
        "webhook-timestamp": str(at_s),
        "webhook-signature": " ".join(f"v1,{digest}" for digest in digests),
    }


def sign_by_keys(keys: Sequence[str], body: bytes, *, id: str, at_s: int) -> dict[str, str]:
    """Return the headers that sign `body` with every private key, each `whsk_` and Base64 of 32 bytes."""
    signed = f"{id}.{at_s}.".encode() + body
    made = (_ed25519(base64.b64decode(key.removeprefix(PRIVATE_PREFIX))).sign(signed) for key in keys)
    return {
        "webhook-id": id,
        "webhook-timestamp": str(at_s),
        "webhook-signature": " ".join(f"v1a,{base64.b64encode(one).decode()}" for one in made),
    }


def public_key(seed: bytes) -> bytes:
    """Return the Ed25519 public key of a private one."""
    return _ed25519(seed).public_key().public_bytes_raw()


def _ed25519(seed: bytes) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric import ed25519  # loaded with the first such webhook

    return ed25519.Ed25519PrivateKey.from_private_bytes(seed)


def check_secret(secret: bytes) -> None:
    """Raise ValueError for a secret that is too short, or whose Base64 behind the prefix cannot be read."""
    key = _key(secret)
    if len(secret) < SHORTEST_SECRET or len(key) < SHORTEST_KEY:
        raise ValueError(
            f"a secret has {SHORTEST_SECRET} bytes or more; behind whsec_ stands Base64 of {SHORTEST_KEY} bytes or more"
        )


def _key(secret: bytes) -> bytes:
    """Return the bytes that key the signatures of Standard Webhooks."""
    if not secret.startswith(SECRET_PREFIX):
        return secret
    try:
        return base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError("what follows whsec_ in a secret is not Base64") from error


def verify(
    secrets: Sequence[bytes],
    headers: Mapping[str, str],
    body: bytes,
    *,
    now_s: float | None = None,
    tolerance_s: float = TOLERANCE_S,
) -> None:
    """Raise SignatureInvalid unless one of `secrets` signed this body within `tolerance_s`; in constant time."""
    given = {name.lower(): value for name, value in headers.items()}
    stamp = given.get(TIMESTAMP.lower(), "")
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 12):
        raise SignatureInvalid(f"there is no {TIMESTAMP} of whole seconds")
    if abs((time.time() if now_s is None else now_s) - int(stamp)) > tolerance_s:
        raise SignatureInvalid("the timestamp is too far from now")
    offered = [part.strip().encode() for part in given.get(SIGNATURE.lower(), "").split(",")]
    wanted = [f"v1={_digest(secret, int(stamp), body)}".encode() for secret in secrets]
    # Every pair is compared, so that timing reveals nothing.
    matches = [hmac.compare_digest(one, other) for one in offered for other in wanted]
    if not any(matches):
        raise SignatureInvalid("no signature fits the body")


def _digest(secret: bytes, at_s: int, body: bytes) -> str:
    return hmac.digest(secret, b"%d." % at_s + body, "sha256").hex()
