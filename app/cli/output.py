"""Output of commands: tables and text for people, one JSON document for scripts.

Text that agents wrote is shown inert: control characters are escaped, so that nothing moves the cursor, rings or
renames the terminal.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Sequence
from typing import Any, TextIO

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from app.domain.json import encode
from swarmhold.models.numbers import decode

_KEPT = {"\n", "\t"}
_DIRECTIONS = {*"\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f"}

_RELATED = frozenset({"CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "LISU"})
_STYLED = frozenset({"FULLWIDTH", "MATHEMATICAL"})

WIDE = 200
"""Columns where output goes to a file or a pipe."""


def _console(stream: TextIO, *, stderr: bool = False) -> Console:
    # The stream itself is looked up when something is printed.
    return Console(stderr=stderr, width=None if stream.isatty() else WIDE, highlight=False, markup=False, emoji=False)


console = _console(sys.stdout)
errors = _console(sys.stderr, stderr=True)


def inert(text: str, *, lines: bool = True) -> str:
    """Return a text with control and bidirectional characters escaped; without `lines`, line ends and tabs too."""
    kept = _KEPT if lines else frozenset[str]()
    return "".join(sign if sign in kept or _is_plain(sign) else _escaped(sign) for sign in text)


def _is_plain(sign: str, *, spaces: str = " \u00a0") -> bool:
    return (sign.isprintable() or sign in spaces) and sign not in _DIRECTIONS


def _escaped(sign: str) -> str:
    return sign.encode("unicode_escape", "backslashreplace").decode()


def literal(value: Any, *, indent: bool = False) -> str:
    """Return a value as the JSON that is sent, with escapes for what a reader could not see or could mistake."""
    text = re.sub(r"\w+", _without_lookalikes, document(value, indent=indent))
    return "".join(sign if sign == "\n" or _is_plain(sign, spaces=" ") else _code_units(sign) for sign in text)


def is_plain(text: str) -> bool:
    """Return whether a text needs no quotation marks: it is what it looks like, and no other value looks like it."""
    if not text or text != text.strip() or literal(text) != f'"{text}"':
        return False
    try:
        decode(text)
    except ValueError:
        return True
    return False


def shown(value: Any) -> str:
    """Return what stands for a value in a list: the text itself if it is plain, else the JSON."""
    return value if isinstance(value, str) and is_plain(value) else literal(value)


def asker(words: Any) -> str:
    """Return the asker's own words about a value, marked as such; nothing without words."""
    return f"(asker: “{short(words, 200)}”)" if isinstance(words, str) and words.strip() else ""


def _without_lookalikes(found: re.Match[str]) -> str:
    """Escape letters that are drawn like those of ASCII, and in a word of Latin letters those of other alphabets."""
    word = found.group()
    if word.isascii():
        return word
    scripts = {unicodedata.name(sign, "?").split()[0] for sign in word}
    foreign = _RELATED & scripts if "LATIN" in scripts else _STYLED
    return "".join(
        _code_units(sign) if unicodedata.name(sign, "?").split()[0] in foreign | _STYLED else sign for sign in word
    )


def _code_units(sign: str) -> str:
    units = sign.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def short(value: Any, longest: int = 60) -> str:
    """Return a JSON value as one line of at most `longest` characters."""
    text = value if isinstance(value, str) else document(value)
    text = inert(" ".join(text.split()), lines=False)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def to_seconds(instant: object) -> str:
    """Return an RFC 3339 instant as date and time of day, without fractions of a second and zone."""
    return str(instant)[:19].replace("T", " ")


def document(value: Any, *, indent: bool = False) -> str:
    """Return a value as JSON, its numbers with the digits that they came with."""
    return encode(value, default=str, option=orjson.OPT_INDENT_2 if indent else None).decode()


def print_json(value: Any, *, indent: bool = True) -> None:
    """Print one JSON document on standard output, without `indent` as a single line."""
    sys.stdout.write(document(value, indent=indent) + "\n")
    sys.stdout.flush()


def table(*columns: str, title: str | None = None) -> Table:
    """Return an empty table in the style of all commands."""
    made = Table(title=title, box=None, header_style="bold", title_justify="left", pad_edge=False, padding=(0, 2, 0, 0))
    for number, column in enumerate(columns):
        # The first column names the row: it is copied, and must be whole.
        made.add_column(column, overflow="fold", no_wrap=number == 0)
    return made


def add_row(made: Table, cells: Sequence[object], *, style: str | None = None) -> None:
    """Add a row whose cells are shown as plain text, without markup."""
    made.add_row(*(cell if isinstance(cell, Text) else Text(inert(str(cell))) for cell in cells), style=style)
