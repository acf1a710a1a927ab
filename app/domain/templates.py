"""Templates of messages: a JSON text in which `{{field|json}}` stands for a field's value, written as JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping

from app.domain.errors import WebhookInvalid
from app.domain.json import decode, encode
from app.domain.notices import SAMPLE, Notice

LONGEST = 16_384
"""Characters of a template."""

_PLACE = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_FIELD = re.compile(r"\s*([a-z_]+)\s*\|\s*json\s*")


def fill(template: str, notice: Notice) -> bytes:
    """Return the JSON text of a notice by a template that was checked."""
    return _fill(template, notice.fields())


def check_template(template: str) -> None:
    """Raise WebhookInvalid for an unknown field, and for what would not be JSON whatever the values are."""
    known = SAMPLE.fields()
    if len(template) > LONGEST:
        raise WebhookInvalid(f"it is longer than {LONGEST} characters", "template")
    for place in _PLACE.findall(template):
        found = _FIELD.fullmatch(place)
        if found is None:
            raise WebhookInvalid(f"write {{{{field|json}}}}, not {{{{{place[:100]}}}}}", "template")
        if found[1] not in known:
            raise WebhookInvalid(f"there is no field {found[1][:100]}; there are {', '.join(known)}", "template")
    # A value is a text or null: what is JSON with either everywhere stays JSON with any of them anywhere.
    for values in (known, dict.fromkeys(known)):
        try:
            decode(_fill(template, values))
        except ValueError as error:
            raise WebhookInvalid(
                f"with its values it is not JSON ({error}); a field stands alone, not within a text", "template"
            ) from error


def _fill(template: str, values: Mapping[str, str | None]) -> bytes:
    return _PLACE.sub(lambda place: encode(values[place[1].partition("|")[0].strip()]).decode(), template).encode()
