"""The rows of the audit log, and the keys that chain them.

Each row holds an HMAC over itself and the row before, under a key that the database does not have: a writer of
the database can neither change, insert nor remove a row unnoticed. Keys that were rotated out still verify.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, NamedTuple

from app.domain.clock import Instant
from app.domain.json import Json
from app.domain.tokens import SigningKey

START = "0" * 64
"""What stands in place of a digest before the first row."""


class AuditRow(NamedTuple):
    """One row of `audit`: who (`actor`, `role`) did what (`action`) to what (`target`), and by which way.

    `credential` is a token's jti or a key's id; `key_id` is the API key that it descends from and `key_name` the name
    that this key had; `namespace` is a name. `digest` chains the row to the one before under the key `seal_key`; rows
    from before there were such keys have a plain digest and None.
    """

    seq: int
    at: Instant
    action: str
    actor: str
    credential: str | None
    target: str | None
    detail: Json | None
    digest: str
    role: str | None
    door: str | None
    key_id: str | None
    key_name: str | None
    session_id: str | None
    namespace: str | None
    seal_key: str | None


class AuditSeal:
    """Chains rows with the newest of its keys, and verifies with all of them.

    `unsealed_before` says that rows from before there were keys may be adopted, once.
    """

    __slots__ = ("_keys", "_newest", "unsealed_before")

    def __init__(self, keys: Sequence[SigningKey], *, unsealed_before: bool = False) -> None:
        self.use_keys(keys)
        self.unsealed_before = unsealed_before

    def use_keys(self, keys: Sequence[SigningKey]) -> None:
        """Use these keys from now on; the first one chains."""
        # Other threads may chain meanwhile: the newest key is known before it is named.
        self._keys = {key.kid: key.secret for key in keys}
        self._newest = keys[0].kid

    def has(self, kid: str) -> bool:
        """Return whether the key with this id is known."""
        return kid in self._keys

    def chain(self, previous: str, row: AuditRow) -> AuditRow:
        """Return the row with its key and its digest, given the digest of the row before."""
        row = row._replace(seal_key=self._newest)
        return row._replace(digest=self._row_digest(previous, row))

    def follows(self, previous: str, row: AuditRow) -> bool:
        """Return whether the row is unchanged and follows from the one with the digest `previous`."""
        expected = _plain_digest(previous, row) if row.seal_key is None else self._row_digest(previous, row)
        return hmac.compare_digest(expected, row.digest)

    def _row_digest(self, previous: str, row: AuditRow) -> str:
        return self._mac(row.seal_key or "", "row", previous, *_cells(row))

    def mark(self, seq: int, digest: str) -> tuple[str, str]:
        """Return key id and digest of a mark that says: the rows up to this one were removed by retention."""
        return self._newest, self._mac(self._newest, "mark", seq, digest)

    def is_mark(self, kid: str, mac: str, *, seq: int, digest: str) -> bool:
        """Return whether `mark` returned these for this row."""
        return self.has(kid) and hmac.compare_digest(self._mac(kid, "mark", seq, digest), mac)

    def _mac(self, kid: str, *cells: Any) -> str:
        return hmac.digest(self._keys[kid], Json.of([kid, *cells]).text.encode(), "sha256").hex()


def _cells(row: AuditRow) -> list[Any]:
    return [
        cell.text if isinstance(cell, Json) else cell
        for name, cell in row._asdict().items()
        if name not in ("digest", "seal_key")
    ]


def _plain_digest(previous: str, row: AuditRow) -> str:
    detail = None if row.detail is None else row.detail.text
    cells = [previous, row.seq, row.at, row.action, row.actor, row.credential, row.target, detail]
    return sha256(Json.of(cells).text.encode()).hexdigest()
