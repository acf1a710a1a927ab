"""Signatures of requests to workers: the receiver can verify that this server sent one, unchanged and recently.

    Swarmhold-Timestamp: 1735689600
    Swarmhold-Signature: v1=<hexadecimal HMAC-SHA256 of "1735689600." + body>[, v1=<with the next secret>]

A receiver takes the raw body as it came, before any decoding, and refuses what `verify` refuses.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Mapping, Sequence

TIMESTAMP = "Swarmhold-Timestamp"
SIGNATURE = "Swarmhold-Signature"
TOLERANCE_S = 300.0
SHORTEST_SECRET = 32


class SignatureInvalid(Exception):
    """The request was not signed with a known secret, or not recently. The message says which."""


def sign(secrets: Sequence[bytes], body: bytes, *, at_s: int) -> dict[str, str]:
    """Return the headers that sign `body` with every secret, so that secrets rotate without a gap."""
    signatures = ", ".join(f"v1={_digest(secret, at_s, body)}" for secret in secrets)
    return {TIMESTAMP: str(at_s), SIGNATURE: signatures}


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
