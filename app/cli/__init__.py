"""The command line: everything that people and scripts do with a server without writing a program."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from app.cli.main import main as run  # parts of this package run as workers, which need little of it

    run()
