"""Handles: random, with a check character, and stored only as keyed digests."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import HandleMistyped, InvalidRequest
from app.domain.handles import DEFAULT_LENGTH, MIN_LENGTH, PREFIX, HandleMint, first_digest_of, untimed
from app.domain.ids import ALPHABET

MINT = HandleMint(b"k" * 32)
NOW = 1_800_000_000_000
TIME = 9


def test_a_handle_has_128_random_bits_or_more() -> None:
    """Behind its time, the default length is 26 characters of five bits and one check character."""
    handle = MINT.new(NOW)

    assert handle.startswith(PREFIX)
    assert len(handle) == len(PREFIX) + TIME + DEFAULT_LENGTH
    assert (DEFAULT_LENGTH - 1) * 5 >= 128
    secrets = {MINT.new(NOW)[len(PREFIX) + TIME :] for _ in range(1000)}
    assert len(secrets) == len({secret[:-1] for secret in secrets}) == 1000
    assert not set(handle.removeprefix(PREFIX)) & set("ilou")


@given(st.data())
def test_one_wrong_letter_is_detected(data: st.DataObject) -> None:
    """The check character detects every single mistyped letter."""
    handle = MINT.new(NOW)
    position = data.draw(st.integers(len(PREFIX), len(handle) - 1))
    letter = data.draw(st.sampled_from([x for x in ALPHABET if x != handle[position]]))

    with pytest.raises(HandleMistyped):
        MINT.digest(handle[:position] + letter + handle[position + 1 :])


@given(st.text(max_size=80))
def test_other_text_is_a_mistyped_handle(text: str) -> None:
    """Any text either has a digest or raises HandleMistyped, nothing else."""
    try:
        digest = MINT.digest(text)
    except HandleMistyped:
        return
    assert len(digest) in (64, 1 + TIME + 64)


def test_digests_sort_by_the_time_of_their_handles() -> None:
    """So do all that were made before an instant; a short handle has no time, and none is taken for its beginning."""
    digests = [MINT.digest(MINT.new(NOW + n)) for n in (0, 1, 31, 32, 1 << 20, 1 << 40)]

    assert digests == sorted(digests)
    assert digests[1] < first_digest_of(NOW + 2) < digests[2]
    short = HandleMint(b"k" * 32, length=DEFAULT_LENGTH - 1)
    plain = short.digest(short.new(NOW))
    assert (len(plain), untimed(plain)) == (64, None)
    assert untimed(digests[0]) == digests[0][-64:]


def test_a_handle_tolerates_white_space_and_capitals() -> None:
    """White space around a handle and capital letters are ignored."""
    handle = MINT.new(NOW)
    assert MINT.digest(f"  {handle.upper()}\n") == MINT.digest(handle)


def test_digests_depend_on_the_key() -> None:
    """Without the key, a handle cannot be found in the database."""
    handle = MINT.new(NOW)
    assert HandleMint(b"l" * 32).digest(handle) != MINT.digest(handle)
    assert handle not in MINT.digest(handle)


def test_lengths_and_keys_have_bounds() -> None:
    """Keys and handles below the minimum length are rejected; the minimum itself works."""
    with pytest.raises(InvalidRequest):
        HandleMint(b"k" * 31)
    with pytest.raises(InvalidRequest):
        HandleMint(b"k" * 32, length=MIN_LENGTH - 1)
    short = HandleMint(b"k" * 32, length=MIN_LENGTH)
    assert short.digest(short.new(NOW))
    with pytest.raises(HandleMistyped):
        MINT.digest(PREFIX + "0" * 74)
