"""Names of agents, labels, keys, queues, bridges, hooks, backends, webhooks and resources: which may be given."""

from __future__ import annotations

from collections.abc import Mapping
from unicodedata import category

from app.domain.errors import InvalidName

LONGEST = 200
"""Characters of a name."""

LABELS_BYTES = 16 * 1024
"""Bytes of all names and values of a task's labels."""

RESERVED = frozenset({"deadline", "engine", "root", "server", "swarmhold"})
"""Labels of sessions that would pass for the server itself."""

_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
_JOINERS = "\u200c\u200d"


def check_name(text: str, field: str) -> None:
    """Raise InvalidName unless the text may be given as a name. What was named before is read without this check."""
    if not 0 < len(text) <= LONGEST:
        raise InvalidName(field, f"give 1 to {LONGEST} characters")
    if text[0] == " " or text[-1] == " ":
        raise InvalidName(field, "give it without spaces at its ends")
    if not text.isprintable():
        _check_visible(text, field)


def _check_visible(text: str, field: str) -> None:
    for char in text:
        if category(char) in _INVISIBLE and char not in _JOINERS:
            raise InvalidName(field, f"give it without the character U+{ord(char):04X}, which nobody can see")


def check_optional(text: str | None, field: str) -> None:
    """Raise InvalidName for a name that was given and may not be."""
    if text is not None:
        check_name(text, field)


def check_labels(labels: Mapping[str, str]) -> None:
    """Raise InvalidName unless these may be the labels of a task."""
    if not labels:
        return
    for name, value in labels.items():
        check_name(name, "labels")
        check_name(value, "labels")
        if ":" in name:
            raise InvalidName("labels", "give a label's name without ':'")
    if sum(len(text.encode()) for pair in labels.items() for text in pair) > LABELS_BYTES:
        raise InvalidName("labels", f"give names and values of at most {LABELS_BYTES} bytes in all")


def check_session_label(text: str, *, root: bool) -> None:
    """Raise InvalidName unless a session may be called so. `root` is the label of the root key alone."""
    check_name(text, "operator_id")
    if text.casefold() in RESERVED and not (root and text == "root"):
        raise InvalidName("operator_id", f"{text!r} would pass for the server itself; give another label")
