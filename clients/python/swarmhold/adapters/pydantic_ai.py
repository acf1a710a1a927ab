"""Pydantic AI: deferred tool calls wait for people, while the messages of the run lie in a store."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from swarmhold.asking import Hold
from swarmhold.asking.stores import AnyStore, kept_run
from swarmhold.asking.tool_uses import EDITABLE, Settled, ToolUse, settle

try:
    from pydantic_ai import (
        Agent,
        AgentRunResult,
        CallDeferred,
        DeferredToolRequests,
        DeferredToolResults,
        ModelMessage,
        ToolApproved,
        ToolDenied,
    )
except ImportError as error:
    needed = "swarmhold.adapters.pydantic_ai needs Pydantic AI: pip install 'pydantic-ai-slim>=2.60'"
    raise ImportError(needed) from error

_STATE = TypeAdapter(tuple[list[ModelMessage], DeferredToolRequests])


async def run(agent: Agent[Any, Any], prompt: Any, hold: Hold, store: AnyStore, **options: Any) -> AgentRunResult[Any]:
    """Run an agent until it ends, and return its result; people decide about its tools, and answer its questions.

    `DeferredToolRequests` must be one of the agent's output types. `store` keeps this one run, also when it has ended.
    A run that waits goes on from it, without `prompt`; `options` are those of `Agent.run`.

    Raises:
        AlreadyConsumed: an earlier run from this store got an approval, and may have carried its action out.
    """
    kept = await kept_run(store)
    while True:
        if kept.state is None:
            result = await agent.run(prompt, **options)
        else:
            messages, requests = _STATE.validate_json(kept.state)
            answers = await results(requests, hold, kept.name)
            result = await agent.run(message_history=messages, deferred_tool_results=answers, **options)
        if not isinstance(result.output, DeferredToolRequests):
            return result
        await kept.put(_STATE.dump_json((result.all_messages(), result.output)).decode())


async def results(requests: DeferredToolRequests, hold: Hold, run: str) -> DeferredToolResults:
    """Return people's decisions about the calls that need approval, and their answers to the model's questions.

    `run` names the run, the same in every process that goes on with it: call ids are unique in it alone. Calls that
    are carried out elsewhere are left out.

    Raises:
        AlreadyConsumed: an earlier call got an approval, and may have carried its action out.
    """
    questions = [call for call in requests.calls if requests.kind(call.tool_call_id) == "question"]
    uses = {
        call.tool_call_id: ToolUse(
            once=f"pydantic-ai:{run}:{call.tool_call_id}",
            name=call.tool_name,
            arguments=call.args_as_dict(),
            asks=call in questions,
            allowed=EDITABLE,
        )
        for call in (*questions, *requests.approvals)
    }
    said = dict(zip(uses, await settle(hold, list(uses.values())), strict=True))
    return requests.build_results(
        calls={call.tool_call_id: said[call.tool_call_id].answer for call in questions},
        approvals={call.tool_call_id: _approval(said[call.tool_call_id]) for call in requests.approvals},
        answered_by={call_id: one.answered_by for call_id, one in said.items() if one.answered_by is not None},
    )


def ask_human(question: str, choices: list[str] | None = None) -> Any:
    """Ask a person a question and wait for the answer, however long it takes. `choices` are the answers allowed."""
    raise CallDeferred(kind="question")


def _approval(said: Settled) -> ToolApproved | ToolDenied:
    return ToolDenied(said.refusal) if said.refusal else ToolApproved(override_args=said.edited)
