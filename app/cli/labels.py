"""Labels as all commands take them: `name=value`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer

from app.cli.exits import EXIT_MISUSED, CommandFailed

OfLabel = Annotated[
    list[str] | None, typer.Option("--label", help="Only tasks with this label, name=value; may be repeated.")
]


def labels_of(texts: Iterable[str] | None) -> dict[str, str]:
    """Return the labels that these texts name. Raises CommandFailed."""
    return dict(_pair(text) for text in texts or ())


def filter_of(texts: Iterable[str] | None) -> list[str]:
    """Return labels as the filter of a list, each `name:value`. Raises CommandFailed."""
    return [":".join(_pair(text)) for text in texts or ()]


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise CommandFailed(f"A label is written name=value, and {text!r} is not.", status=EXIT_MISUSED)
    return name, value
