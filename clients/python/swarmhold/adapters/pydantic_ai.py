"""Pydantic AI: deferred tool calls wait for people, while the messages of the run lie in a store."""

from __future__ import annotations

from os import PathLike
from secrets import token_hex
from typing import Any

from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from swarmhold.adapters.decisions import answer_to_model, decide_all, refusal
from swarmhold.adapters.stores import Store, store_of
from swarmhold.asking import Hold
from swarmhold.models.enums import Decision as Verdict
from swarmhold.models.questions import Action, Question

try:
    from pydantic_ai import (
        Agent,
        AgentRunResult,
        CallDeferred,
        DeferredToolRequests,
        DeferredToolResults,
        ModelMessage,
        ToolApproved,
        ToolCallPart,
        ToolDenied,
    )
except ImportError as error:
    raise ImportError(
        "swarmhold.adapters.pydantic_ai needs Pydantic AI: pip install 'pydantic-ai-slim>=2.60'"
    ) from error

_ALLOWED = (Verdict.APPROVE, Verdict.EDIT, Verdict.REJECT)


@dataclass(frozen=True)
class _Waiting:
    run: str
    messages: list[ModelMessage]
    requests: DeferredToolRequests


_STATE = TypeAdapter(_Waiting)


async def run(
    agent: Agent[Any, Any], prompt: Any, hold: Hold, store: Store | str | PathLike[str], **options: Any
) -> AgentRunResult[Any]:
    """Run an agent until it ends, and return its result; people decide about its tools, and answer its questions.

    `DeferredToolRequests` must be one of the agent's output types. `store` keeps this one run, also when it has ended.
    A run that waits goes on from it, without `prompt`; `options` are those of `Agent.run`.

    Raises:
        AlreadyConsumed: an earlier run from this store got an approval, and may have carried its action out.
    """
    kept = store_of(store)
    saved = await kept.get()
    waiting = None if saved is None else _STATE.validate_json(saved)
    name = token_hex(16) if waiting is None else waiting.run
    while True:
        if waiting is None:
            result = await agent.run(prompt, **options)
        else:
            answers = await results(waiting.requests, hold, name)
            result = await agent.run(message_history=waiting.messages, deferred_tool_results=answers, **options)
        if not isinstance(result.output, DeferredToolRequests):
            return result
        waiting = _Waiting(run=name, messages=result.all_messages(), requests=result.output)
        await kept.put(_STATE.dump_json(waiting).decode())


async def results(requests: DeferredToolRequests, hold: Hold, run: str) -> DeferredToolResults:
    """Return people's decisions about the calls that need approval, and their answers to the model's questions.

    `run` names the run, the same in every process that goes on with it: call ids are unique in it alone. Calls that
    are carried out elsewhere are left out.

    Raises:
        AlreadyConsumed: an earlier call got an approval, and may have carried its action out.
    """
    questions = [call for call in requests.calls if requests.kind(call.tool_call_id) == "question"]
    once = f"pydantic-ai:{run}"
    asked = [await _ask(hold, call, once) for call in questions]
    held = [await _approval(hold, call, once) for call in requests.approvals]
    # Approvals are consumed last, when nothing more has to be waited for.
    answered = await hold.wait(asked)
    decided = list(zip(requests.approvals, await decide_all(hold, held), strict=True))
    people = {call.tool_call_id: found.answered_by for call, found in zip(questions, answered, strict=True)}
    people |= {call.tool_call_id: decision.answered_by for call, decision in decided}
    return requests.build_results(
        calls={call.tool_call_id: answer_to_model(found) for call, found in zip(questions, answered, strict=True)},
        approvals={
            call.tool_call_id: ToolDenied(reason)
            if (reason := refusal(decision, call.tool_name))
            else ToolApproved(override_args=decision.arguments if decision.decision is Verdict.EDIT else None)
            for call, decision in decided
        },
        answered_by={call_id: name for call_id, name in people.items() if name is not None},
    )


def ask_human(question: str, choices: list[str] | None = None) -> Any:
    """Ask a person a question and wait for the answer, however long it takes. `choices` are the answers allowed."""
    raise CallDeferred(kind="question")


async def _ask(hold: Hold, call: ToolCallPart, once: str) -> Question:
    """Ask what the model asks by `ask_human`; of another tool's question the arguments."""
    asked = call.args_as_dict()
    return await hold.begin(
        asked.get("question", asked), once=f"{once}:{call.tool_call_id}", choices=asked.get("choices") or None
    )


async def _approval(hold: Hold, call: ToolCallPart, once: str) -> Question:
    action = Action(name=call.tool_name, arguments=call.args_as_dict())
    return await hold.begin(once=f"{once}:{call.tool_call_id}", action=action, allowed=_ALLOWED)
