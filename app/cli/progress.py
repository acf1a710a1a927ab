"""Progress of commands that may take long, shown on a terminal's standard error and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

from app.cli.output import errors


@contextmanager
def progress(what: str, *, total: int | None = None) -> Generator[Callable[[int], None]]:
    """Show a bar while the block runs, moving to and fro without a `total`; yield what advances it."""
    if not errors.is_terminal:
        yield lambda _: None
        return
    from rich.progress import Progress

    with Progress(console=errors, transient=True) as shown:
        task = shown.add_task(what, total=total)
        yield lambda steps: shown.advance(task, steps)
