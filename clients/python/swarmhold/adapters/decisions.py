"""Decisions about tools that wait together, and the words by which a model learns what was decided."""

from __future__ import annotations

from collections.abc import Sequence

from swarmhold.asking import Decision, Hold
from swarmhold.errors import ApiProblem, Unanswered
from swarmhold.models.enums import Decision as Verdict
from swarmhold.models.questions import Question
from swarmhold.models.shapes import JsonValue
from swarmhold.questions import answer_of

ASK_HUMAN = "Ask a person a question and wait for the answer, however long it takes. `choices` are the answers allowed."
"""The description of the tool `ask_human` for models."""


async def decide_all(hold: Hold, questions: Sequence[Question]) -> list[Decision]:
    """Wait until all are closed, then return their decisions; approvals are consumed by then.

    Raises:
        AlreadyConsumed: an approval was given out before; its action may have been carried out.
    """
    return [await _decided(hold, question) for question in await hold.wait(questions)]


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


def refusal(decision: Decision, tool: str) -> str | None:
    """Return why the tool does not run, for the model; None when it is to run, with the decision's arguments.

    An edit that names another tool is refused: the framework can change the arguments alone.
    """
    if decision.action is None:
        return decision.message or f"{decision.answered_by or 'A senior'} rejected it (question {decision.key})."
    if decision.action["name"] != tool:
        return f"The edit by {decision.answered_by or 'a senior'} names another tool; call that one."
    return None


def answer_to_model(question: Question) -> JsonValue:
    """Return the answer to a model's question, or that there is none."""
    try:
        return answer_of(question)
    except Unanswered as unanswered:
        return f"Nobody answered: {unanswered}."
