"""A Final without ok is held back until a senior has looked at it."""

from __future__ import annotations

from typing import Any, cast

from app.domain.json import Json
from app.domain.outputs import Final
from app.spawning.ports import Escalate, Facts, Layer

REASON = "worker-failed"


class SeniorEscalationLayer(Layer):
    """Asks the senior about a Final without ok. `{"uphold": true, …}` lets it stand; any other answer makes it good."""

    key = "senior_escalation"

    def settle(self, final: Final, facts: Facts) -> Final | Escalate:
        """Hold back a Final without ok."""
        if final.ok:
            return final
        question: dict[str, Any] = {
            "reason": REASON,
            "agent": facts.agent,
            "task_id": facts.task_id,
            "attempt": facts.attempt,
            "value": final.value.fragment,
        }
        return Escalate(layer=self.key, question=Json.of(question), original=final)

    def resolve(self, original: Final, answer: Json, facts: Facts) -> Final:
        """Return the original when upheld, else `{original, senior_answer}` with ok."""
        del facts
        if _upholds(answer.value):
            return original
        both = {"original": original.value.fragment, "senior_answer": answer.fragment}
        return Final(value=Json.of(both), ok=True)


def _upholds(answer: Any) -> bool:
    return isinstance(answer, dict) and cast("dict[str, Any]", answer).get("uphold") is True
