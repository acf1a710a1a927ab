"""The digest of an action: SHA-256 of its RFC 8785 form, which writes numbers as ECMAScript does."""

from __future__ import annotations

import json
from decimal import Decimal
from hashlib import sha256
from typing import Any, cast

from swarmhold.models.shapes import JsonValue

_LARGEST_PLAIN, _SMALLEST_PLAIN = 1e21, 1e-6


def digest_of(action: JsonValue) -> str:
    """Return `sha256:<hex>`, as the server shows and expects it."""
    return "sha256:" + sha256(_canonical(action).encode()).hexdigest()


def _canonical(value: Any) -> str:
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value)
        names = sorted(members, key=lambda name: name.encode("utf-16-be"))
        return "{" + ",".join(f"{_canonical(name)}:{_canonical(members[name])}" for name in names) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_canonical, cast("list[Any]", value))) + "]"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _number(float(value))
    return json.dumps(value, ensure_ascii=False)


def _number(double: float) -> str:
    shortest = float.__repr__(double)
    if double == 0:
        return "0"
    if _SMALLEST_PLAIN <= abs(double) < _LARGEST_PLAIN:
        return format(Decimal(shortest), "f").removesuffix(".0")
    mantissa, _, exponent = shortest.partition("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent):+d}"
