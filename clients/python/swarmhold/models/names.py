"""Constrained texts: ids, names, labels. Constraints are stated once, here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, GetJsonSchemaHandler, StringConstraints
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

__all__ = [
    "Labels",
    "Name",
    "OnlyTheseKeys",
    "PageLimit",
    "QuestionKey",
    "SessionId",
    "TaskId",
    "Text",
]

_ID_BODY = "[0-7][0-9a-hjkmnp-tv-z]{25}"
_NO_CONTROLS = r"^[^\x00-\x1f\x7f-\x9f]*$"

TaskId = Annotated[str, StringConstraints(pattern=f"^T-{_ID_BODY}$")]
SessionId = Annotated[str, StringConstraints(pattern=f"^S-{_ID_BODY}$")]
QuestionKey = Annotated[str, StringConstraints(pattern=f"^R-{_ID_BODY}$")]


class OnlyTheseKeys:
    """Annotation of a mapping with constrained keys: its JSON Schema allows no others."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(schema), "additionalProperties": False}


Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=_NO_CONTROLS)]
"""What people call an agent, a queue, a bridge: short, on one line.

The server refuses invisible characters and spaces at the ends of new names as well.
"""

Text = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$")]
"""Any text of any length but for the NUL character, which PostgreSQL cannot store as text."""

_LabelKey = Annotated[
    str,
    StringConstraints(min_length=1, max_length=200, pattern=r"^[^:\x00-\x1f\x7f-\x9f]*$"),
]
_LabelValue = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=_NO_CONTROLS)]

Labels = Annotated[dict[_LabelKey, _LabelValue], Field(max_length=64), OnlyTheseKeys()]
"""At most 64 pairs and 16 KiB. A key holds no colon, because a filter is written `key:value`."""

PageLimit = Annotated[int, Field(ge=1, le=200)]
"""How many items one page holds."""
