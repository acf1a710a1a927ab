"""How a server proves to a command that it is the one of a data directory, before the command sends it a key.

The pidfile, which only the owner of the data directory can read, holds a secret of the running process. The command
sends a random challenge to `/healthz`, and the server replies with its keyed digest.
"""

from __future__ import annotations

import hmac

CHALLENGE = "swarmhold-challenge"
PROOF = "swarmhold-proof"
LONGEST_CHALLENGE = 128


def proof(secret: bytes, challenge: str) -> str:
    """Return the proof that belongs to a challenge, in hexadecimal digits."""
    return hmac.digest(secret, b"swarmhold server: " + challenge.encode(), "sha256").hex()


def is_proof(found: str | None, secret: bytes, challenge: str) -> bool:
    """Return whether a reply proves that its sender holds the secret."""
    return found is not None and hmac.compare_digest(found.encode(), proof(secret, challenge).encode())
