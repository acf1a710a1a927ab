"""The person at a client: what may be put to them, how it is asked, and the answer that they give."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mcp import types
from pydantic import ValidationError

from app.domain.access import Role
from app.domain.errors import RoleViolation
from app.domain.tokens import CapToken
from app.mcp import forms
from app.mcp.calls import Api, CallFailed, Value, segment
from app.mcp.requests import RequestContext, api_of, client_of

_LINK_LIFE_S = 86_400


async def person_of(context: RequestContext) -> Api | None:
    """Return the API for the answers of the person whose key this is, None for a key of no person."""
    client = client_of(context)
    if not client.is_person or Role.SENIOR not in client.roles:
        return None
    return await api_of(context, Role.SENIOR, "review")


async def offered(api: Api, **about: str) -> list[str]:
    """Return the keys of open questions that may be put to the person: with this `key`, or of this `task_id`.

    There are none for a credential that was narrowed so that it answers nothing.
    """
    try:
        return await api.server.engine.questions.offered(CapToken(api.credential), **about)
    except RoleViolation:
        return []


async def answer(api: Api, question: Value, said: types.ElicitResult) -> bool:
    """Answer a question with what the person entered, and return whether that was an answer.

    To decline, to cancel and to open an address answer nothing. Raises CallFailed.
    """
    value = forms.answer_of(question, said.content) if said.action == "accept" else None
    if value is None:
        return False
    await api.post(f"/v1/senior/questions/{segment(question['key'])}/answer", value)
    return True


async def taken(api: Api, key: str, said: Any) -> bool:
    """Take a reply for a question from a client, whatever it is; return whether it is one that may be."""
    try:
        result = types.ElicitResult.model_validate(said)
        question = await api.get(f"/v1/senior/questions/{segment(key)}")
        return await answer(api, question, result) or result.action != "accept" or result.content is None
    except (ValidationError, CallFailed):
        return False


async def request_for(
    context: RequestContext, api: Api, question: Value, can: types.ElicitationCapability
) -> types.ElicitRequest | None:
    """Return how the client is to ask: by a form, else at an answer link of the person, or where the console is.

    None where the client can do neither.
    """
    address = forms.console_address(api.server.settings.base_url, question["key"])
    key = client_of(context).origin
    if key is not None and can.url is not None and not forms.is_form(question, can):
        path = f"/v1/senior/questions/{segment(question['key'])}/links"
        try:
            # The same question has one link, with a new secret each time.
            link = await replace(api, once=question["key"]).post(
                path, {"person": key.id, "ttl": _LINK_LIFE_S}, once=True
            )
            address = link["url"]
        except CallFailed:
            pass  # no link is for root, for an asker, or for a question that must not be answered by one
    return forms.request_of(question, can, address)
