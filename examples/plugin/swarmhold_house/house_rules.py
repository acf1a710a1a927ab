"""A layer that puts the house rules before each prompt and accepts no empty result."""

from __future__ import annotations

from dataclasses import replace

from app.domain.json import NULL
from app.domain.outputs import Final
from app.spawning.ports import Draft, Facts, Layer, Lookup

RULES = "house-rules"
"""The resource that holds the rules."""


class HouseRulesLayer(Layer):
    """Both of its steps are plain functions, so they are part of the engine's transaction."""

    key = "house_rules"

    def prepare(self, draft: Draft, look: Lookup) -> Draft:
        """Begin the prompt with the rules, if there are any."""
        rules = look(RULES)
        return draft if rules is None else replace(draft, prompt=f"{rules.value}\n\n{draft.prompt}")

    def settle(self, final: Final, facts: Facts) -> Final:
        """An empty text, or nothing at all, is no result."""
        return replace(final, ok=False) if final.value.text in ('""', NULL.text) else final
