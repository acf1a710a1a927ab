"""The tool `approve`: whether an agent may use another tool, in the form of Claude Code's permission prompt."""

from __future__ import annotations

from dataclasses import replace
from secrets import token_hex
from typing import cast

from app.domain.actions import Approval, Decision, approval_of
from app.domain.errors import InvalidRequest
from app.domain.json import Json
from app.http.parameters import hold_of, query_of
from app.mcp.calls import Api, CallFailed, Value, refused, segment

_ALLOWED = [Decision.APPROVE.value, Decision.EDIT.value, Decision.REJECT.value]
_LONGEST_TITLE = 200
_SPARE_S = 5.0
"""How long before its client gives it up a call is answered."""
_OPEN = "Nobody has decided yet, so nothing ran. Question {key} stays open: read it with get_answer. "
_AGAIN = "Once it is answered, call approve again with this tool_use_id and input."
_ANEW = "A call without a tool_use_id cannot find it again and asks anew."


async def approve(api: Api, arguments: Value) -> Value:
    """Ask once for each use of a tool, wait, and consume the approval. Whatever is refused denies, with the reason.

    Raises CallFailed for arguments that break the schema.
    """
    if not isinstance(arguments["tool_name"], str) or not isinstance(arguments["input"], dict):
        raise refused("tool_name is a text and input an object.")
    hold = _hold(api, arguments["hold"])
    use = arguments.get("tool_use_id", api.once)
    if use is not None and (not isinstance(use, str) or not use):
        raise refused("tool_use_id is a text.")
    try:
        question = await _asked(replace(api, once=use), arguments, hold)
        if question["status"] == "open":
            return _deny(_OPEN.format(key=question["key"]) + (_AGAIN if "tool_use_id" in arguments else _ANEW))
        return await _settled(api, arguments, question)
    except CallFailed as failed:
        return _deny(str(failed.problem.get("detail") or failed.problem.get("title")))


def _hold(api: Api, default_s: float) -> float:
    """Return for how many seconds to wait. The address that a client calls may say when it gives up (`timeout`).

    Raises CallFailed.
    """
    text = query_of(api.scope).get("timeout")
    if text is None:
        return default_s
    try:
        return max(0.0, hold_of(text, api.server.settings).total_seconds() - _SPARE_S)
    except InvalidRequest as error:
        raise refused(f"timeout in the address is {error.reason}.") from None


async def _asked(api: Api, arguments: Value, hold: float) -> Value:
    """Return the question of this use of the tool, once it is settled or the hold is over."""
    name = arguments["tool_name"]
    body = {
        "title": f"An agent asks to use {name}"[:_LONGEST_TITLE].strip(),
        "question": f"May an agent use {name}?",
        "action": {"name": name, "arguments": arguments["input"]},
        "allowed": _ALLOWED,
    }
    made = await api.post(f"{api.base}/questions", body, once=True)
    return await api.get(f"{api.base}/questions/{segment(made['key'])}", hold=hold)


async def _settled(api: Api, arguments: Value, question: Value) -> Value:
    approval = _approval(question)
    if approval is None:
        return _deny(_reason(question))
    if approval.action.value["name"] != arguments["tool_name"]:
        return _deny("The answer names another tool, which cannot run here. Ask for that tool.")
    path = f"{api.base}/questions/{segment(question['key'])}/consume"
    # A fresh key each time: a repeated call finds the question, never a fresh permission.
    await replace(api, once=token_hex(16)).post(path, {"action_digest": approval.digest}, once=True)
    edited = approval.decision == Decision.EDIT.value
    updated = question["answer"]["edited_action"]["arguments"] if edited else arguments["input"]
    return {"behavior": "allow", "updatedInput": updated}


def _approval(question: Value) -> Approval | None:
    if question["status"] != "answered":
        return None
    return approval_of(Json.of(question["action"]), question["action_digest"], Json.of(question["answer"]))


def _reason(question: Value) -> str:
    """Return a senior's words, or why nobody decided."""
    key, status = question["key"], question["status"]
    if status != "answered":
        because = f": {question['reason']}" if question.get("reason") else "; nobody allowed it"
        return f"Question {key} is {status}{because}."
    answer = question["answer"]
    message = cast("Value", answer).get("message") if isinstance(answer, dict) else None
    return str(message or f"{question.get('answered_by', 'A senior')} rejected it (question {key}).")


def _deny(message: str) -> Value:
    return {"behavior": "deny", "message": message}
