"""Claude's Agent SDK: whether a tool may be used, and what its model asks, is for people to say.

Whatever goes wrong denies the tool: no server, a bad key, an approval that was given out before.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any

from swarmhold.adapters.decisions import ASK_HUMAN, answer_to_model, decide_all, refusal
from swarmhold.asking import Hold
from swarmhold.digests import digest_of
from swarmhold.errors import Error
from swarmhold.models.enums import Decision as Verdict
from swarmhold.models.questions import Action, Question
from swarmhold.questions import answer_of

try:
    _sdk: Any = import_module("claude_agent_sdk")
except ImportError as error:
    raise ImportError(
        "swarmhold.adapters.claude needs Claude's Agent SDK: pip install 'claude-agent-sdk>=0.2.189'"
    ) from error

Value = dict[str, Any]
_ALLOWED = (Verdict.APPROVE, Verdict.EDIT, Verdict.REJECT)
_ASK_USER = "AskUserQuestion"


class _Denied(Error):
    """The tool is denied, and why."""


def can_use_tool(hold: Hold) -> Callable[[str, Value, Any], Awaitable[Any]]:
    """Return the option `can_use_tool`: it waits until a person has decided, for as long as the program runs."""

    async def decide(tool: str, asked: Value, context: Any) -> Any:
        try:
            questions = await _ask(hold, tool, asked, f"claude:{context.tool_use_id}")
            return _sdk.PermissionResultAllow(updated_input=await _allowed(hold, tool, asked, questions))
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
        try:
            questions = await _ask(hold, tool, asked, f"claude:{session}:{tool_use_id}", labels)
            if waiting := [question.key for question in questions if question.is_open]:
                return _said("defer", f"{', '.join(waiting)} waits for an answer. Resume the session when it is there.")
            return _said("allow", None, await _allowed(hold, tool, asked, questions))
        except Exception as problem:  # noqa: BLE001 whatever goes wrong denies
            return _said("deny", _reason(problem))

    return {"PreToolUse": [_sdk.HookMatcher(matcher=matcher, hooks=[before], on_failure="block")]}


def ask_human(hold: Hold, run: str) -> Any:
    """Return a tool for `create_sdk_mcp_server`; the same question is asked once in a run of this name."""

    async def ask(asked: Value) -> Value:
        once = f"claude:ask:{run}:{digest_of(asked)}"
        [found] = await hold.wait(
            [await hold.begin(asked["question"], once=once, choices=asked.get("choices") or None)]
        )
        return {"content": [{"type": "text", "text": json.dumps(answer_to_model(found))}]}

    texts = {"type": "array", "items": {"type": "string"}}
    fields = {"question": {"type": "string"}, "choices": texts}
    return _sdk.tool("ask_human", ASK_HUMAN, {"type": "object", "properties": fields, "required": ["question"]})(ask)


async def _ask(hold: Hold, tool: str, asked: Value, once: str, labels: dict[str, str] | None = None) -> list[Question]:
    """Ask for approval of a tool, or what AskUserQuestion asks."""
    if tool != _ASK_USER:
        action = Action(name=tool, arguments=asked)
        return [await hold.begin(once=once, labels=labels, action=action, allowed=_ALLOWED)]
    return [
        await hold.begin(one["question"], once=f"{once}:{index}", labels=labels, answer_schema=_answers_to(one))
        for index, one in enumerate(asked["questions"])
    ]


def _answers_to(asked: Value) -> Value:
    options = [option["label"] for option in asked.get("options", ())]
    one: Value = {"enum": options} if options else {"type": "string", "minLength": 1}
    return {"type": "array", "items": one, "minItems": 1, "uniqueItems": True} if asked.get("multiSelect") else one


async def _allowed(hold: Hold, tool: str, asked: Value, questions: list[Question]) -> Value:
    """Return the input with which the tool may be used, once everything is decided. Raises what denies it."""
    if tool == _ASK_USER:
        closed = await hold.wait(questions)
        texts = [one["question"] for one in asked["questions"]]
        return {**asked, "answers": dict(zip(texts, map(answer_of, closed), strict=True))}
    [decision] = await decide_all(hold, questions)
    if reason := refusal(decision, tool):
        raise _Denied(reason)
    return decision.arguments


def _reason(problem: Exception) -> str:
    return str(problem) or type(problem).__name__


def _said(decision: str, reason: str | None, updated: Value | None = None) -> Value:
    said: Value = {"hookEventName": "PreToolUse", "permissionDecision": decision}
    said |= {} if reason is None else {"permissionDecisionReason": reason}
    said |= {} if updated is None else {"updatedInput": updated}
    return {"hookSpecificOutput": said}
