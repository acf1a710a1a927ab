"""Named data taken into the prompt, where the prompt says `{{resource:KEY}}`."""

from __future__ import annotations

import re
from dataclasses import replace

from app.domain.errors import PayloadTooLarge
from app.domain.json import Json
from app.domain.limits import Limits
from app.spawning.ports import Draft, Layer, Lookup

_PLACEHOLDER = re.compile(r"\{\{\s*resource:\s*([^{}\s](?:[^{}]*[^{}\s])?)\s*\}\}")


class InputInjectLayer(Layer):
    """Replaces each placeholder by the resource as it is when the attempt is prepared.

    Text goes in as it is, any other value as compact JSON. What was put in is never looked at again, so data cannot ask
    for more data. A missing resource leaves its placeholder, and is named in the started event.
    """

    key = "input_inject"

    def __init__(self, *, longest_prompt: int = Limits().directive_bytes) -> None:
        self._longest = longest_prompt

    def prepare(self, draft: Draft, look: Lookup) -> Draft:
        """Fill in the prompt, where its author may read resources.

        Raises PayloadTooLarge when it becomes longer than `longest_prompt` bytes.
        """
        if not draft.may_look:
            return draft
        filling = _Filling(look, draft.prompt, limit=self._longest)
        prompt = _PLACEHOLDER.sub(filling.put, draft.prompt)
        if not filling.keys:
            return draft
        notes: list[tuple[str, object]] = [("injected", filling.found)]
        if filling.missing:
            notes.append(("missing_resources", filling.missing))
        return replace(draft, prompt=prompt, notes=(*draft.notes, *notes))


class _Filling:
    """One pass over a prompt: each key is looked up once."""

    def __init__(self, look: Lookup, prompt: str, *, limit: int) -> None:
        self._look = look
        self._limit = limit
        self._room = limit - _size(prompt)
        self.keys: dict[str, str | None] = {}

    @property
    def found(self) -> list[str]:
        return [key for key, value in self.keys.items() if value is not None]

    @property
    def missing(self) -> list[str]:
        return [key for key, value in self.keys.items() if value is None]

    def put(self, placeholder: re.Match[str]) -> str:
        key = placeholder[1]
        if key not in self.keys:
            self.keys[key] = _shown(self._look(key))
        value = self.keys[key]
        if value is None:
            return placeholder[0]
        self._room += _size(placeholder[0]) - _size(value)
        if self._room < 0:
            raise PayloadTooLarge("directive", self._limit, subject="The prompt with its resources")
        return value


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode(errors="replace"))


def _shown(resource: Json | None) -> str | None:
    if resource is None:
        return None
    return resource.value if resource.text.startswith('"') else resource.text
