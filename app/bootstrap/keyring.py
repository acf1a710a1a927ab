"""The server's own secrets: the key ring that signs tokens, the key of all digests, the secret that signs HTTP calls.

They are generated once, kept in a file beside the data (mode 0600), and rotated by command. Anyone with this file can
forge tokens, so that it belongs with the backups and nowhere else.
"""

from __future__ import annotations

import base64
import binascii
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
from app.domain.ids import ALPHABET
from app.domain.tokens import KEY_PREFIX, SigningKey, is_key_text

SECRET_BYTES = 32
RING_LENGTH = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyring:
    """The secrets. The first key of `signing`, the newest, signs; all of them verify."""

    signing: tuple[SigningKey, ...]
    digests: bytes
    http: bytes

    @classmethod
    def generate(cls) -> Keyring:
        """Return a ring of random keys."""
        return cls(signing=(_new_key(),), digests=os.urandom(SECRET_BYTES), http=os.urandom(SECRET_BYTES))

    def rotated(self, *, keep: int = RING_LENGTH) -> Keyring:
        """Return a copy with a new signing key; the newest `keep` keys stay, so that valid tokens remain valid."""
        return replace(self, signing=(_new_key(), *self.signing)[:keep])


def _new_key() -> SigningKey:
    stamp = time.strftime("%Y%m%d", time.gmtime())
    return SigningKey(f"{stamp}-{secrets.token_hex(4)}", os.urandom(SECRET_BYTES))


def open_keyring(path: Path) -> Keyring:
    """Return the ring of this file, which is created if it does not exist. Raises StartFailed."""
    found = private_files.read(path)
    if found is None:
        made = Keyring.generate()
        if private_files.create_once(path, _dump(made)):
            return made
        found = private_files.read(path) or b""
    return _load(found, path)


def rotate_signing(path: Path) -> Keyring:
    """Add a new signing key before the others. A running server signs with it once it receives SIGHUP."""
    rotated = open_keyring(path).rotated()
    private_files.replace(path, _dump(rotated))
    return rotated


def _dump(ring: Keyring) -> bytes:
    content = {
        "signing": [{"kid": key.kid, "secret": _text(key.secret)} for key in ring.signing],
        "digests": _text(ring.digests),
        "http": _text(ring.http),
    }
    return orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _load(content: bytes, path: Path) -> Keyring:
    try:
        read: dict[str, Any] = orjson.loads(content)
        ring = Keyring(
            signing=tuple(SigningKey(key["kid"], _bytes(key["secret"])) for key in read["signing"]),
            digests=_bytes(read["digests"]),
            http=_bytes(read["http"]),
        )
        if not ring.signing:
            raise ValueError("it holds no signing key")
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise StartFailed(
            f"{path} holds no readable keys ({type(error).__name__}). Restore it from a backup; with a new one "
            "(move it away and start) every token, handle and API key but the root key becomes invalid."
        ) from error
    return ring


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
