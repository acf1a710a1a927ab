"""The audit log in the database: append to its chain, read it, verify it, remove what retention ends.

Rows are appended last in their transaction (`State.flush`). The row that holds the head is therefore the last one that
a transaction locks: it is locked for the insert and the commit alone, and no transaction that holds it waits for
another, so that it takes part in no deadlock. Only transactions that write audit rows wait for each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import sqlalchemy as sa

from app.domain.audit import START, AuditRow, AuditSeal
from app.domain.json import Json
from app.state import schema
from app.state.rows import Rows
from app.state.statements import Connection, Statement
from app.state.tables import get_meta, set_meta

ROWS = Rows(schema.audit, AuditRow)
SEALED = "audit_sealed"
"""The action of the row that seals those from before there were keys."""
PAGE = 1_000

_HEAD, _MARK = "audit_head", "audit_mark"
_A = schema.audit.c
_PAGE = ROWS.search(_A.seq > sa.bindparam("after"), order=(_A.seq,), limit=True)
_FIRST = Statement(sa.select(_A.seq, _A.at, _A.digest).order_by(_A.seq).limit(sa.bindparam("limit")))
_REMOVE = Statement(sa.delete(schema.audit).where(_A.seq <= sa.bindparam("upto")))


@dataclass(frozen=True, slots=True)
class Head:
    """The number and the digest of a row, as text `<seq>:<hex>`."""

    seq: int
    digest: str

    def __str__(self) -> str:
        return f"{self.seq}:{self.digest}"

    @classmethod
    def parse(cls, text: str) -> Head:
        """Return the head that a text names. Raises ValueError."""
        seq, colon, digest = text.strip().partition(":")
        if not colon or not seq.isdecimal() or len(digest) != len(START) or int(digest, 16) < 0:
            raise ValueError("a head is written as <seq>:<hex>")
        return cls(int(seq), digest.lower())


@dataclass(frozen=True, slots=True)
class Break:
    """The first row at which the log is not what the server wrote, and why."""

    seq: int
    why: str


def head(db: Connection, *, lock: bool = False) -> Head:
    """Return the newest row's number and digest; `lock` keeps others from appending until this transaction ends."""
    seq, digest = (get_meta(db, _HEAD, lock=lock) or f"0 {START}").split()
    return Head(int(seq), digest)


def append(db: Connection, seal: AuditSeal, rows: Sequence[AuditRow]) -> None:
    """Append rows, whose numbers and digests are given here. Nothing may be locked after this in the transaction."""
    db.take_turn()
    last = head(db, lock=True)
    for row in rows:
        chained = seal.chain(last.digest, row._replace(seq=last.seq + 1))
        ROWS.insert(db, chained)
        last = Head(chained.seq, chained.digest)
    set_meta(db, _HEAD, f"{last.seq} {last.digest}")


def page(db: Connection, after: int, limit: int = PAGE) -> list[AuditRow]:
    """Return rows behind number `after`, oldest first."""
    return _PAGE.all(db, after=after, limit=limit)


def needs_seal(db: Connection) -> bool:
    """Return whether the newest row is from before there were keys."""
    last = head(db).seq
    return last > 0 and any(row.seal_key is None for row in page(db, last - 1, 1))


# Retention


def remove(db: Connection, seal: AuditSeal, before: int, *, limit: int) -> int:
    """Remove the oldest rows up to the first that is younger than an instant, but never the newest; return how many.

    A mark that a key signs stays for what was removed.
    """
    newest = head(db).seq
    found = _FIRST.query(db, limit=limit)
    old = list(takewhile(lambda row: row[1] <= before and row[0] < newest, found))
    if not old:
        return 0
    seq, _, digest = old[-1]
    kid, mac = seal.mark(seq, digest)
    set_meta(db, _MARK, Json.of({"seq": seq, "digest": digest, "key": kid, "mac": mac}).text)
    return _REMOVE.change(db, upto=seq)


def _mark(db: Connection, seal: AuditSeal) -> Head | None:
    """Return the last row that retention removed, if its mark is genuine."""
    text = get_meta(db, _MARK)
    if text is None:
        return None
    try:
        value: dict[str, Any] = Json(text).value
        removed = Head(int(value["seq"]), str(value["digest"]))
        genuine = seal.is_mark(str(value["key"]), str(value["mac"]), seq=removed.seq, digest=removed.digest)
    except (ValueError, KeyError, TypeError):
        return None
    return removed if genuine else None


# Verification


def verify(db: Connection, seal: AuditSeal, *, expected: Head | None = None) -> Break | None:
    """Return where the log is not what the server wrote, or no longer holds the row that `expected` names.

    A tail that was cut off together with the stored head is found by `expected` alone.
    """
    return _Verification(seal, _mark(db, seal), expected).run(db)


class _Verification:
    """One pass over the log."""

    def __init__(self, seal: AuditSeal, mark: Head | None, expected: Head | None) -> None:
        self._seal = seal
        self._mark = mark
        self._expected = expected
        self._last = Head(0, START)
        self._unsealed = False
        """Whether the last row is from before there were keys."""

    def run(self, db: Connection) -> Break | None:
        first = page(db, 0, 1)
        if self._mark is not None and (not first or first[0].seq == self._mark.seq + 1):
            self._last = self._mark
        begins_after = self._last.seq
        while rows := page(db, self._last.seq):
            for row in rows:
                if (why := self._why_broken(row)) is not None:
                    return Break(min(row.seq, self._last.seq + 1), why)
                self._last, self._unsealed = Head(row.seq, row.digest), row.seal_key is None
        try:
            return self._end(head(db), begins_after)
        except ValueError:
            return Break(self._last.seq + 1, "the stored head is not readable")

    def _why_broken(self, row: AuditRow) -> str | None:
        if row.seq != self._last.seq + 1:
            return "rows are missing, and no retention explains it" if self._last.seq == 0 else "rows are missing"
        if row.seal_key is None and not self._unsealed and self._last.seq > 0 and self._last != self._mark:
            return "the row was written without a key"
        if row.seal_key is not None and not self._seal.has(row.seal_key):
            return f"the row names the key {row.seal_key}, which the key ring does not hold"
        if not self._seal.follows(self._last.digest, row):
            return "the row was changed, or one before it"
        if self._unsealed and row.seal_key is not None and not _seals(row, self._last):
            return "the rows before it were not written by a server"
        if self._expected is not None and row.seq == self._expected.seq and row.digest != self._expected.digest:
            return "the log was rewritten: this row is not the one of the head that was given"
        return None

    def _end(self, stored: Head, begins_after: int) -> Break | None:
        last, expected = self._last, self._expected
        if stored != last:
            return Break(last.seq + 1, f"rows are missing: the stored head is row {stored.seq}")
        if self._unsealed:
            return Break(last.seq, "the rows are from before the upgrade and not sealed; start the server once")
        if expected is None or expected == Head(0, START):
            return None
        if expected.seq > last.seq:
            return Break(last.seq + 1, f"rows are missing: the head that was given is row {expected.seq}")
        if expected.seq < begins_after or (expected.seq == begins_after and expected != self._mark):
            return Break(begins_after + 1, f"retention has removed row {expected.seq}, whose head was given")
        return None


def _seals(row: AuditRow, last: Head) -> bool:
    return row.action == SEALED and row.detail is not None and row.detail.value == {"head": str(last)}
