"""Constrained texts: ids, names, labels. Constraints are stated once, here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, GetJsonSchemaHandler, StringConstraints
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

__all__ = [
    "Labels",
    "LinkId",
    "Name",
    "NamespaceName",
    "NewName",
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
LinkId = Annotated[str, StringConstraints(pattern=f"^L-{_ID_BODY}$")]


class OnlyTheseKeys:
    """Annotation of a mapping with constrained keys: its JSON Schema allows no others."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(schema), "additionalProperties": False}


Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=_NO_CONTROLS)]
"""What people call an agent, a queue, a bridge: short, on one line.

The server refuses invisible characters and spaces at the ends of new names as well.
"""


def _ranges(*pairs: tuple[int, int]) -> str:
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in pairs)


_INVISIBLE = (
    r"\x00-\x1f\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890-\u0891\u08e2\u180e\u200b\u200e-\u200f\u2028-\u202e"
    r"\u2060-\u2064\u2066-\u206f\ue000-\uf8ff\ufeff\ufff9-\ufffb"
) + _ranges(
    (0x110BD, 0x110BD),
    (0x110CD, 0x110CD),
    (0x13430, 0x1343F),
    (0x1BCA0, 0x1BCA3),
    (0x1D173, 0x1D17A),
    (0xE0001, 0xE0001),
    (0xE0020, 0xE007F),
    (0xF0000, 0xFFFFD),
    (0x100000, 0x10FFFD),
)
"""Unicode's categories Cc, Cf (but the joiners U+200C and U+200D), Co, Zl and Zp."""


class _Visible:
    """Annotation of a new name: its JSON Schema excludes what the server refuses, with an error of its own."""

    def __init__(self, also: str = "") -> None:
        bad = also + _INVISIBLE
        self._pattern = f"^[^ {bad}](?:[^{bad}]*[^ {bad}])?$"

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(schema), "pattern": self._pattern}


NewName = Annotated[Name, _Visible()]
"""A name that is given now. One that was given before may have invisible characters."""

NamespaceName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
"""The name of a namespace. `other` is none: it stands for many in metrics."""

Text = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$")]
"""Any text of any length but for the NUL character, which PostgreSQL cannot store as text."""

_LabelKey = Annotated[
    str,
    StringConstraints(min_length=1, max_length=200, pattern=r"^[^:\x00-\x1f\x7f-\x9f]*$"),
    _Visible(":"),
]
_LabelValue = NewName

Labels = Annotated[dict[_LabelKey, _LabelValue], Field(max_length=64), OnlyTheseKeys()]
"""At most 64 pairs and 16 KiB. A key holds no colon, because a filter is written `key:value`."""

PageLimit = Annotated[int, Field(ge=1, le=200)]
"""How many items one page holds."""
