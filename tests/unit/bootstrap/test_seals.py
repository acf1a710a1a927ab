"""The seal of the keys in a database: who can open it, and what is said to whoever cannot."""

from pathlib import Path

import orjson
import pytest

from app.bootstrap.errors import StartFailed
from app.bootstrap.seals import CannotUnseal, Seals
from app.config import load

ROOT, SEAL, OTHER = "shk_" + "r" * 40, "s" * 32, "o" * 32
SECRET = b"the ring"


def seals(**environ: str) -> Seals:
    """The keys of these variables."""
    return Seals.of(load(environ={f"SWARMHOLD_{name}": value for name, value in environ.items()}).settings)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test finds a root key in the working directory."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"SEAL_KEY": SEAL}, {"SEAL_KEY": SEAL}),
        ({"ROOT_KEY": ROOT}, {"ROOT_KEY": ROOT}),
        ({"ROOT_KEY": ROOT}, {"ROOT_KEY": ROOT, "SEAL_KEY": SEAL}),
        ({"SEAL_KEY": SEAL}, {"SEAL_KEY": OTHER, "SEAL_KEY_PREVIOUS": SEAL}),
        ({"ROOT_KEY": ROOT}, {"ROOT_KEY": ROOT + "x", "SEAL_KEY_PREVIOUS": ROOT}),
        ({"SEAL_KEY": SEAL, "ROOT_KEY": ROOT}, {"ROOT_KEY": ROOT, "SEAL_KEY_PREVIOUS": SEAL}),
    ],
)
def test_the_same_keys_and_those_with_the_one_before_open_it(before: dict[str, str], after: dict[str, str]) -> None:
    """And what is sealed again needs the one before no more."""
    sealed = seals(**before).seal(SECRET)
    assert seals(**after).unseal(sealed) == SECRET
    after.pop("SEAL_KEY_PREVIOUS", None)
    assert seals(**after).unseal(seals(**after).seal(SECRET)) == SECRET


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({"SEAL_KEY": SEAL}, {"SEAL_KEY": OTHER}, "this node's seal key does not open"),
        ({"SEAL_KEY": SEAL, "ROOT_KEY": ROOT}, {"ROOT_KEY": ROOT}, "seal key of the cluster, and this node has none"),
        ({"ROOT_KEY": ROOT}, {"ROOT_KEY": ROOT + "x"}, "this node's root key does not open"),
        ({"ROOT_KEY": ROOT}, {"SEAL_KEY": SEAL}, "root key of the cluster, and this node has none"),
    ],
)
def test_other_keys_are_refused_by_the_name_of_what_seals(
    before: dict[str, str], after: dict[str, str], told: str
) -> None:
    """With the variable to set, and without any key."""
    sealed = seals(**before).seal(SECRET)
    with pytest.raises(CannotUnseal, match=told) as refused:
        seals(**after).unseal(sealed)
    assert "SWARMHOLD_SEAL_KEY_PREVIOUS" in str(refused.value)
    assert not [key for key in (ROOT, SEAL, OTHER) if key in str(refused.value)]


def test_what_is_sealed_shows_nothing_and_bears_no_change() -> None:
    """Each sealing is another text; a flipped bit or another kind of key in it is noticed."""
    keys = seals(SEAL_KEY=SEAL)
    sealed = keys.seal(SECRET)
    assert sealed != keys.seal(SECRET)
    assert "ring" not in sealed
    assert SEAL not in repr(keys)
    for name, value in (("by", "root"), ("salt", "AAAA"), ("sealed", "AAAA" * 20), ("sealed", "")):
        with pytest.raises(CannotUnseal):
            keys.unseal(orjson.dumps({**orjson.loads(sealed), name: value}).decode())
    for text in ("", "[]", "{}", "7"):
        with pytest.raises(CannotUnseal, match="no sealed text"):
            keys.unseal(text)


def test_without_a_key_nothing_is_sealed() -> None:
    """The one before alone seals nothing either."""
    for keys in (seals(), seals(SEAL_KEY_PREVIOUS=SEAL)):
        with pytest.raises(StartFailed, match="SWARMHOLD_SEAL_KEY"):
            keys.seal(SECRET)


def test_keys_may_stand_in_files(tmp_path: Path) -> None:
    """White space at their ends does not count; a short one is refused by the name of its file."""
    file = tmp_path / "seal.key"
    file.write_text(f"{SEAL}\n")
    sealed = seals(SEAL_KEY=SEAL).seal(SECRET)
    assert seals(SEAL_KEY_FILE=str(file)).unseal(sealed) == SECRET
    assert seals(SEAL_KEY=OTHER, SEAL_KEY_PREVIOUS_FILE=str(file)).unseal(sealed) == SECRET
    file.write_text("short")
    with pytest.raises(StartFailed, match=r"seal\.key holds no seal key"):
        seals(SEAL_KEY_FILE=str(file))
