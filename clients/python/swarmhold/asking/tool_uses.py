"""Uses of tools by a model that wait for people: what is asked about each, and what the model learns of the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from swarmhold.asking.hold import Decision, Hold
from swarmhold.errors import ApiProblem, Unanswered
from swarmhold.models.enums import Decision as Verdict
from swarmhold.models.questions import Action, Question
from swarmhold.models.shapes import JsonObject, JsonValue
from swarmhold.questions import answer_of

ASK_HUMAN = "Ask a person a question and wait for the answer, however long it takes. `choices` are the answers allowed."
"""The description of the tool `ask_human` for models."""
EDITABLE = (Verdict.APPROVE, Verdict.EDIT, Verdict.REJECT)
"""The decisions about a tool whose arguments may be changed; without them it is approved or rejected as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolUse:
    """A use of a tool, which is asked about once by the name `once`.

    With `asks` it is a question of the model's own, by the arguments `question` and `choices` of `ask_human`; another
    tool's arguments are the question. `labels` are those of the question's task.
    """

    once: str
    name: str
    arguments: JsonObject
    asks: bool = False
    allowed: Sequence[Verdict] | None = None
    labels: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """Decision about a use: the reason of a refusal, arguments that replace its own, or the answer to a question."""

    refusal: str | None = None
    edited: JsonObject | None = None
    answer: JsonValue = None
    answered_by: str | None = None


async def settle(hold: Hold, uses: Sequence[ToolUse]) -> list[Settled]:
    """Ask about all of them at once, wait until all are settled, and return what was said; approvals are consumed.

    Raises:
        AlreadyConsumed: an approval was given out before; its tool may have run.
    """
    # Approvals are consumed last, when nothing more has to be waited for.
    closed = await hold.wait([await begin(hold, use) for use in uses])
    return [await settled(hold, use, question) for use, question in zip(uses, closed, strict=True)]


async def begin(hold: Hold, use: ToolUse) -> Question:
    """Ask about a use without waiting."""
    if use.asks:
        asked = use.arguments
        return await hold.begin(asked.get("question", asked), once=use.once, choices=asked.get("choices") or None)
    action = Action(name=use.name, arguments=use.arguments)
    return await hold.begin(once=use.once, labels=use.labels, action=action, allowed=use.allowed)


async def settled(hold: Hold, use: ToolUse, question: Question) -> Settled:
    """Return what was said about a use whose question is closed; an approval is consumed by then."""
    if use.asks:
        return Settled(answer=answer_to_model(question), answered_by=question.answered_by)
    decision = await _decided(hold, question)
    edited = decision.arguments if decision.decision is Verdict.EDIT else None
    return Settled(refusal=_refusal(decision, use.name), edited=edited, answered_by=decision.answered_by)


async def decide_all(hold: Hold, questions: Sequence[Question]) -> list[Decision]:
    """Wait until all are closed, then return their decisions; approvals are consumed by then.

    Raises:
        AlreadyConsumed: an approval was given out before; its action may have been carried out.
    """
    return [await _decided(hold, question) for question in await hold.wait(questions)]


def answer_to_model(question: Question) -> JsonValue:
    """Return the answer to a model's question, or that there is none."""
    try:
        return answer_of(question)
    except Unanswered as unanswered:
        return f"Nobody answered: {unanswered}."


async def _decided(hold: Hold, question: Question) -> Decision:
    """Return the decision; a rejection for what nobody answered, and for an approval that has expired."""
    try:
        return await hold.decide(question)
    except Unanswered as unanswered:
        return _rejection(question, f"{unanswered}: nobody allowed it.")
    except ApiProblem as problem:
        if problem.code != "approval-expired":
            raise
        return _rejection(question, f"The approval by question {question.key} has expired.")


def _rejection(question: Question, message: str) -> Decision:
    return Decision(key=question.key, decision=Verdict.REJECT, action=None, message=message)


def _refusal(decision: Decision, tool: str) -> str | None:
    """Return why the tool does not run, for the model.

    An edit that names another tool is refused: frameworks can change the arguments alone.
    """
    if decision.action is None:
        return decision.message or f"{decision.answered_by or 'A senior'} rejected it (question {decision.key})."
    if decision.action["name"] != tool:
        return f"The edit by {decision.answered_by or 'a senior'} names another tool; call that one."
    return None
