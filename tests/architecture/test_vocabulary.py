"""The words of the source: the field's own, in sentences that stand alone."""

import ast
import re
from collections.abc import Iterator

import pytest

from tests.support.sources import Module, modules

SOURCES = modules("app") + modules("clients")

# What a word of this project's past is called elsewhere. `docs/glossary.md` has the words of the product itself.
BANNED = {
    r"ails|ailing": "failing",
    r"ear|ears": "subscription",
    r"guessing": "failed authentication attempts, auth rate limit",
    r"is_worth_it": "renewal_due",
    r"is no id": "is not a valid id",
    r"handed (out|on|over)": "returned, passed",
    r"hangs (above|below)": "parent token, descends from",
    r"heard": "received, last heartbeat",
    r"frames back to life": "crash recovery could replay the failed frames",
    r"plainly": "a readable validation message",
    r"reigns?": "lock term",
    r"signs? of life": "heartbeat",
    r"strays": "orphaned processes",
    r"tangled": "needs full rollback",
    r"told": "reported, notified, distinguished",
    r"unheard": "without a heartbeat",
    r"until_worthless": "wait_until_invalid",
    r"whoever": "the caller, the holder, the dispatcher",
}

# Documents that readers of the source do not have, and the numbers of their rules.
ELSEWHERE = re.compile(
    r"\b(engine\.md|wire\.md|architecture\.md|style\.md|the seed\b|rule R?\d+|R[1-9]\b)", re.IGNORECASE
)

# First words that send the reader to another docstring, or that begin a riddle instead of a statement.
BACKWARDS = re.compile(
    r"(the same|same (as|for)|as above|see above|likewise|ditto|and|but|or|so|also|it|its|what|who|whose)\b",
    re.IGNORECASE,
)


def _found(pattern: re.Pattern[str]) -> list[str]:
    """Where the pattern occurs in the source."""
    return [
        f"{module.name}:{number} {found[0]}"
        for module in SOURCES
        for number, line in enumerate(module.text.splitlines(), start=1)
        if (found := pattern.search(line))
    ]


def _docstrings(module: Module) -> Iterator[tuple[int, str]]:
    """The docstrings of a module, its classes and its functions, with the lines of their owners."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield getattr(node, "lineno", 1), text


@pytest.mark.parametrize("word", BANNED)
def test_names_and_prose_use_the_words_of_the_field(word: str) -> None:
    """A reader who knows the field looks no word up."""
    pattern = re.compile(rf"(?<![a-z])(?:{word})(?![a-z])", re.IGNORECASE)

    assert _found(pattern) == [], f"say: {BANNED[word]}"


def test_nothing_refers_to_documents_that_do_not_ship() -> None:
    """A fact is said where it is needed, not by the number of a rule that nobody can look up."""
    assert _found(ELSEWHERE) == []


def test_a_docstring_stands_alone() -> None:
    """It begins with a statement of its own, and neither points at another one nor asks."""
    pointing = [
        f"{module.name}:{line} {text.splitlines()[0]}"
        for module in SOURCES
        for line, text in _docstrings(module)
        if BACKWARDS.match(text)
    ]

    assert pointing == []
