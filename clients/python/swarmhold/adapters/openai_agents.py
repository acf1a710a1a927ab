"""OpenAI Agents: tools that need approval wait for people, while the state of the run lies in a store."""

from __future__ import annotations

import json
from contextvars import ContextVar
from os import PathLike
from secrets import token_hex
from typing import Any, cast

from swarmhold.adapters.decisions import ASK_HUMAN, answer_to_model, decide_all, refusal
from swarmhold.adapters.stores import Store, store_of
from swarmhold.asking import Hold
from swarmhold.models.questions import Action, Question

try:
    from agents import Agent, Runner, RunResult, RunState, ToolApprovalItem, function_tool
    from agents.tool_context import ToolContext
except ImportError as error:
    raise ImportError(
        "swarmhold.adapters.openai_agents needs the OpenAI Agents SDK: pip install 'openai-agents>=0.24'"
    ) from error

_answers: ContextVar[dict[str, str]] = ContextVar("answers")


async def run(
    agent: Agent[Any],
    input: Any,
    hold: Hold,
    store: Store | str | PathLike[str],
    **options: Any,
) -> RunResult:
    """Run an agent until it ends, and return its result; people approve or reject its tools, they cannot edit.

    `store` keeps this one run, also when it has ended. A run that waits goes on from it, without `input`; `options`
    are those of `Runner.run`.

    Raises:
        AlreadyConsumed: an earlier run from this store got an approval, and may have carried its action out.
    """
    kept = store_of(store)
    saved = json.loads(await kept.get() or "{}")
    name: str = saved.get("run") or token_hex(16)
    context = options.get("context")
    state = await RunState.from_json(agent, saved["state"], context_override=context) if saved else None
    while True:
        if state is not None:
            await _decide(state, hold, f"openai-agents:{name}")
        result = await Runner.run(agent, input if state is None else state, **options)
        if not result.interruptions:
            return result
        state = result.to_state()
        await kept.put(json.dumps({"run": name, "state": state.to_json()}))


@function_tool(description_override=ASK_HUMAN, needs_approval=True)
async def ask_human(context: ToolContext[Any], question: str, choices: list[str] | None = None) -> str:
    """Return the answer, which `run` had before it let the call go on."""
    del question, choices
    return _answers.get()[context.tool_call_id]


async def _decide(state: RunState[Any, Any], hold: Hold, once: str) -> None:
    """Ask about every call that the state waits for, and write what was decided into it."""
    items = state.get_interruptions()
    asked = [await _ask(hold, item, f"{once}:{item.call_id}") for item in items]
    # Approvals are consumed last, when nothing more has to be waited for.
    pairs = list(zip(items, await hold.wait(asked), strict=True))
    _answers.set({item.call_id or "": _text(answer_to_model(found)) for item, found in pairs if _is_ask_human(item)})
    for item, question in pairs:
        reason = None
        if not _is_ask_human(item):
            [decision] = await decide_all(hold, [question])
            reason = refusal(decision, _name(item))
        state.reject(item, rejection_message=reason) if reason else state.approve(item)


async def _ask(hold: Hold, item: ToolApprovalItem, once: str) -> Question:
    arguments = _object(item.arguments or "{}")
    if _is_ask_human(item):
        return await hold.begin(arguments["question"], once=once, choices=arguments.get("choices") or None)
    return await hold.begin(once=once, action=Action(name=_name(item), arguments=arguments))


def _name(item: ToolApprovalItem) -> str:
    return item.name or "tool"


def _is_ask_human(item: ToolApprovalItem) -> bool:
    return item.name == ask_human.name and any(tool is ask_human for tool in item.agent.tools)


def _object(arguments: str) -> dict[str, Any]:
    """Return the arguments; those of a tool that takes a text are its `input`."""
    try:
        found = json.loads(arguments)
    except ValueError:
        found = arguments
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {"input": found}


def _text(answer: Any) -> str:
    return answer if isinstance(answer, str) else json.dumps(answer)
