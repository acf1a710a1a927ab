"""What a worker or backend replies when it is given an attempt: `{value?, ok=true, error?}`."""

from __future__ import annotations

from typing import Any

from app.domain.json import Json
from app.domain.outputs import Final
from app.spawning.failures import printable
from app.spawning.ports import Exit


def read_reply(fields: dict[str, Any]) -> Exit | None:
    """None when it was started: neither value (be it null) nor error nor `ok` false. Else how it went.

    An error is the worker's failure, whatever else there is. Raises ValueError when `ok` is no boolean.
    """
    ok, error = fields.get("ok", True), fields.get("error")
    if not isinstance(ok, bool):
        raise ValueError("'ok' is not a boolean")
    if error is not None:
        return Exit(detail=printable(error if isinstance(error, str) else Json.of(error).text))
    if "value" not in fields and ok:
        return None
    return Exit(final=Final(value=Json.of(fields.get("value")), ok=ok))
