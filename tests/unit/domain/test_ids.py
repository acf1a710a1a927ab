"""Ids: unique, well-formed, and sorted by time."""

from hypothesis import given
from hypothesis import strategies as st

from app.domain.ids import ALPHABET, IdSource, encode_base32, id_of, is_id, uuid_of
from tests.support.clocks import HandClock


@given(st.lists(st.integers(-5, 5), max_size=200))
def test_ids_of_one_source_grow(steps: list[int]) -> None:
    """Later ids are greater as text, even within a millisecond and when the clock steps back."""
    clock = HandClock()
    source = IdSource(clock=clock)
    made = []
    for step in steps:
        clock.now += step
        made.append(source.new("T"))

    assert made == sorted(set(made))


def test_more_ids_than_a_millisecond_holds_still_grow() -> None:
    """The counter overflows into the time."""
    source = IdSource(clock=HandClock())
    made = [source.task() for _ in range(10_000)]

    assert made == sorted(set(made))


def test_an_id_is_a_uuid_of_version_seven() -> None:
    """The number has the timestamp, version and variant of RFC 9562, section 5.7."""
    clock = HandClock()
    text = IdSource(clock=clock).session()
    number = 0
    for letter in text.removeprefix("S-"):
        number = number * 32 + ALPHABET.index(letter)

    assert number >> 80 == clock.now
    assert number >> 76 & 15 == 7
    assert number >> 62 & 3 == 2
    assert uuid_of(text).int == number
    assert uuid_of(text).version == 7
    assert id_of("S", uuid_of(text)) == text


def test_prefixes_distinguish_ids() -> None:
    """An id of one kind is not an id of another, and malformed text is not an id."""
    source = IdSource()
    made = {"T": source.task(), "S": source.session(), "R": source.resume_key(), "K": source.new("K")}

    for prefix, text in made.items():
        assert [name for name in made if is_id(text, name)] == [prefix]
    good = made["T"]
    for wrong in ("", "T-", "T-x", good[:-1], good + "0", good.upper(), good + "\n", "T-" + "z" * 26):
        assert not is_id(wrong, "T")


@given(st.integers(0, 2**130 - 1))
def test_base32_keeps_the_order_of_numbers(number: int) -> None:
    """Text of equal length sorts like the numbers."""
    following = encode_base32(number + 1, 27)
    assert encode_base32(number, 27) < following
    assert len(following) == 27
