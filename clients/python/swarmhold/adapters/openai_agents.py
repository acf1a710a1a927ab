"""OpenAI Agents: tools that need approval wait for people, while the state of the run lies in a store."""

from __future__ import annotations

import json
from contextvars import ContextVar
from typing import Any, cast

from swarmhold.asking import Hold
from swarmhold.asking.stores import AnyStore, kept_run
from swarmhold.asking.tool_uses import ASK_HUMAN, ToolUse, settle

try:
    from agents import Agent, Runner, RunResult, RunState, ToolApprovalItem, function_tool
    from agents.tool_context import ToolContext
except ImportError as error:
    needed = "swarmhold.adapters.openai_agents needs the OpenAI Agents SDK: pip install 'openai-agents>=0.24'"
    raise ImportError(needed) from error

_answers: ContextVar[dict[str | None, str]] = ContextVar("answers")


async def run(agent: Agent[Any], input: Any, hold: Hold, store: AnyStore, **options: Any) -> RunResult:
    """Run an agent until it ends, and return its result; people approve or reject its tools, they cannot edit.

    `store` keeps this one run, also when it has ended. A run that waits goes on from it, without `input`; `options`
    are those of `Runner.run`.

    Raises:
        AlreadyConsumed: an earlier run from this store got an approval, and may have carried its action out.
    """
    kept, context = await kept_run(store), options.get("context")
    while True:
        given = input
        if kept.state is not None:
            given = await RunState.from_string(agent, kept.state, context_override=context)
            await _decide(given, hold, f"openai-agents:{kept.name}")
        result = await Runner.run(agent, given, **options)
        if not result.interruptions:
            return result
        await kept.put(result.to_state().to_string())


@function_tool(description_override=ASK_HUMAN, needs_approval=True)
async def ask_human(context: ToolContext[Any], question: str, choices: list[str] | None = None) -> str:
    """Return the answer, which `run` had before it let the call go on."""
    del question, choices
    return _answers.get()[context.tool_call_id]


async def _decide(state: RunState[Any, Any], hold: Hold, once: str) -> None:
    """Ask about every call that the state waits for, and write what was decided into it."""
    items = state.get_interruptions()
    said = await settle(hold, [_use(item, f"{once}:{item.call_id}") for item in items])
    _answers.set({item.call_id: _text(one.answer) for item, one in zip(items, said, strict=True)})
    for item, one in zip(items, said, strict=True):
        state.reject(item, rejection_message=one.refusal) if one.refusal else state.approve(item)


def _use(item: ToolApprovalItem, once: str) -> ToolUse:
    """Return the use of a tool; the arguments of one that takes a text are its `input`."""
    try:
        arguments = json.loads(item.arguments or "{}")
    except ValueError:
        arguments = item.arguments
    asks = item.name == ask_human.name and any(tool is ask_human for tool in item.agent.tools)
    named = cast("dict[str, Any]", arguments) if isinstance(arguments, dict) else {"input": arguments}
    return ToolUse(once=once, name=item.name or "tool", arguments=named, asks=asks)


def _text(answer: Any) -> str:
    return answer if isinstance(answer, str) else json.dumps(answer)
