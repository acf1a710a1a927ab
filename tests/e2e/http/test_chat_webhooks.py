"""Webhooks for people: a question reaches a chat, is answered from there, and the chat learns of the answer."""

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from app.domain.access import Role
from app.domain.events import EventKind
from app.engine.engine import Engine
from app.engine.ops.rules import EngineCfg
from app.engine.parts import default_parts
from app.spawning.outbound.settings import SenderSettings
from app.spawning.outbound.webhooks import WebhookSender
from app.state.tables import ANSWER_LINKS
from tests.e2e.http.test_webhooks import HOOKS
from tests.support.receiver import Receiver, receiving
from tests.support.serving import ROOT_KEY, Node, served
from tests.support.waiting import eventually

ASK = "/v1/operator/questions"


@contextlib.asynccontextmanager
async def chatting(receiver: Receiver, **more: Any) -> AsyncIterator[Node]:
    """A node that may write to the receiver, with the key of Pat."""
    settings = SenderSettings(allow=(f"http://127.0.0.1:{receiver.port}/hook",), backoff_s=0.01)
    sender = WebhookSender(settings, **more)
    engine = Engine(replace(default_parts(EngineCfg()), webhook_sender=sender))
    async with served(engine=engine) as node:
        body = {"name": "pat", "roles": ["senior"], "person": True}
        assert (await node.as_(ROOT_KEY).post("/v1/admin/keys", json=body)).status_code == 201
        yield node


async def hook(node: Node, receiver: Receiver, format: str, **fields: Any) -> dict[str, Any]:
    """A chat webhook, whose requests are verified by the library of Standard Webhooks."""
    body = {"url": receiver.url, "format": format, **fields}
    reply = await node.as_(ROOT_KEY).post(HOOKS, json=body)
    assert reply.status_code == 201, reply.text
    return reply.json()


async def ask(operator: httpx.AsyncClient, question: str = "Ship <it>?", **fields: Any) -> dict[str, Any]:
    """A new question."""
    reply = await operator.post(ASK, json={"question": question, **fields})
    assert reply.status_code == 201, reply.text
    return reply.json()


async def answer(node: Node, key: str, value: Any = "yes") -> None:
    """A senior answers."""
    senior = await node.operator(Role.SENIOR, name="sam")
    reply = await senior.post(f"/v1/senior/questions/{key}/answer", json={"value": value})
    assert reply.status_code == 200, reply.text


async def test_a_question_is_told_and_so_is_its_answer() -> None:
    """Each message is signed and has the cursor in its id; what is not for people is not sent."""
    async with receiving() as receiver, chatting(receiver) as node:
        operator = await node.operator()
        made = await hook(node, receiver, "slack")
        asked = await ask(operator, deadline="2999-01-01T00:00:00Z")
        await eventually(lambda: len(receiver.bodies) == 1)
        await answer(node, asked["key"])
        await eventually(lambda: len(receiver.bodies) == 2)
        task = (await operator.post("/v1/operator/tasks", json={"agent": "coder", "initial_directive": "x"})).json()
        path = f"/v1/operator/tasks/{task['id']}/verdict"
        reply = await operator.post(path, json={"ok": False, "value": "out of disk"})
        assert reply.status_code == 200, reply.text
        await eventually(lambda: len(receiver.bodies) == 3)

        events = {event.kind: event.cursor for event in await node.engine.event_tx.page(0)}
        row = (await node.as_(ROOT_KEY).get(f"{HOOKS}/{made['id']}")).json()

    kinds = ("senior_queried", "senior_answered", "task_blocked")
    assert [headers["webhook-id"] for headers, _ in receiver.sent] == [f"{made['id']}.{events[one]}" for one in kinds]
    for headers, body in receiver.sent:
        Webhook(made["secret"]).verify(body, headers)
    first, second, third = [json.dumps(body, ensure_ascii=False) for body in receiver.bodies]
    assert "Ship &lt;it&gt;?" in first
    assert "Deadline: 2999-01-01" in first
    assert f"/console#/inbox/{asked['key']}" in first
    assert "Answered by sam" in second
    assert "coder is blocked" in third
    assert "out of disk" in third
    assert row["url"] == f"http://127.0.0.1:{receiver.port}/…"
    assert (row["format"], row["content"], row["delivered"]) == ("slack", "summary", 3)


async def test_a_person_answers_by_the_link_in_the_message() -> None:
    """A failed delivery is sent again with another secret of the same link; the secret is nowhere else."""
    async with receiving() as receiver, chatting(receiver) as node:
        operator = await node.operator()
        receiver.replies = [500, 503]
        await hook(node, receiver, "template", template='{"link": {{link|json}}}', links="pat")
        asked = await ask(operator)
        await eventually(lambda: len(receiver.bodies) == 1)
        lost, *_, secret = [json.loads(body)["link"].split("#")[1] for _, body in receiver.sent]
        assert lost != secret
        assert [headers["webhook-id"] for headers, _ in receiver.sent] == [receiver.sent[0][0]["webhook-id"]] * 3
        links = await node.engine.store.read(lambda state: ANSWER_LINKS.search().all(state.db))
        assert len(links) == 1

        page = node.as_(None)
        assert (await page.post("/v1/links/open", json={"link": lost})).status_code == 404
        reply = await page.post("/v1/links/answer", json={"link": secret, "value": "go"})
        assert reply.status_code == 200, reply.text
        settled = (await operator.get(f"{ASK}/{asked['key']}?hold=0")).json()
        assert (settled["answered_by"], settled["answered_through"]["door"]) == ("pat", "link")
        await eventually(lambda: len(receiver.bodies) == 2)
        events = await node.engine.event_tx.page(0)
        audit = (await node.as_(ROOT_KEY).get("/v1/admin/audit")).text

    assert "al_" not in receiver.bodies[1]["link"]
    assert secret not in audit
    assert secret not in repr(events)


async def test_discord_changes_its_message() -> None:
    """By the id of its reply; that somebody removed the message meanwhile holds nothing up."""
    async with receiving() as receiver, chatting(receiver) as node:
        operator = await node.operator()
        await hook(node, receiver, "discord")
        keys: list[str] = []
        for id in (b"41", b"42"):
            receiver.answers.append(b'{"id": "%b", "embeds": []}' % id)
            keys.append((await ask(operator))["key"])
            await eventually(lambda: len(receiver.bodies) == len(keys))
        receiver.replies = [404]
        for key in keys:
            await answer(node, key)
        await eventually(lambda: len(receiver.calls) == 4)

    assert receiver.calls == [
        "POST /hook?wait=true",
        "POST /hook?wait=true",
        "PATCH /hook/messages/41",
        "PATCH /hook/messages/42",
    ]


async def test_what_is_closed_when_its_turn_comes_is_not_told() -> None:
    """A webhook that was paused does not ask what nobody waits for any more, and goes on with the next."""
    async with receiving() as receiver, chatting(receiver) as node:
        operator, root = await node.operator(), node.as_(ROOT_KEY)
        made = await hook(node, receiver, "ntfy", events=["senior_queried"])
        await root.post(f"{HOOKS}/{made['id']}/pause")
        await answer(node, (await ask(operator, "old"))["key"])
        await ask(operator, "new")
        await root.post(f"{HOOKS}/{made['id']}/resume")
        await eventually(lambda: len(receiver.texts) == 1)

    ((headers, body),) = receiver.sent
    assert body.startswith(b"new\n")
    assert headers["x-priority"] == "4"
    assert headers["x-click"].startswith("http")


async def test_a_reminder_has_a_link_of_its_own() -> None:
    """The message about a near deadline is another one."""
    async with receiving() as receiver, chatting(receiver) as node:
        operator = await node.operator()
        template = "[{{kind|json}}, {{link|json}}, {{deadline|json}}]"
        await hook(node, receiver, "template", template=template, links="pat")
        asked = await ask(operator, deadline="2999-01-01T00:00:00Z")
        await node.engine.with_state(
            "remind",
            lambda state: state.emit(
                EventKind.QUESTION_REMINDED, namespace=1, task_id=asked["task_id"], key=asked["key"]
            ),
        )
        await eventually(lambda: len(receiver.bodies) == 2)
        bodies: Any = receiver.bodies
        secrets = [link.split("#")[1] for _, link, _ in bodies]
        for secret in secrets:
            assert (await node.as_(None).post("/v1/links/open", json={"link": secret})).status_code == 200

    assert [kind for kind, _, _ in bodies] == ["senior_queried", "question_reminded"]
    assert len(set(secrets)) == 2


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"format": "slack", "events": ["task_created"]}, "events"),
        ({"format": "standard", "content": "none"}, "content"),
        ({"format": "swarmhold", "links": "pat"}, "links"),
        ({"format": "slack", "links": "nobody"}, "links"),
        ({"format": "slack", "template": "{}"}, "template"),
        ({"format": "template"}, "template"),
        ({"format": "template", "template": '{"a": {{nonsense|json}}}'}, "template"),
    ],
)
async def test_fields_that_do_not_fit_are_refused(fields: dict[str, Any], field: str) -> None:
    """422 that says which field, and nothing is made."""
    async with receiving() as receiver, chatting(receiver) as node:
        root = node.as_(ROOT_KEY)
        reply = await root.post(HOOKS, json={"url": receiver.url, **fields})
        assert (reply.status_code, reply.json()["code"], reply.json()["field"]) == (422, "webhook-invalid", field)
        assert (await root.get(HOOKS)).json()["items"] == []


async def test_without_answer_links_there_are_none() -> None:
    """Where the settings switch them off a new webhook cannot have them."""
    async with receiving() as receiver, chatting(receiver, answer_links=False) as node:
        reply = await node.as_(ROOT_KEY).post(HOOKS, json={"url": receiver.url, "format": "slack", "links": "pat"})
        assert (reply.status_code, reply.json()["field"]) == (422, "links")
        assert "doors.link.enabled" in reply.json()["detail"]
