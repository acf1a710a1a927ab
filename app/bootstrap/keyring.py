"""The server's own secrets: the keys that sign tokens, HTTP calls and the audit log, and the key of all digests.

They are generated once, kept in a file beside the data (mode 0600), and rotated by command. Anyone with this file can
forge tokens, so that it belongs with the backups and nowhere else.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import secrets
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from app.bootstrap import private_files
from app.bootstrap.errors import StartFailed
from app.config import Settings
from app.domain.audit import AuditSeal
from app.domain.ids import ALPHABET
from app.domain.tokens import KEY_PREFIX, SigningKey, is_key_text

SECRET_BYTES = 32
RING_LENGTH = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyring:
    """The secrets. The first key of `signing`, the newest, signs; all of them verify. So it is with `audit`.

    `audit_sealed` says that no row of the audit log from before there were keys for it is adopted any more.
    """

    signing: tuple[SigningKey, ...]
    digests: bytes
    http: bytes
    audit: tuple[SigningKey, ...]
    audit_sealed: bool = True

    @classmethod
    def generate(cls) -> Keyring:
        """Return a ring of random keys."""
        return cls(
            signing=(_new_key(),),
            digests=os.urandom(SECRET_BYTES),
            http=os.urandom(SECRET_BYTES),
            audit=(_new_key(),),
        )

    def rotated(self, *, keep: int = RING_LENGTH) -> Keyring:
        """Return a copy with new keys for tokens and the audit log.

        The newest `keep` signing keys stay, so that valid tokens remain valid; of the audit log's keys all stay.
        """
        return replace(self, signing=(_new_key(), *self.signing)[:keep], audit=(_new_key(), *self.audit))

    def seal(self) -> AuditSeal:
        """Return what chains and verifies the audit log."""
        return AuditSeal(self.audit, unsealed_before=not self.audit_sealed)


def _new_key() -> SigningKey:
    stamp = time.strftime("%Y%m%d", time.gmtime())
    return SigningKey(f"{stamp}-{secrets.token_hex(4)}", os.urandom(SECRET_BYTES))


def open_keyring(path: Path) -> Keyring:
    """Return the ring of this file, which is created if it does not exist. Raises StartFailed."""
    found = private_files.read(path)
    if found is None:
        made = Keyring.generate()
        if private_files.create_once(path, dump_ring(made)):
            return made
        found = private_files.read(path) or b""
    return load_ring(found, str(path))


def rotate_signing(path: Path) -> Keyring:
    """Add a new signing key before the others. A running server signs with it once it receives SIGHUP."""
    rotated = open_keyring(path).rotated()
    private_files.replace(path, dump_ring(rotated))
    return rotated


def note_audit_sealed(path: Path) -> None:
    """Record that the audit log's rows from before there were keys are sealed. Raises StartFailed."""
    private_files.replace(path, dump_ring(replace(open_keyring(path), audit_sealed=True)))


def dump_ring(ring: Keyring) -> bytes:
    """Return the ring as text; it is secret."""
    content = {
        "signing": _key_texts(ring.signing),
        "digests": _text(ring.digests),
        "http": _text(ring.http),
        "audit": _key_texts(ring.audit),
        "audit_sealed": ring.audit_sealed,
    }
    return orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def load_ring(content: bytes, place: str) -> Keyring:
    """Return the ring of a text from `place`, the name of a file or of what else had it. Raises StartFailed."""
    try:
        read: dict[str, Any] = orjson.loads(content)
        digests = _bytes(read["digests"])
        ring = Keyring(
            signing=_keys(read["signing"]),
            digests=digests,
            http=_bytes(read["http"]),
            audit=_keys(read["audit"]) if "audit" in read else (_first_audit_key(digests),),
            audit_sealed=bool(read.get("audit_sealed")),
        )
        if not ring.signing or not ring.audit:
            raise ValueError("it holds no signing key")
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise StartFailed(
            f"{place} holds no readable keys ({type(error).__name__}). Restore it from a backup; with a new one "
            "(move it away and start) every token, handle and API key but the root key becomes invalid."
        ) from error
    return ring


def _first_audit_key(digests: bytes) -> SigningKey:
    """Return the audit log's key of a file from before there was one, the same for every process that reads it."""
    return SigningKey("first", hmac.digest(digests, b"swarmhold audit log", "sha256"))


def _keys(read: list[dict[str, str]]) -> tuple[SigningKey, ...]:
    return tuple(SigningKey(key["kid"], _bytes(key["secret"])) for key in read)


def _key_texts(keys: tuple[SigningKey, ...]) -> list[dict[str, str]]:
    return [{"kid": key.kid, "secret": _text(key.secret)} for key in keys]


def _text(secret: bytes) -> str:
    return base64.b64encode(secret).decode()


def _bytes(text: str) -> bytes:
    secret = base64.b64decode(text, validate=True)
    if len(secret) < SECRET_BYTES:
        raise ValueError("a key is too short")
    return secret


@dataclass(frozen=True, slots=True, kw_only=True)
class RootKey:
    """A root key: its text, and where it comes from."""

    text: str
    origin: str

    def __repr__(self) -> str:
        return f"RootKey({self.origin})"


def given_root_key(settings: Settings) -> RootKey | None:
    """Return the root key of the settings or of its file, or None if there is neither. Raises StartFailed."""
    if settings.root_key is not None:
        return RootKey(text=settings.root_key.get_secret_value(), origin="the settings")
    path = settings.root_key_path
    content = private_files.read(path)
    if content is None:
        if settings.root_key_file is not None:
            raise StartFailed(
                f"The root key's file {path} does not exist. Create it, or unset SWARMHOLD_ROOT_KEY_FILE."
            )
        return None
    text = content.decode(errors="replace").strip()
    if not is_key_text(text):
        raise StartFailed(f"{path} holds no root key: one begins with {KEY_PREFIX}. Correct it, or move it away.")
    return RootKey(text=text, origin=str(path))


def make_root_key(settings: Settings) -> RootKey:
    """Write a new root key to its file and return it. Raises StartFailed."""
    text = KEY_PREFIX + "".join(secrets.choice(ALPHABET) for _ in range(52))
    path = settings.root_key_path
    if not private_files.create_once(path, f"{text}\n".encode()):
        made = given_root_key(settings)
        if made is None:
            raise StartFailed(f"{path} cannot be created. Check its directory and start again.")
        return made
    return RootKey(text=text, origin=str(path))
