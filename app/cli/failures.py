"""The errors that end a command in a message and an exit status, without a traceback."""

from __future__ import annotations

from pydantic import ValidationError

from app.bootstrap.errors import StartFailed
from app.cli.exits import EXIT_FAILED, EXIT_MISUSED, CommandFailed
from app.config import ConfigurationError
from app.domain.errors import EngineError


def explained(error: Exception) -> CommandFailed | None:
    """Return what users read of an error that they can correct, and the status; None for any other error."""
    match error:
        case CommandFailed():
            return error
        case ConfigurationError():
            lines = "".join(f"\n  {line}" for line in str(error).splitlines())
            return CommandFailed(f"The settings cannot be used:{lines}", status=EXIT_MISUSED)
        case StartFailed() | EngineError():
            return CommandFailed(str(error), status=EXIT_FAILED)
        case ValidationError():
            return CommandFailed(_readable(error), status=EXIT_MISUSED)
        case UnicodeError():
            text = "An argument, variable or input is not UTF-8 text. Convert it, as with iconv."
            return CommandFailed(text, status=EXIT_MISUSED)
        case _:
            return None


def _readable(error: ValidationError) -> str:
    """Return the first validation error of an argument on one line."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"])).replace("_", " ")
    return f"The argument for {where} cannot be used: {' '.join(first['msg'].split())}. Correct it."
