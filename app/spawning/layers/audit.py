"""Who had what started through what: notes on the started event, and a trace in the log."""

from __future__ import annotations

from dataclasses import replace

import structlog

from app.domain.outputs import Final
from app.spawning.ports import Draft, Facts, Layer, Lookup

_log = structlog.get_logger(__name__)


class AuditLayer(Layer):
    """A base layer. The durable trail is the feed; the log has it at level debug, once per try of a transaction."""

    key = "audit"

    def prepare(self, draft: Draft, look: Lookup) -> Draft:
        """Add `by` (the session), `spawner` and `layers` to the started event."""
        del look
        facts = draft.facts
        _log.debug("attempt_prepared", **_names(facts), spawner=facts.spawner, layers=facts.layers)
        notes = (("by", facts.session_id), ("spawner", facts.spawner), ("layers", list(facts.layers)))
        return replace(draft, notes=(*draft.notes, *notes))

    def settle(self, final: Final, facts: Facts) -> Final:
        """Log the Final, without its value."""
        _log.debug("attempt_final", **_names(facts), ok=final.ok, characters=len(final.value.text))
        return final


def _names(facts: Facts) -> dict[str, object]:
    return {"task_id": facts.task_id, "attempt": facts.attempt, "agent": facts.agent, "session_id": facts.session_id}
