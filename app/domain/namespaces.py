"""Namespaces: what is made with a key lies in that key's namespace, and does not exist for the keys of another one."""

from __future__ import annotations

import re
from typing import NamedTuple

from app.domain.clock import Instant
from app.domain.errors import InvalidName

DEFAULT_ID = 1
DEFAULT = "default"
"""The namespace of whatever names none."""
ALL_ID = 0
"""Stands for all namespaces in the rows of root keys and of events that everybody sees, and in the engine's calls."""
KNOWN: dict[int, str | None] = {ALL_ID: None, DEFAULT_ID: DEFAULT}
"""The names that every process knows; None for all namespaces."""
OTHER = "other"
"""Stands for many namespaces in metrics."""

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


class Namespace(NamedTuple):
    """One row of `namespaces`. Rows of other tables hold the id alone."""

    id: int
    name: str
    created_at: Instant


def check_name(name: str) -> None:
    """Raise InvalidName for a text that is no namespace's name."""
    if not _NAME.fullmatch(name):
        reason = "a namespace has 1 to 63 lower-case letters, digits and hyphens, and begins with no hyphen"
        raise InvalidName("namespace", reason)
    if name == OTHER:
        raise InvalidName("namespace", f"{OTHER!r} stands for many namespaces in metrics; give another name")
