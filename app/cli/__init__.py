"""The command line: everything that people and scripts do with a server without writing a program."""

from app.cli.main import main

__all__ = ["main"]
