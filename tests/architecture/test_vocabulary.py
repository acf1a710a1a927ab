"""The words of the source: the field's own, in sentences that stand alone."""

import re

import pytest

from tests.support.sources import modules

SOURCES = modules("app") + modules("clients")

# What a word of this project's past is called elsewhere. `docs/glossary.md` has the words of the product itself.
BANNED = {
    r"ear|ears": "subscription",
    r"is no id": "is not a valid id",
    r"plainly": "a readable validation message",
    r"reigns?": "lock term",
    r"strays": "orphaned processes",
}


def _found(pattern: re.Pattern[str]) -> list[str]:
    """Where the pattern occurs in the source."""
    return [
        f"{module.name}:{number} {found[0]}"
        for module in SOURCES
        for number, line in enumerate(module.text.splitlines(), start=1)
        if (found := pattern.search(line))
    ]


@pytest.mark.parametrize("word", BANNED)
def test_names_and_prose_use_the_words_of_the_field(word: str) -> None:
    """A reader who knows the field looks no word up."""
    pattern = re.compile(rf"(?<![a-z])(?:{word})(?![a-z])", re.IGNORECASE)

    assert _found(pattern) == [], f"say: {BANNED[word]}"
