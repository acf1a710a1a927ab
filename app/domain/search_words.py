"""Words: how texts and searches are split, alike for both databases.

A word is a run of letters and digits, without case and accents; a Chinese or Japanese character is a word of its own.
"""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

TEXT_LENGTH = 65_536
"""Characters of a directive and of a result, as JSON, that can be found."""
MOST_WORDS = 10_000
"""Words of a task that can be found."""
WORD_LENGTH = 100
"""Characters of a word that are compared."""
QUERY_LENGTH = 200
"""Characters of a search."""

_ONE_EACH = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_ONE_EACH}]|[^\W_{_ONE_EACH}]+")
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_TERM = re.compile(r'"([^"]*)"?|([^\s"]+)')


class Phrase(NamedTuple):
    """Words that follow each other; with `prefix` the last one may go on."""

    words: list[str]
    prefix: bool


def words_of(text: str) -> list[str]:
    """Return the words of a text, in order."""
    if not text.isascii():
        text = "".join(letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))
    return [word[:WORD_LENGTH] for word in _WORD.findall(text.casefold())]


def words_of_json(text: str) -> list[str]:
    """Return the words in the text of a JSON value, or in the beginning of one: names, strings and numbers."""
    return words_of(_ESCAPE.sub(_unescaped, text) if "\\" in text else text)


def _unescaped(found: re.Match[str]) -> str:
    code = found[1]
    # A half of a surrogate pair is no letter.
    return chr(int(code[1:], 16)) if len(code) > 1 else " "


def phrases_of(query: str) -> list[Phrase]:
    """Return what a search looks for: every word as the beginning of one, and what is in quotes as it is."""
    found = [Phrase(words_of(quoted or word), prefix=bool(word)) for quoted, word in _TERM.findall(query)]
    return [phrase for phrase in found if phrase.words]
