"""The threat model of SECURITY.md: every row of it is held by tests that exist."""

import re
from functools import cache

import pytest

from tests.support.sources import ROOT

ROW = re.compile(r"\| (.+\.) \| ((?:`[^`]+`(?:, )?)+) \|")
REFERENCE = re.compile(r"`([^`]+)`")
FRAME = ("| | tests |", "|---|---|")
INTRODUCTION = 2


def _threat_model() -> list[str]:
    """The lines of the section, without empty ones and headings."""
    text = (ROOT / "SECURITY.md").read_text().partition("## Threat model\n")[2].partition("\n## ")[0]
    return [line for line in text.splitlines() if line and not line.startswith("#")]


ROWS = [line for line in _threat_model()[INTRODUCTION:] if line not in FRAME]


@cache
def _tests(path: str) -> frozenset[str]:
    return frozenset(re.findall(r"^(?:async )?def (test_\w+)\(", (ROOT / "tests" / path).read_text(), re.MULTILINE))


def test_it_speaks_of_every_actor() -> None:
    """Each of those against whom the server has to stand has a section."""
    text = (ROOT / "SECURITY.md").read_text()
    actors = ("injected worker", "stolen credential", "malicious operator", "senior's answer", "senior's browser")
    more = ("local user", "reader of the database", "writer of the database", "network")
    assert [actor for actor in (*actors, *more) if not re.search(f"^### .*{actor}", text, re.MULTILINE)] == []
    assert len(ROWS) > len(actors) + len(more)


@pytest.mark.parametrize("row", ROWS)
def test_a_row_names_tests_that_exist(row: str) -> None:
    """Whatever the document claims, a test holds; what it names is a function of that file."""
    match = ROW.fullmatch(row)
    assert match is not None, row
    named = [reference.split("::") for reference in REFERENCE.findall(match[2])]
    assert named
    assert [f"{path}::{name}" for path, name in named if name not in _tests(path)] == []
