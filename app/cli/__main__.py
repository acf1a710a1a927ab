"""`python -m app.cli`: the command by the interpreter's name, where its own is not on the path."""

from app.cli import main

main()
