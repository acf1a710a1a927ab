"""Record in the started event which session dispatched through which spawner and layers."""

from __future__ import annotations

from dataclasses import replace

from app.spawning.ports import Draft, Layer, Lookup


class AuditLayer(Layer):
    """A base layer: adds session, spawner and layers to the attempt's started event.

    The event feed is the record; the attempt's end has an event of its own, so nothing is added there.
    """

    key = "audit"

    def prepare(self, draft: Draft, look: Lookup) -> Draft:
        """Add `by` (the session), `spawner` and `layers`."""
        del look
        facts = draft.facts
        notes = (("by", facts.session_id), ("spawner", facts.spawner), ("layers", list(facts.layers)))
        return replace(draft, notes=(*draft.notes, *notes))
