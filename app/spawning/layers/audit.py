"""Who had what started through what, in the durable trail."""

from __future__ import annotations

from dataclasses import replace

from app.spawning.ports import Draft, Layer, Lookup


class AuditLayer(Layer):
    """A base layer: the attempt's started event says by which session, spawner and layers.

    The trail is the feed. Nothing is said again when the attempt ends: its completed event stands beside this one.
    """

    key = "audit"

    def prepare(self, draft: Draft, look: Lookup) -> Draft:
        """Add `by` (the session), `spawner` and `layers`."""
        del look
        facts = draft.facts
        notes = (("by", facts.session_id), ("spawner", facts.spawner), ("layers", list(facts.layers)))
        return replace(draft, notes=(*draft.notes, *notes))
