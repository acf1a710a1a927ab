"""The seal of secrets that lie in a database: AES-256-GCM under a key derived from the seal key, or from the root key.

A reader of the database alone can read none of them. A changed key comes with the one before until everything was
sealed anew.
"""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import orjson
from pydantic import SecretStr

from app.bootstrap import private_files
from app.bootstrap.errors import StartFailed
from app.bootstrap.keyring import given_root_key
from app.config import Settings
from app.config.conflicts import SHORTEST_SEAL_KEY

_INFO = b"swarmhold seal 1"
_SALT_BYTES, _NONCE_BYTES, _KEY_BYTES = 16, 12, 32


class By(StrEnum):
    """The kinds of keys that seal."""

    SEAL_KEY = "seal"
    ROOT_KEY = "root"


@dataclass(frozen=True, slots=True)
class SealKey:
    """A key that seals: its text, and what kind it is of; None for one that sealed before."""

    text: str = field(repr=False)
    by: By | None


class CannotUnseal(StartFailed):
    """None of the keys opens what is sealed."""


@dataclass(frozen=True, slots=True)
class Seals:
    """The keys of the settings: `current` seals; it and the others unseal. Without any, nothing can be sealed."""

    current: SealKey | None
    others: tuple[SealKey, ...]

    @classmethod
    def of(cls, settings: Settings) -> Seals:
        """Read the seal key, the root key and the one before, where they are given. Raises StartFailed."""
        seal = _given(settings.seal_key, settings.seal_key_file, "SEAL_KEY")
        previous = _given(settings.seal_key_previous, settings.seal_key_previous_file, "SEAL_KEY_PREVIOUS")
        root = given_root_key(settings)
        keys = [SealKey(seal, By.SEAL_KEY)] if seal else []
        keys += [SealKey(root.text, By.ROOT_KEY)] if root else []
        keys += [SealKey(previous, None)] if previous else []
        current = keys[0] if keys and keys[0].by is not None else None
        return cls(current, tuple(key for key in keys if key is not current))

    def seal(self, content: bytes) -> str:
        """Return the content, sealed with the current key. Raises StartFailed where there is none."""
        if self.current is None or self.current.by is None:
            raise StartFailed(
                "The keys in the database have to be sealed, and there is no key for that. Set SWARMHOLD_SEAL_KEY to a "
                "text of 32 characters or more, or SWARMHOLD_ROOT_KEY, the same for every node (or their _FILE)."
            )
        salt, nonce = os.urandom(_SALT_BYTES), os.urandom(_NONCE_BYTES)
        by = self.current.by
        sealed = _cipher(self.current, salt).encrypt(nonce, content, _associated(by))
        return orjson.dumps({"by": by.value, "salt": _text(salt), "sealed": _text(nonce + sealed)}).decode()

    def unseal(self, text: str) -> bytes:
        """Return what was sealed with one of the keys. Raises CannotUnseal, which names the kind of key that did."""
        from cryptography.exceptions import InvalidTag

        try:
            read: dict[str, Any] = orjson.loads(text)
            by, salt, sealed = By(read["by"]), base64.b64decode(read["salt"]), base64.b64decode(read["sealed"])
        except (ValueError, KeyError, TypeError) as error:
            raise CannotUnseal("The keys in the database are no sealed text. Restore them from a backup.") from error
        for key in (self.current, *self.others):
            if key is not None:
                try:
                    return _cipher(key, salt).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _associated(by))
                except (InvalidTag, ValueError):
                    continue
        raise CannotUnseal(self._refusal(by))

    def _refusal(self, by: By) -> str:
        name, variable = ("seal key", "SEAL_KEY") if by is By.SEAL_KEY else ("root key", "ROOT_KEY")
        given = any(key is not None and key.by is by for key in (self.current, *self.others))
        found = f"this node's {name} does not open them" if given else "this node has none"
        return (
            f"The keys in the database are sealed with the {name} of the cluster, and {found}. Set "
            f"SWARMHOLD_{variable} (or SWARMHOLD_{variable}_FILE) to it. If it was changed, set "
            "SWARMHOLD_SEAL_KEY_PREVIOUS to the one before until `swarmhold keys reseal` has run."
        )


def _given(secret: SecretStr | None, path: Path | None, variable: str) -> str | None:
    """Return the key of a setting or of its file. Raises StartFailed for a file without a key."""
    if secret is not None:
        return secret.get_secret_value()
    if path is None:
        return None
    text = (private_files.read(path) or b"").decode(errors="replace").strip()
    if len(text) < SHORTEST_SEAL_KEY:
        raise StartFailed(
            f"{path} holds no seal key: one has {SHORTEST_SEAL_KEY} characters or more. Correct it, or unset "
            f"SWARMHOLD_{variable}_FILE."
        )
    return text


def _cipher(key: SealKey, salt: bytes) -> Any:
    # Loaded here, since commands and servers on SQLite need none of it.
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    derived = HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=salt, info=_INFO).derive(key.text.encode())
    return AESGCM(derived)


def _associated(by: By) -> bytes:
    return _INFO + by.value.encode()


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
