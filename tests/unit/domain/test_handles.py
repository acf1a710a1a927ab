"""Handles: random, checked, and stored only as keyed digests."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import HandleMistyped, InvalidRequest
from app.domain.handles import DEFAULT_LENGTH, PREFIX, SHORTEST, HandleMint
from app.domain.ids import ALPHABET

MINT = HandleMint(b"k" * 32)


def test_a_handle_has_128_random_bits_or_more() -> None:
    """The default length is 26 letters of five bits and one to check them."""
    handle = MINT.new()

    assert handle.startswith(PREFIX)
    assert len(handle) == len(PREFIX) + DEFAULT_LENGTH
    assert (DEFAULT_LENGTH - 1) * 5 >= 128
    assert len({MINT.new() for _ in range(1000)}) == 1000
    assert not set(handle.removeprefix(PREFIX)) & set("ilou")


@given(st.data())
def test_one_wrong_letter_is_told(data: st.DataObject) -> None:
    """Every single mistyped letter is found by the check character."""
    handle = MINT.new()
    place = data.draw(st.integers(len(PREFIX), len(handle) - 1))
    letter = data.draw(st.sampled_from([x for x in ALPHABET if x != handle[place]]))

    with pytest.raises(HandleMistyped):
        MINT.digest(handle[:place] + letter + handle[place + 1 :])


@given(st.text(max_size=80))
def test_text_that_is_no_handle_is_mistyped(text: str) -> None:
    """Whatever else is presented is a handle by its check character, or told to be none; nothing else happens."""
    try:
        digest = MINT.digest(text)
    except HandleMistyped:
        return
    assert len(digest) == 64


def test_a_handle_is_read_as_people_write_it() -> None:
    """White space around it and capital letters change nothing."""
    handle = MINT.new()
    assert MINT.digest(f"  {handle.upper()}\n") == MINT.digest(handle)


def test_digests_depend_on_the_key() -> None:
    """Who has the database and not the key cannot look for a handle."""
    handle = MINT.new()
    assert HandleMint(b"l" * 32).digest(handle) != MINT.digest(handle)
    assert handle not in MINT.digest(handle)


def test_lengths_and_keys_have_bounds() -> None:
    """Short keys and shorter handles than the seed's are refused; the seed's own length works."""
    with pytest.raises(InvalidRequest):
        HandleMint(b"k" * 31)
    with pytest.raises(InvalidRequest):
        HandleMint(b"k" * 32, length=SHORTEST - 1)
    short = HandleMint(b"k" * 32, length=SHORTEST)
    assert short.digest(short.new())
    with pytest.raises(HandleMistyped):
        MINT.digest(PREFIX + "0" * 65)
