"""Doors × relations: by whatever door somebody comes, what they may do with a question depends on what they are to it.

The console is no door of its own: it answers by REST and the senior's WebSocket.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import orjson
import pytest
import websockets
from mcp import types

from app.domain.access import Role
from app.domain.doors import ANSWERING
from app.domain.ids import uuid_of
from app.engine.engine import Engine
from app.engine.ops.rules import EngineCfg
from app.engine.parts import default_parts
from app.http.door_settings import AapSettings, DoorSettings
from app.http.settings import HttpSettings
from app.spawning.outbound.settings import SenderSettings
from app.spawning.outbound.webhooks import WebhookSender
from tests.support.mcp_clients import connected
from tests.support.receiver import Receiver, receiving
from tests.support.serving import ROOT_KEY, Node, served
from tests.support.speaking import Speaker, speaking
from tests.support.waiting import eventually

OP, WORK, SENIOR, ADMIN = "/v1/operator", "/v1/worker", "/v1/senior", "/v1/admin"
HOOK = "/v1/doors/claude-code/hook"
AAP = "/aap/v1/requests"
ACTION = {"name": "deploy", "arguments": {"to": "production"}}
APPROVE = {"decision": "approve"}


@dataclass(slots=True)
class Somebody:
    """What a party holds: an API key, or only a credential that was made from another one's."""

    key: str | None = None
    tokens: dict[Role, str] = field(default_factory=dict[Role, str])
    handle: str | None = None

    def token(self, role: Role) -> str:
        """The best it can show where a role is wanted: a token of that role, or whatever it has."""
        return self.tokens.get(role) or self.handle or next(iter(self.tokens.values()))


@dataclass(slots=True)
class Stage:
    """A node with everybody who may come to a question; `asker` is the key of all that ask."""

    node: Node
    people: dict[str, Somebody]
    chat: Receiver
    chats: set[str] = field(default_factory=set[str])
    """Who gets messages with answer links about each question."""
    count: int = 0

    @property
    def asker(self) -> httpx.AsyncClient:
        """The asker's operator."""
        return self.node.as_(self.people["asker"].token(Role.OPERATOR))

    async def chat_with(self, name: str) -> None:
        """Let somebody get messages with answer links, if that can be."""
        template = f'{{"to": "{name}", "key": {{{{key|json}}}}, "link": {{{{link|json}}}}}}'
        hook = {"url": self.chat.url, "format": "template", "template": template, "events": ["senior_queried"]}
        made = await self.node.as_(ROOT_KEY).post(f"{ADMIN}/webhooks", json={**hook, "links": name})
        assert made.status_code in (201, 422), made.text
        if made.status_code == 201:
            self.chats.add(name)

    async def link_in_chat(self, name: str, key: str) -> str:
        """The link in the message to somebody about a question."""

        def found() -> list[str]:
            return [one["link"] for one in self.chat.bodies if (one["to"], one["key"]) == (name, key)]

        await eventually(found, awaited=f"the message to {name}")
        return found()[0]

    async def status(self, key: str) -> str:
        """How a question stands."""
        return (await self.asker.get(f"{OP}/questions/{key}", params={"hold": 0})).json()["status"]


async def _party(node: Node, name: str, *roles: Role, **more: Any) -> Somebody:
    """Somebody with a key of these roles, attached in each but the worker's; operators hold `b-<name>`."""
    body = {"name": name, "roles": [str(role) for role in roles], **more}
    key = (await node.as_(ROOT_KEY).post(f"{ADMIN}/keys", json=body)).json()["key"]
    tokens: dict[Role, str] = {}
    for role in roles:
        if role is not Role.WORKER:
            bridge: dict[str, Any] = {"operator_backend_id": f"b-{name}"} if role is Role.OPERATOR else {}
            tokens[role] = await node.attach(role, name=name, key=key, **bridge)
    return Somebody(key, tokens)


async def _below(node: Node, asker: Somebody) -> Somebody:
    """What the asker can make of its credential: tokens for a worker and an observer, and the handle of an attempt."""
    operator = node.as_(asker.token(Role.OPERATOR))
    task_id, worker = await node.worker(operator)
    tokens: dict[Role, str] = {}
    for role in (Role.WORKER, Role.OBSERVER):
        mint = {"agent_id": "sub", "role": str(role), "ttl": 600, "task_id": task_id}
        reply = await operator.post(f"{OP}/tokens", json=mint)
        assert reply.status_code == 201, reply.text
        tokens[role] = reply.json()["token"]
    handle = worker.headers["Authorization"].removeprefix("Bearer ")
    return Somebody(None, tokens, handle)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    """A served node with all its doors."""
    both = (Role.OPERATOR, Role.SENIOR)
    settings = HttpSettings(doors=DoorSettings(aap=AapSettings(enabled=True)))
    async with receiving() as chat, served(settings, engine=_writing_to(chat)) as node:
        asker = await _party(node, "asker", *Role)
        made = Stage(
            node,
            {
                "asker": asker,
                "below": await _below(node, asker),
                "operator": await _party(node, "operator", Role.OPERATOR),
                "agent": await _party(node, "agent", Role.SENIOR),
                "person": await _party(node, "person", Role.SENIOR, person=True, email="p@example.org"),
                "both": await _party(node, "both", *both),
                "foreign": await _party(node, "foreign", *both, namespace="elsewhere"),
            },
            chat,
        )
        for name in made.people:
            await made.chat_with(name)
        yield made


def _writing_to(chat: Receiver) -> Engine:
    settings = SenderSettings(allow=(chat.url,), backoff_s=0.01)
    return Engine(replace(default_parts(EngineCfg()), webhook_sender=WebhookSender(settings)))


# Ways to ask


async def _by_rest(stage: Stage, bridge: str | None) -> None:
    body = {"question": "?", "action": ACTION} | ({"bridge_id": bridge} if bridge else {})
    assert (await stage.asker.post(f"{OP}/questions", json=body)).status_code == 201


async def _by_mcp(stage: Stage, bridge: str | None) -> None:
    more = {"bridge_id": bridge} if bridge else {}
    arguments = {"question": "?", "action": ACTION, "hold": 0, "once": str(stage.count), **more}
    await _tool(stage.node, stage.people["asker"], "ask_human", arguments)


async def _by_hook(stage: Stage, bridge: str | None) -> None:
    assert bridge is None
    event = {
        "hook_event_name": "PreToolUse",
        "session_id": "s",
        "tool_use_id": f"t{stage.count}",
        "tool_name": ACTION["name"],
        "tool_input": ACTION["arguments"],
    }
    reply = await stage.node.as_(stage.people["asker"].key).post(HOOK, json=event)
    assert reply.json()["hookSpecificOutput"]["permissionDecision"] == "defer", reply.text


def _submission(stage: Stage) -> dict[str, Any]:
    body = {"tool": ACTION["name"], "arguments": ACTION["arguments"], "timeout": "24h"}
    return {"json": body, "headers": {"Idempotency-Key": f"a{stage.count}"}}


async def _by_aap(stage: Stage, bridge: str | None) -> None:
    assert bridge is None
    reply = await stage.node.as_(stage.people["asker"].key).post(AAP, **_submission(stage))
    assert reply.status_code == 201, reply.text


async def _by_worker(stage: Stage, bridge: str | None) -> None:
    assert bridge is None
    worker = stage.node.as_(stage.people["below"].handle)
    reply = await worker.post(f"{WORK}/questions", json={"question": "?", "action": ACTION})
    assert reply.status_code == 201, reply.text


ASKING = {"rest": _by_rest, "mcp": _by_mcp, "hook": _by_hook, "aap": _by_aap, "worker": _by_worker}


async def asked(stage: Stage, door: str = "rest", bridge: str | None = None) -> dict[str, Any]:
    """A new open question of the asker's about an action."""
    stage.count += 1
    inbox = {"status": "open", "limit": 200}
    senior = stage.node.as_(stage.people["agent"].token(Role.SENIOR))
    before = {one["key"] for one in (await senior.get(f"{SENIOR}/questions", params=inbox)).json()["items"]}
    await ASKING[door](stage, bridge)
    after = (await senior.get(f"{SENIOR}/questions", params=inbox)).json()["items"]
    (found,) = [one for one in after if one["key"] not in before]
    return found


# Ways to answer. Each does all that somebody can do by it; whether that counted is seen by the question.


async def _tool(node: Node, who: Somebody, name: str, arguments: dict[str, Any], **can: Any) -> Any:
    """What a tool returns to somebody's key, or to the best credential without one; None where it is not to be had."""
    for credential in [who.key] if who.key else [*who.tokens.values(), *([who.handle] if who.handle else [])]:
        async with connected(node.url, credential, follows=False, **can) as client:
            if name in [tool.name for tool in (await client.list_tools()).tools]:
                text, *_ = (await client.call_tool(name, arguments)).content
                return orjson.loads(getattr(text, "text", "null"))
    return None


async def _answer_by_rest(stage: Stage, who: Somebody, key: str) -> None:
    client = stage.node.as_(who.token(Role.SENIOR))
    await client.post(f"{SENIOR}/questions/{key}/answer", json={"value": APPROVE})


async def _say(speaker: Speaker, key: str) -> None:
    await speaker.say(type="answer", key=key, value=APPROVE)
    while (await speaker.receive())["type"] not in ("accepted", "rejected"):
        pass


async def _over(stage: Stage, path: str, token: str, key: str) -> None:
    with suppress(websockets.WebSocketException):  # a handshake that is refused is an answer too
        async with asyncio.timeout(60), speaking(stage.node, path, token) as speaker:
            await _say(speaker, key)


def _name(stage: Stage, who: Somebody) -> str:
    return next(name for name, one in stage.people.items() if one is who)


async def _answer_by_socket(stage: Stage, who: Somebody, key: str) -> None:
    await _over(stage, f"{SENIOR}/bridges/s-{_name(stage, who)}/ws", who.token(Role.SENIOR), key)


async def _answer_by_bridge(stage: Stage, who: Somebody, key: str) -> None:
    await _over(stage, f"{OP}/backends/b-{_name(stage, who)}/ws", who.token(Role.OPERATOR), key)


async def _answer_by_mcp(stage: Stage, who: Somebody, key: str) -> None:
    await _tool(stage.node, who, "answer_question", {"key": key, "value": APPROVE})


async def _answer_at_own_client(stage: Stage, who: Somebody, key: str) -> None:
    """The person at its client is asked, and opens the address that comes with a question too rich for a form."""

    async def at_the_client(context: Any, params: Any) -> types.ElicitResult:
        del context
        if params.mode == "url":
            await _use(stage, params.url)
            return types.ElicitResult(action="accept")
        return types.ElicitResult(action="accept", content={"decision": "approve"})

    await _tool(stage.node, who, "review", {"key": key}, elicitation_callback=at_the_client)


async def _answer_by_own_link(stage: Stage, who: Somebody, key: str) -> None:
    """A link that it makes, for whomever it can."""
    client = stage.node.as_(who.token(Role.SENIOR))
    for person in ("person", "asker", "agent", "both"):
        body = {"person": person, "ttl": 600}
        made = await client.post(f"{SENIOR}/questions/{key}/links", json=body)
        if made.status_code == 201:
            await _use(stage, made.json()["url"])
            return


async def _answer_by_link_to_it(stage: Stage, who: Somebody, key: str) -> None:
    """A link that another senior makes for it."""
    client = stage.node.as_(stage.people["agent"].token(Role.SENIOR))
    made = await client.post(f"{SENIOR}/questions/{key}/links", json={"person": _name(stage, who), "ttl": 600})
    if made.status_code == 201:
        await _use(stage, made.json()["url"])


async def _answer_by_link_in_chat(stage: Stage, who: Somebody, key: str) -> None:
    """The link in a message that it receives about the question."""
    if (name := _name(stage, who)) in stage.chats:
        await _use(stage, await stage.link_in_chat(name, key))


async def _use(stage: Stage, url: str) -> None:
    body = {"link": url.partition("#")[2], "value": APPROVE}
    reply = await stage.node.as_(None).post("/v1/links/answer", json=body)
    assert reply.status_code == 200, reply.text


async def _answer_by_hook(stage: Stage, who: Somebody, key: str) -> None:
    """The events that it can send about a tool use; a hook asks, and no event of it answers."""
    client = stage.node.as_(who.key or who.handle)
    for name in ("PreToolUse", "PermissionRequest"):
        event = {
            "hook_event_name": name,
            "session_id": "s",
            "tool_use_id": f"t{stage.count}",
            "tool_name": ACTION["name"],
            "tool_input": ACTION["arguments"],
            "decision": "approve",
            "answers": {key: APPROVE},
        }
        await client.post(HOOK, json=event, params={"hold": 0})


async def _answer_by_aap(stage: Stage, who: Somebody, key: str) -> None:
    """All that it can send about the request; a program that asks for approval gives none."""
    client, path = stage.node.as_(who.key or who.handle), f"{AAP}/{uuid_of(key)}"
    await client.post(AAP, **_submission(stage))
    await client.get(path)
    await client.post(f"{path}/consume", json={"status": "approved", **APPROVE}, headers={"Idempotency-Key": "c"})
    await client.post(f"{path}/outcome", json={"status": "succeeded"})


Way = Callable[[Stage, Somebody, str], Awaitable[None]]
NOBODY: frozenset[str] = frozenset()
SENIORS = frozenset({"agent", "person", "both"})

ANSWERS: dict[str, tuple[set[str], Way, frozenset[str]]] = {
    "rest": ({"rest"}, _answer_by_rest, SENIORS),
    "senior's socket": ({"ws"}, _answer_by_socket, SENIORS),
    # An operator answers what is addressed to its own bridge; here that is nobody's.
    "bridge's socket": ({"ws"}, _answer_by_bridge, NOBODY),
    # What a person decides is not decided by a model that has the person's key.
    "mcp": ({"mcp"}, _answer_by_mcp, SENIORS - {"person"}),
    # A form is the door itself; what is too rich for one is an address, by which a person answers.
    "person at an mcp client": ({"mcp", "link"}, _answer_at_own_client, frozenset({"person"})),
    "own link": ({"link"}, _answer_by_own_link, SENIORS),
    "link to it": ({"link"}, _answer_by_link_to_it, frozenset({"person"})),
    "link in a chat message": ({"link"}, _answer_by_link_in_chat, frozenset({"person"})),
    "hook": ({"hook"}, _answer_by_hook, NOBODY),
    "approval provider": (set(), _answer_by_aap, NOBODY),
}
"""The doors that each way is, how it goes, and for whom it settles the question."""


@pytest.mark.parametrize("way", ANSWERS)
async def test_who_may_answer(stage: Stage, way: str) -> None:
    """Only those whom the table names settle it; for everybody else it stays open. The asker is in no cell."""
    doors, answer, allowed = ANSWERS[way]
    assert not allowed & {"asker", "below", "foreign", "operator"}
    found: dict[str, set[str]] = {}
    for asking in ASKING:
        found[asking] = set()
        for name, who in stage.people.items():
            question = await asked(stage, asking)
            await answer(stage, who, question["key"])
            if await stage.status(question["key"]) == "answered":
                found[asking].add(name)
                row = (await stage.asker.get(f"{OP}/questions/{question['key']}", params={"hold": 0})).json()
                assert row["answered_through"]["door"] in doors
    assert found == {asking: set(allowed) for asking in ASKING}


def test_every_door_that_answers_is_walked() -> None:
    """A new door is added to the table."""
    assert {door for doors, *_ in ANSWERS.values() for door in doors} == {str(door) for door in ANSWERING}


async def test_a_bridge_answers_what_is_addressed_to_it_unless_it_asked(stage: Stage) -> None:
    """Its owner does; the asker's own bridge, and one below the asker under its id, do not."""
    for name, answered in (("operator", True), ("both", True), ("asker", False), ("below", False)):
        bridge = "b-asker" if name == "below" else f"b-{name}"
        question = await asked(stage, bridge=bridge)
        token = stage.people[name].token(Role.OPERATOR)
        await _over(stage, f"{OP}/backends/{bridge}/ws", token, question["key"])
        assert (await stage.status(question["key"]) == "answered") is answered, name


async def test_who_asked_gets_no_answer_link_in_a_chat_message(stage: Stage) -> None:
    """A person who may get links has one for the question of another, and none for what they or theirs have asked."""
    stage.people["pat"] = pat = await _party(stage.node, "pat", *Role, person=True)
    await stage.chat_with("pat")
    worker = stage.node.as_((await _below(stage.node, pat)).handle)
    own = await stage.node.as_(pat.token(Role.OPERATOR)).post(f"{OP}/questions", json={"question": "?"})
    below = await worker.post(f"{WORK}/questions", json={"question": "?"})
    for reply in (own, below):
        key = reply.json()["key"]
        for name, linked in (("pat", False), ("person", True)):
            assert ("#al_" in await stage.link_in_chat(name, key)) is linked
    other = (await asked(stage))["key"]
    await _answer_by_link_in_chat(stage, pat, other)
    assert await stage.status(other) == "answered"


async def _consume(stage: Stage, who: Somebody, question: dict[str, Any]) -> None:
    headers = {"Idempotency-Key": f"c{stage.count}"}
    body = {"action_digest": question["action_digest"]}
    for credential in [*who.tokens.values(), *([who.handle] if who.handle else [])]:
        for role in (OP, WORK):
            path = f"{role}/questions/{question['key']}/consume"
            await stage.node.as_(credential).post(path, json=body, headers=headers)
    await stage.node.as_(who.key).post(f"{AAP}/{uuid_of(question['key'])}/consume", headers=headers)


async def _withdraw(stage: Stage, who: Somebody, question: dict[str, Any]) -> None:
    for credential in [*who.tokens.values(), *([who.handle] if who.handle else [])]:
        await stage.node.as_(credential).post(f"{OP}/questions/{question['key']}/withdraw", json={})
    await _tool(stage.node, who, "withdraw_question", {"key": question["key"]})
    await stage.node.as_(who.key).delete(f"{AAP}/{uuid_of(question['key'])}")


@pytest.mark.parametrize("asking", ASKING)
async def test_who_may_consume(stage: Stage, asking: str) -> None:
    """The asker's key, and the worker that asked, once it is approved; neither who approved it nor anybody else."""
    found: set[str] = set()
    for name, who in stage.people.items():
        question = await asked(stage, asking)
        await _consume(stage, who, question)
        await _answer_by_rest(stage, stage.people["agent"], question["key"])
        row = (await stage.asker.get(f"{OP}/questions/{question['key']}", params={"hold": 0})).json()
        assert (row["status"], row.get("consumed_at")) == ("answered", None), name
        await _consume(stage, who, question)
        row = (await stage.asker.get(f"{OP}/questions/{question['key']}", params={"hold": 0})).json()
        if row.get("consumed_at") is not None:
            found.add(name)
    assert found == {"asker"} | ({"below"} if asking == "worker" else NOBODY)


@pytest.mark.parametrize("asking", ASKING)
async def test_who_may_withdraw(stage: Stage, asking: str) -> None:
    """Operators of the namespace, who may cancel its task, and the worker whose task it is; no senior."""
    found: set[str] = set()
    for name, who in stage.people.items():
        question = await asked(stage, asking)
        await _withdraw(stage, who, question)
        if await stage.status(question["key"]) == "withdrawn":
            found.add(name)
    assert found == {"asker", "operator", "both"} | ({"below"} if asking == "worker" else NOBODY)
