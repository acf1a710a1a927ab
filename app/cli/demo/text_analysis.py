"""The work of the demo: statistics, findings and a summary of one text, in plain functions."""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

MARKS = ("TODO", "FIXME", "XXX")
SUMMARY_LENGTH = 3
TOP_WORDS = 5

_WORD = re.compile(r"[a-z]{4,}")
_LINK = re.compile(r"\[[^\[\]]*\]\(([^()\s]+)\)")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_FENCE = re.compile(r"^\s*```")
_MARK = re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(MARKS)})(?![A-Za-z0-9])")


def statistics(text: str) -> dict[str, Any]:
    """Return sizes, the longest line, the most frequent words, and a digest of the text."""
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    words = Counter(_WORD.findall(text.lower()))
    return {
        "lines": len(lines),
        "words": len(text.split()),
        "characters": len(text),
        "longest_line": max(map(len, lines), default=0),
        "top_words": [[word, count] for word, count in sorted(words.items(), key=_by_use)[:TOP_WORDS]],
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
    }


def _by_use(entry: tuple[str, int]) -> tuple[int, str]:
    return -entry[1], entry[0]


def findings(text: str, path: Path) -> dict[str, Any]:
    """Return the lines with open to-do marks, and the links to missing files."""
    marks = [number for number, line in enumerate(text.split("\n"), 1) for _ in _MARK.finditer(line)]
    links = _LINK.findall(text) if path.suffix == ".md" else []
    local = [link for link in links if "://" not in link and not link.startswith(("#", "mailto:"))]
    broken = [link for link in local if not (path.parent / link.partition("#")[0]).exists()]
    return {"marks": marks, "links": len(links), "broken": sorted(broken)}


def summary(text: str) -> dict[str, Any]:
    """Return the sentences with the most frequent words, in their order in the text."""
    found = sentences(text)
    use = Counter(_WORD.findall(" ".join(found).lower()))
    ranked = sorted(range(len(found)), key=lambda at: (-_weight(found[at], use), at))
    return {"sentences": [found[at] for at in sorted(ranked[:SUMMARY_LENGTH])], "of": len(found)}


def _weight(sentence: str, use: Counter[str]) -> float:
    words = _WORD.findall(sentence.lower())
    return round(sum(use[word] for word in words) / math.sqrt(len(words)), 9) if words else 0.0


def sentences(text: str) -> list[str]:
    """Return the sentences of the prose, without code, tables, headings and lists."""
    prose: list[str] = []
    paragraph: list[str] = []
    fenced = False
    for line in [*text.split("\n"), ""]:
        if _FENCE.match(line):
            fenced = not fenced
        elif not fenced and line.strip() and line.lstrip()[0] not in "#|>-*<" and not line.startswith("    "):
            paragraph.append(line.strip())
            continue
        if paragraph:
            prose += _SENTENCE_END.split(" ".join(paragraph))
            paragraph = []
    return prose
