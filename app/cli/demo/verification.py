"""An independent computation of what `text_analysis` finds, to verify the workers' results. Nothing is shared.

Texts are scanned by character instead of by regular expressions, so that a mistake in one is not repeated here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz")


def statistics(path: Path) -> dict[str, Any]:
    """Return what `text_analysis.statistics` should find."""
    raw = path.read_bytes()
    text = raw.decode()
    rows = raw.split(b"\n")
    used: dict[str, int] = {}
    for word in long_words(text):
        used[word] = used.get(word, 0) + 1
    top = sorted(used.items(), key=lambda entry: entry[0])
    top.sort(key=lambda entry: entry[1], reverse=True)
    return {
        "lines": raw.count(b"\n") + (0 if raw.endswith(b"\n") else 1),
        "words": sum(1 for blank, _ in groupby(text, key=str.isspace) if not blank),
        "characters": sum(1 for byte in raw if byte & 0xC0 != 0x80),
        "longest_line": max(len(row.decode()) for row in rows),
        "top_words": [list(entry) for entry in top[:5]],
        "sha256": hashlib.new("sha256", raw).hexdigest(),
    }


def long_words(text: str) -> Iterator[str]:
    """Yield every run of four or more of the letters a to z."""
    for inside, run in groupby(text.lower(), key=LETTERS.__contains__):
        if inside and len(word := "".join(run)) >= 4:
            yield word


def findings(path: Path) -> dict[str, Any]:
    """Return what `text_analysis.findings` should find."""
    text = path.read_text(encoding="utf-8")
    marks: list[int] = []
    for number, line in enumerate(text.split("\n"), 1):
        tokens = "".join(sign if sign.isascii() and sign.isalnum() else " " for sign in line).split()
        # A non-ASCII letter next to a mark does not make it another word.
        marks += [number] * sum(token in ("TODO", "FIXME", "XXX") for token in tokens)
    targets = list(_targets(text)) if path.name.endswith(".md") else []
    broken = [
        target
        for target in targets
        if not (target.startswith(("#", "mailto:")) or "://" in target)
        and not Path(path.parent, target.split("#", 1)[0]).exists()
    ]
    return {"marks": marks, "links": len(targets), "broken": sorted(broken)}


def _targets(text: str) -> Iterator[str]:
    """Yield the targets of Markdown links."""
    at = text.find("](")
    while at >= 0:
        opening = max(text.rfind("[", 0, at), text.rfind("]", 0, at))
        end = text.find(")", at)
        target = text[at + 2 : end] if end >= 0 else ""
        whole = opening >= 0 and text[opening] == "["
        if whole and target and not any(sign.isspace() or sign == "(" for sign in target):
            yield target
        at = text.find("](", at + 2)


def summary_faults(found: dict[str, Any], path: Path) -> list[str]:
    """Return what is wrong with a summary: its sentences must occur in the text, in order and in the right number."""
    text = " ".join(path.read_text(encoding="utf-8").split())
    chosen: list[str] = found["sentences"]
    faults: list[str] = []
    at = -1
    for sentence in chosen:
        position = text.find(sentence, at + 1)
        if position < 0:
            faults.append(f"not in the text, or out of order: {sentence[:40]!r}")
        at = max(at, position)
    if len(chosen) != min(3, found["of"]):
        faults.append(f"{len(chosen)} sentences were chosen of {found['of']}")
    if any(not sentence.strip() for sentence in chosen):
        faults.append("an empty sentence was chosen")
    return faults
