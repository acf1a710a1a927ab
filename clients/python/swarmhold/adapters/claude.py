"""Claude's Agent SDK: whether a tool may be used, and what its model asks, is for people to say.

Whatever goes wrong denies the tool: no server, a bad key, an approval that was given out before.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any

from swarmhold.asking import Hold
from swarmhold.asking.tool_uses import ASK_HUMAN, EDITABLE, ToolUse, begin, settle, settled
from swarmhold.digests import digest_of
from swarmhold.errors import Error
from swarmhold.models.questions import Question
from swarmhold.questions import answer_of

try:
    _sdk: Any = import_module("claude_agent_sdk")
except ImportError as error:
    needed = "swarmhold.adapters.claude needs Claude's Agent SDK: pip install 'claude-agent-sdk>=0.2.189'"
    raise ImportError(needed) from error

Value = dict[str, Any]


def can_use_tool(hold: Hold) -> Callable[[str, Value, Any], Awaitable[Any]]:
    """Return the option `can_use_tool`: it waits until a person has decided, for as long as the program runs."""

    async def decide(tool: str, asked: Value, context: Any) -> Any:
        try:
            use = ToolUse(once=f"claude:{context.tool_use_id}", name=tool, arguments=asked, allowed=EDITABLE)
            return _sdk.PermissionResultAllow(updated_input=await _input(hold, use, await _ask(hold, use)))
        except Exception as problem:  # noqa: BLE001 whatever goes wrong denies
            return _sdk.PermissionResultDeny(message=_reason(problem))

    return decide


def hooks(hold: Hold, matcher: str | None = None) -> dict[str, list[Any]]:
    """Return the option `hooks`: the session stops at a tool until a person has decided, and the process may end.

    Resume the session when the answer is there (`swarmhold resume`): its tool use comes again and finds it.
    """

    async def before(event: Value, tool_use_id: str | None, context: Any) -> Value:
        del context
        session, tool, asked = event["session_id"], event["tool_name"], event["tool_input"]
        labels = {"harness": "claude-code", "harness-session": session}
        once = f"claude:{session}:{tool_use_id}"
        use = ToolUse(once=once, name=tool, arguments=asked, allowed=EDITABLE, labels=labels)
        try:
            questions = await _ask(hold, use)
            if waiting := [question.key for question in questions if question.is_open]:
                text = f"{', '.join(waiting)} waits for an answer. Resume the session when it is there."
                return _said("defer", permissionDecisionReason=text)
            return _said("allow", updatedInput=await _input(hold, use, questions))
        except Exception as problem:  # noqa: BLE001 whatever goes wrong denies
            return _said("deny", permissionDecisionReason=_reason(problem))

    return {"PreToolUse": [_sdk.HookMatcher(matcher=matcher, hooks=[before], on_failure="block")]}


def ask_human(hold: Hold, run: str) -> Any:
    """Return a tool for `create_sdk_mcp_server`; the same question is asked once in a run of this name."""

    async def ask(asked: Value) -> Value:
        once = f"claude:ask:{run}:{digest_of(asked)}"
        [said] = await settle(hold, [ToolUse(once=once, name="ask_human", arguments=asked, asks=True)])
        return {"content": [{"type": "text", "text": json.dumps(said.answer)}]}

    texts = {"type": "array", "items": {"type": "string"}}
    fields = {"question": {"type": "string"}, "choices": texts}
    return _sdk.tool("ask_human", ASK_HUMAN, {"type": "object", "properties": fields, "required": ["question"]})(ask)


async def _ask(hold: Hold, use: ToolUse) -> list[Question]:
    """Ask whether a tool may be used, or what the questions of AskUserQuestion ask."""
    if use.name != "AskUserQuestion":
        return [await begin(hold, use)]
    return [
        await hold.begin(one["question"], once=f"{use.once}:{index}", labels=use.labels, answer_schema=_answers_to(one))
        for index, one in enumerate(use.arguments["questions"])
    ]


def _answers_to(asked: Value) -> Value:
    options = [option["label"] for option in asked.get("options", ())]
    one: Value = {"enum": options} if options else {"type": "string", "minLength": 1}
    return {"type": "array", "items": one, "minItems": 1, "uniqueItems": True} if asked.get("multiSelect") else one


async def _input(hold: Hold, use: ToolUse, questions: list[Question]) -> Value:
    """Return the input with which the tool may be used, once everything is decided. Raises what denies it."""
    closed = await hold.wait(questions)
    if use.name == "AskUserQuestion":
        texts = [one["question"] for one in use.arguments["questions"]]
        return {**use.arguments, "answers": dict(zip(texts, map(answer_of, closed), strict=True))}
    said = await settled(hold, use, closed[0])
    if said.refusal:
        raise Error(said.refusal)
    return use.arguments if said.edited is None else said.edited


def _reason(problem: Exception) -> str:
    return str(problem) or type(problem).__name__


def _said(decision: str, **more: Any) -> Value:
    return {"hookSpecificOutput": {"hookEventName": "PreToolUse", "permissionDecision": decision, **more}}
