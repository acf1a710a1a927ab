"""The audit log's chain on each kind of store: a writer of the database without a key is found out."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from hashlib import sha256

import pytest

from app.domain.audit import START, AuditRow, AuditSeal
from app.domain.json import Json
from app.domain.tokens import SigningKey
from app.engine.ops import audit
from app.state import audit_log
from app.state.audit_log import Break, Head
from app.state.opening import open_store
from app.state.policies import RetentionPolicy
from app.state.port import Store
from app.state.retention import sweep
from app.state.state import State
from app.state.tables import get_meta, set_meta
from tests.contract.conftest import PATIENT

KEYS = [SigningKey("second", b"2" * 32), SigningKey("first", b"1" * 32)]
ATTACKER = AuditSeal([SigningKey("second", b"x" * 32)])
DAY_MS = 86_400_000

Opened = tuple[Store, AuditSeal]


@pytest.fixture
async def log(store_url: str) -> AsyncIterator[Opened]:
    """An open store whose audit log has ten rows, five under each key, and its keys."""
    seal = AuditSeal(KEYS[1:])
    store = open_store(store_url, policy=PATIENT, seal=seal)
    await store.open()
    await _write(store, 5)
    seal.use_keys(KEYS)
    await _write(store, 5)
    yield store, seal
    await store.close()


async def _write(store: Store, count: int) -> None:
    for number in range(count):
        await store.transact(
            "write",
            lambda state, number=number: audit.record(state, "somebody", "written", number=number),
        )


async def _verify(opened: Opened, expected: Head | None = None) -> Break | None:
    store, seal = opened
    return await store.read(lambda state: audit_log.verify(state.db, seal, expected=expected))


async def _sql(store: Store, text: str, *values: object) -> None:
    def run(state: State) -> None:
        state.db.change(text.replace("?", "?" if state.db.dialect == "sqlite" else "%s"), values)

    await store.transact("attack", run)


async def _rows(store: Store) -> list[AuditRow]:
    return await store.read(lambda state: audit_log.page(state.db, 0))


async def _head(store: Store) -> Head:
    return await store.read(lambda state: audit_log.head(state.db))


async def _set_head(store: Store, seq: int, digest: str) -> None:
    await store.transact("attack", lambda state: set_meta(state.db, "audit_head", f"{seq} {digest}"))


async def test_an_untouched_log_is_whole_under_every_key_it_had(log: Opened) -> None:
    """Rows of a key that has rotated out verify, and every head that was logged is still there."""
    store, _ = log
    rows = await _rows(store)

    assert [row.seq for row in rows] == list(range(1, 11))
    assert [row.seal_key for row in rows] == ["first"] * 5 + ["second"] * 5
    assert await _verify(log) is None
    for row in rows:
        assert await _verify(log, Head(row.seq, row.digest)) is None
    assert await _verify((store, AuditSeal(KEYS[:1]))) == Break(
        1, "the row names the key first, which the key ring does not hold"
    )


@pytest.mark.parametrize("column", [name for name in AuditRow._fields if name not in ("seq", "at", "detail")])
async def test_a_changed_cell_is_found(log: Opened, column: str) -> None:
    """Every column is part of what is chained."""
    await _sql(log[0], f"UPDATE audit SET {column} = ? WHERE seq = 4", "second" if column == "seal_key" else "f" * 64)  # noqa: S608 - names of columns
    found = await _verify(log)
    assert found is not None
    assert found.seq == 4


@pytest.mark.parametrize("change", ["at = at + 1", "detail = '{\"number\":7}'", "detail = NULL"])
async def test_a_changed_instant_or_detail_is_found(log: Opened, change: str) -> None:
    """The other two columns."""
    await _sql(log[0], f"UPDATE audit SET {change} WHERE seq = 4")  # noqa: S608 - constants
    assert await _verify(log) == Break(4, "the row was changed, or one before it")


@pytest.mark.parametrize("seq", [1, 5, 10])
async def test_a_removed_row_is_found(log: Opened, seq: int) -> None:
    """At the beginning, in the middle and at the end."""
    await _sql(log[0], "DELETE FROM audit WHERE seq = ?", seq)
    found = await _verify(log)
    assert found is not None
    assert (found.seq, "missing" in found.why) == (seq, True)


async def test_renumbering_hides_no_removed_row(log: Opened) -> None:
    """Rows that are moved up to close a gap do not follow from the one before."""
    await _sql(log[0], "DELETE FROM audit WHERE seq = 4")
    for seq in range(5, 11):
        await _sql(log[0], "UPDATE audit SET seq = ? WHERE seq = ?", seq - 1, seq)
    await _set_head(log[0], 9, (await _rows(log[0]))[-1].digest)
    assert await _verify(log) == Break(4, "the row was changed, or one before it")


async def test_an_inserted_row_is_found(log: Opened) -> None:
    """A row that the attacker appends with a key of its own, under the name of the server's."""
    await _rewrite(log[0], await _rows(log[0]), after=10, more=1)
    assert await _verify(log) == Break(11, "the row was changed, or one before it")


async def test_a_rewritten_chain_is_found(log: Opened) -> None:
    """A whole chain that fits together, with a head that fits it, but chained with another key."""
    await _rewrite(log[0], await _rows(log[0]), after=6)
    assert await _verify(log) == Break(7, "the row was changed, or one before it")


async def _rewrite(store: Store, rows: list[AuditRow], *, after: int, more: int = 0) -> None:
    """Chain the rows behind number `after` anew without the server's keys, and set the head to the last."""
    previous = rows[after - 1].digest if after else START
    new = rows[after:] + [rows[-1]._replace(seq=rows[-1].seq + 1 + one) for one in range(more)]

    def run(state: State) -> None:
        last = previous
        for row in new:
            forged = ATTACKER.chain(last, row._replace(actor="nobody"))
            audit_log.ROWS.delete(state.db, row.seq)
            audit_log.ROWS.insert(state.db, forged)
            last = forged.digest
        set_meta(state.db, "audit_head", f"{new[-1].seq} {last}")

    await store.transact("attack", run)


async def test_a_cut_tail_is_found_by_the_head_alone(log: Opened) -> None:
    """Rows cut off together with the stored head leave a whole log, which lacks what an earlier head names."""
    rows = await _rows(log[0])
    await _sql(log[0], "DELETE FROM audit WHERE seq > 7")
    await _set_head(log[0], 7, rows[6].digest)

    assert await _verify(log) is None
    assert await _verify(log, Head(7, rows[6].digest)) is None
    assert await _verify(log, Head(8, rows[7].digest)) == Break(8, "rows are missing: the head that was given is row 8")


async def test_a_log_that_went_on_after_a_cut_lacks_the_earlier_head(log: Opened) -> None:
    """The server appends to what the attacker left; the head that was logged before names another row."""
    rows = await _rows(log[0])
    await _sql(log[0], "DELETE FROM audit WHERE seq > 7")
    await _set_head(log[0], 7, rows[6].digest)
    await _write(log[0], 5)

    assert await _verify(log) is None
    found = await _verify(log, Head(9, rows[8].digest))
    assert found is not None
    assert (found.seq, "rewritten" in found.why) == (9, True)


@pytest.mark.parametrize("text", ["", "10", "x y", f"10 {'0' * 64}", f"9 {'0' * 64}"])
async def test_a_head_that_fits_no_row_is_found(log: Opened, text: str) -> None:
    """The stored head is the number and the digest of the last row."""
    await log[0].transact("attack", lambda state: set_meta(state.db, "audit_head", text))
    found = await _verify(log)
    assert found is not None
    assert found.seq == 11


# Retention


async def _age(store: Store, upto: int) -> None:
    """Let a sweep remove the rows up to a number, in batches of two."""
    at = (await _rows(store))[0].at

    def run(state: State) -> int:
        left = upto - (audit_log.page(state.db, 0, 1)[0].seq - 1)
        return audit_log.remove(state.db, state.require_seal(), at + DAY_MS, limit=min(2, left)) if left else 0

    while await store.transact("sweep", run):
        pass


async def test_what_retention_removed_leaves_a_provable_rest(log: Opened) -> None:
    """A keyed mark explains the start; heads of what remains are found, earlier ones are said to be removed."""
    rows = await _rows(log[0])
    await _age(log[0], 6)
    await _write(log[0], 1)

    assert [row.seq for row in await _rows(log[0])] == [7, 8, 9, 10, 11]
    assert await _verify(log) is None
    assert await _verify(log, Head(8, rows[7].digest)) is None
    assert await _verify(log, Head(6, rows[5].digest)) is None
    assert await _verify(log, Head(3, rows[2].digest)) == Break(7, "retention has removed row 3, whose head was given")
    assert await _verify(log, Head(6, rows[4].digest)) is not None


async def test_a_start_that_no_mark_explains_is_found(log: Opened) -> None:
    """Neither without a mark nor with a genuine one of fewer rows, nor with one that the attacker signed."""
    rows = await _rows(log[0])
    await _age(log[0], 4)
    genuine = await log[0].read(lambda state: get_meta(state.db, "audit_mark"))
    await _sql(log[0], "DELETE FROM audit WHERE seq <= 6")
    kid, mac = ATTACKER.mark(6, rows[5].digest)
    forged = Json.of({"seq": 6, "digest": rows[5].digest, "key": kid, "mac": mac}).text

    for mark in (genuine, forged, "no JSON", "{}", '{"seq": 6}'):
        await log[0].transact("attack", lambda state, mark=mark: set_meta(state.db, "audit_mark", str(mark)))
        found = await _verify(log)
        assert found is not None
        assert (found.seq, "no retention explains it" in found.why) == (1, True)


async def test_retention_keeps_the_newest_row_and_what_is_younger(log: Opened) -> None:
    """The default keeps all; a cutoff removes the older rows, and never the head."""
    store = log[0]
    assert await store.transact("sweep", lambda state: sweep(state, RetentionPolicy())) == 0
    at = (await _rows(store))[-1].at

    def remove(before: int) -> Callable[[State], int]:
        return lambda state: audit_log.remove(state.db, state.require_seal(), before, limit=100)

    assert await store.transact("sweep", remove(at - DAY_MS)) == 0
    assert await store.transact("sweep", remove(at + DAY_MS)) == 9
    assert await store.transact("sweep", remove(at + DAY_MS)) == 0
    assert [row.seq for row in await _rows(store)] == [10]
    assert await _verify(log) is None


# Rows from before the upgrade


async def _write_before(store: Store, count: int, *, at: int = 0) -> None:
    """Write rows as servers did that had no keys for them, and the head."""

    def run(state: State) -> None:
        previous = START
        for seq in range(at + 1, at + count + 1):
            cells = [previous, seq, 5, "attach", "operator:o", None, None, None]
            digest = sha256(json.dumps(cells, separators=(",", ":")).encode()).hexdigest()
            named = {"seq": seq, "at": 5, "action": "attach", "actor": "operator:o", "digest": digest}
            rest = dict.fromkeys(AuditRow._fields)
            audit_log.ROWS.insert(state.db, AuditRow(**(rest | named)))  # pyright: ignore[reportArgumentType]
            previous = digest
        set_meta(state.db, "audit_head", f"{at + count} {previous}")

    await store.transact("before", run)


@pytest.fixture
async def old_log(store_url: str) -> AsyncIterator[Opened]:
    """An open store whose audit log has three rows from before the upgrade, and its keys."""
    seal = AuditSeal(KEYS, unsealed_before=True)
    store = open_store(store_url, policy=PATIENT, seal=seal)
    await store.open()
    await _write_before(store, 3)
    yield store, seal
    await store.close()


async def test_rows_from_before_are_sealed_by_one_row(old_log: Opened) -> None:
    """Until then they count as not written by a server; sealed, a change of one of them is found."""
    store, _ = old_log
    found = await _verify(old_log)
    assert found is not None
    assert "not sealed" in found.why
    assert [await store.transact("seal", audit.seal_before) for _ in range(2)] == [True, False]
    await _write(store, 2)

    rows = await _rows(store)
    assert [row.action for row in rows] == ["attach"] * 3 + ["audit_sealed", "written", "written"]
    assert rows[3].detail == Json.of({"head": f"3:{rows[2].digest}"})
    assert await _verify(old_log) is None
    assert await _verify(old_log, Head(2, rows[1].digest)) is None
    await _sql(store, "UPDATE audit SET actor = 'operator:x' WHERE seq = 2")
    assert await _verify(old_log) == Break(2, "the row was changed, or one before it")


async def test_a_log_is_not_made_older_than_its_keys(log: Opened) -> None:
    """Rows rewritten as if from before the upgrade are not adopted by a server that has sealed such rows."""
    store, _ = log
    await _sql(store, "DELETE FROM audit")
    await _write_before(store, 10)
    assert await _verify(log) is not None
    assert await store.transact("seal", audit.seal_before) is False
    await _write(store, 1)

    found = await _verify(log)
    assert found == Break(11, "the rows before it were not written by a server")


async def test_a_row_without_a_key_among_keyed_ones_is_found(log: Opened) -> None:
    """The plain digest can be computed by anybody."""
    rows = await _rows(log[0])

    def run(state: State) -> None:
        row = rows[-1]._replace(seq=11, seal_key=None)
        cells = [
            rows[-1].digest,
            11,
            row.at,
            row.action,
            row.actor,
            None,
            None,
            row.detail.text if row.detail else None,
        ]
        row = row._replace(digest=sha256(Json.of(cells).text.encode()).hexdigest())
        audit_log.ROWS.insert(state.db, row)
        set_meta(state.db, "audit_head", f"11 {row.digest}")

    await log[0].transact("attack", run)
    assert await _verify(log) == Break(11, "the row was written without a key")


# Writing


async def test_an_operation_that_fails_leaves_no_row_and_breaks_nothing(log: Opened) -> None:
    """Rows belong to their transaction, which may be one of a batch."""

    def fail(state: State) -> None:
        audit.record(state, "somebody", "undone")
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        await log[0].transact("fail", fail)
    await _write(log[0], 1)
    assert [row.action for row in await _rows(log[0])] == ["written"] * 11
    assert await _verify(log) is None


async def test_the_log_is_chained_however_many_write_at_once(log: Opened) -> None:
    """Concurrent transactions append in the order of their commits."""
    store = log[0]
    await asyncio.gather(*(_write(store, 5) for _ in range(20)))
    assert (await _head(store)).seq == 110
    assert await _verify(log) is None


async def test_a_store_without_keys_refuses_to_write_the_log(store_url: str) -> None:
    """A row that nothing chains would break the log."""
    store = open_store(store_url, policy=PATIENT)
    await store.open()
    try:
        with pytest.raises(RuntimeError, match="no keys"):
            await _write(store, 1)
    finally:
        await store.close()


@pytest.mark.parametrize("text", ["", "1", "1:", ":a", "a:b", f"-1:{'0' * 64}", f"1:{'g' * 64}", f"1:{'0' * 63}"])
def test_what_is_no_head_is_refused(text: str) -> None:
    """A number, a colon and 64 hexadecimal digits."""
    with pytest.raises(ValueError, match=r"head|invalid literal"):
        Head.parse(text)


def test_a_head_is_read_as_it_is_written() -> None:
    """Surrounding space and capitals do not matter."""
    head = Head(12, "ab" * 32)
    assert Head.parse(f" {str(head).upper()}\n") == head
