"""What a worker or backend replies when it is given an attempt: `{value?, ok=true, error?}`."""

from __future__ import annotations

from typing import Any

from app.domain.json import Json
from app.domain.outputs import Final
from app.spawning.ports import Exit


def read_reply(fields: dict[str, Any]) -> Exit | None:
    """None when it was started: neither value (be it null) nor error nor `ok` false. Else how it went.

    An error without a value becomes the value `{"error": …}`, not ok. Raises ValueError when `ok` is no boolean.
    """
    ok, error = fields.get("ok", True), fields.get("error")
    if not isinstance(ok, bool):
        raise ValueError("'ok' is not a boolean")
    if "value" not in fields and error is None and ok:
        return None
    value = fields.get("value", None if error is None else {"error": error})
    return Exit(final=Final(value=Json.of(value), ok=ok and error is None))
