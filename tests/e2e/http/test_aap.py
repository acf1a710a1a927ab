"""The approval provider, by the unmodified client of the Agent Approval Protocol and its gate."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from agentapprovalprotocol import Allow, AsyncClient, Call, ConflictError, Deny, NotFound, Pending, Request
from agentapprovalprotocol._gate import AsyncGate
from agentapprovalprotocol.pydantic_ai import ApprovalCapability
from pydantic_ai import Agent
from pydantic_ai.models.test import TestModel

from app.domain.access import Role
from app.http.door_settings import AapSettings, DoorSettings
from app.http.settings import HttpSettings
from tests.support.ports import NO_AUTHORITIES
from tests.support.serving import ROOT_KEY, Node, served
from tests.support.waiting import eventually

REQUESTS = "/aap/v1/requests"
OPEN = HttpSettings(doors=DoorSettings(aap=AapSettings(enabled=True)))
SUBMISSION: dict[str, Any] = {
    "tool": "refund",
    "server": "payments",
    "arguments": {"amount": 4900, "rate": 1.50, "to": [None, {"a": "ä"}]},
    "timeout": "10m",
    "agent_reasoning": "Charged twice.",
    "context": {"run": "r-1", "nothing": None, "resume": {"framework": "x"}},
}
APPROVE, REJECT = {"decision": "approve", "message": "Once."}, {"decision": "reject", "message": "Ask finance."}
DECIDED = {"wait": 30}


@dataclass(slots=True)
class Provider:
    """A node with the key of an agent, and a senior who answers."""

    node: Node
    key: str
    senior: httpx.AsyncClient

    def client(self, key: str | None = None) -> AsyncClient:
        """The protocol's client."""
        http = httpx.AsyncClient(timeout=60, trust_env=False, verify=NO_AUTHORITIES)
        self.node.clients.append(http)
        return AsyncClient(f"{self.node.url}/aap", key or self.key, http=http)

    async def open(self) -> list[dict[str, Any]]:
        """The open questions."""
        return (await self.senior.get("/v1/senior/questions", params={"status": "open"})).json()["items"]

    async def answer(self, value: Any, status: int = 200) -> None:
        """Decide on the one request that is open, once it is."""
        await eventually(self.open, awaited="a question to be open")
        (question,) = await self.open()
        reply = await self.senior.post(f"/v1/senior/questions/{question['key']}/answer", json={"value": value})
        assert reply.status_code == status, reply.text

    async def approved(self, key: str = "k") -> Request:
        """A request that was approved."""
        created = await self.client().create(SUBMISSION, key)
        await self.answer(APPROVE)
        return await self.client().get(created.id)


async def provider_on(node: Node) -> Provider:
    """A provider with an agent's key of the role operator alone."""
    senior = await node.attach(Role.SENIOR, name="anna", key=await node.key("anna", Role.SENIOR))
    return Provider(node, await node.key("agent", Role.OPERATOR), node.as_(senior))


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    """A node whose approval provider is switched on."""
    async with served(OPEN) as node:
        yield await provider_on(node)


def call(key: str = "c") -> Call:
    """A call of a tool."""
    return Call(key=key, tool="refund", arguments={"amount": 4900}, reasoning="Charged twice.")


async def conflict(waiting: Any) -> str:
    """The code of the conflict that a call ends with."""
    with pytest.raises(ConflictError) as refused:
        await waiting
    return refused.value.code


async def test_a_call_runs_once_when_it_is_approved(provider: Provider) -> None:
    """The gate waits, allows it once, and reports what came of it; seen again the call is denied."""
    gate = AsyncGate(provider.client())
    checking = asyncio.create_task(gate.check(call()))
    await provider.answer(APPROVE)
    verdict = await checking
    assert isinstance(verdict, Allow)
    assert await verdict.report("succeeded", "done")
    done = await provider.client().get(verdict.request_id)
    assert done.consumption is not None
    assert done.consumption.outcome is not None
    assert (done.consumption.outcome.status, done.consumption.outcome.note) == ("succeeded", "done")
    again = await gate.check(call())
    assert isinstance(again, Deny)
    assert again.status == "consumed"


async def test_a_denial_carries_the_words_of_who_denied(provider: Provider) -> None:
    """And an edited call is no answer to it: the protocol has none."""
    checking = asyncio.create_task(AsyncGate(provider.client()).check(call()))
    edited = {"decision": "edit", "edited_action": {"name": "refund", "arguments": {"amount": 1}}}
    await provider.answer(edited, status=422)
    await provider.answer(REJECT)
    verdict = await checking
    assert isinstance(verdict, Deny)
    assert verdict.status == "denied"
    assert "Ask finance." in verdict.reason


async def test_what_was_submitted_comes_back_unchanged(provider: Provider) -> None:
    """With numbers, nulls and spelling as they were, also once it is decided; and people see all of it."""
    client = provider.client()
    created = await client.create(SUBMISSION, "k")
    reply = await provider.node.as_(provider.key).get(f"{REQUESTS}/{created.id}")
    assert {name: reply.json()[name] for name in SUBMISSION} == SUBMISSION
    (question,) = await provider.open()
    assert question["action"] == {name: SUBMISSION[name] for name in ("server", "arguments")} | {"name": "refund"}
    assert question["question"]["agent_reasoning"] == "Charged twice."
    assert question["question"]["context"] == SUBMISSION["context"]
    task = (await provider.senior.get(f"/v1/operator/tasks/{question['task_id']}")).json()
    assert task["labels"]["harness"] == "aap"
    await provider.answer(APPROVE)
    decided = await client.get(created.id)
    assert decided.decision is not None
    assert decided.decision.expires_at is not None
    assert (decided.status, decided.decision.note) == ("approved", "Once.")
    written = b'{"tool":"t","arguments":{"rate":1.50},"timeout":"1m"}'
    http = provider.node.as_(provider.key)
    reply = await http.post(REQUESTS, content=written, headers={"Idempotency-Key": "written"})
    assert b'"rate":1.50' in reply.content


async def test_a_repeated_submission_finds_the_request(provider: Provider) -> None:
    """200 and its present state in whatever order its members come; with other content there is a conflict."""
    http, headers = provider.node.as_(provider.key), {"Idempotency-Key": "k"}
    first = await http.post(REQUESTS, json=SUBMISSION, headers=headers)
    again = await http.post(REQUESTS, json=dict(reversed(SUBMISSION.items())), headers=headers)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    await provider.answer(APPROVE)
    assert (await http.post(REQUESTS, json=SUBMISSION, headers=headers)).json()["status"] == "approved"
    changed = provider.client().create({**SUBMISSION, "arguments": {"amount": 1}}, "k")
    assert await conflict(changed) == "idempotency_conflict"


async def test_one_of_two_consumers_wins(provider: Provider) -> None:
    """The other is told that it was consumed; the winner's repeated call gets its reply again."""
    client, request = provider.client(), await provider.approved()

    async def consume(key: str) -> Any:
        try:
            return await client.consume(request.id, key)
        except ConflictError as refused:
            return refused.code

    replies = dict(zip("ab", await asyncio.gather(consume("a"), consume("b")), strict=True))
    (winner,) = [key for key, reply in replies.items() if isinstance(reply, Request)]
    assert [reply for key, reply in replies.items() if key != winner] == ["already_consumed"]
    assert await consume(winner) == replies[winner]


async def test_outcomes_follow_a_consumption_and_stay(provider: Provider) -> None:
    """The first one stands, and repeating it changes nothing."""
    client, request = provider.client(), await provider.approved()
    assert await conflict(client.report_outcome(request.id, "failed")) == "not_consumed"
    await client.consume(request.id, "a")
    reported = await client.report_outcome(request.id, "failed", "no money")
    assert await client.report_outcome(request.id, "failed", "no money") == reported
    assert await conflict(client.report_outcome(request.id, "succeeded")) == "outcome_conflict"


async def test_a_withdrawn_request_stays_withdrawn(provider: Provider) -> None:
    """It ends a wait, cannot be consumed, and can be withdrawn again; one that was decided cannot."""
    client = provider.client()
    request = await client.create(SUBMISSION, "k")
    waiting = asyncio.create_task(client.get(request.id, **DECIDED))
    await eventually(lambda: provider.node.parked)
    withdrawn = await client.cancel(request.id)
    assert withdrawn.status == (await waiting).status == "cancelled"
    assert await client.cancel(request.id) == withdrawn
    assert await conflict(client.consume(request.id, "a")) == "not_approved"
    assert await conflict(client.cancel((await provider.approved("other")).id)) == "already_terminal"


async def test_silence_ends_a_request_without_approval(provider: Provider) -> None:
    """At its deadline it is expired, which ends a wait."""
    client = provider.client()
    request = await client.create({**SUBMISSION, "timeout": "3s"}, "k")
    expired = await client.get(request.id, **DECIDED)
    assert (expired.status, expired.consumption) == ("expired", None)
    assert await conflict(client.consume(request.id, "a")) == "not_approved"
    assert await conflict(client.cancel(request.id)) == "already_terminal"


async def test_a_run_may_pause_and_ask_again(provider: Provider) -> None:
    """In its asynchronous mode the gate says that it waits, and finds the decision when it comes back."""
    gate = AsyncGate(provider.client(), mode="async")
    first, second = await gate.check(call()), await gate.check(call())
    assert isinstance(first, Pending)
    assert first == second
    await provider.answer(APPROVE)
    assert isinstance(await gate.check(call()), Allow)


async def test_a_pydantic_ai_agent_asks_before_its_tools(provider: Provider) -> None:
    """The library's capability with a scripted model: one call runs, the other is refused with the reason."""
    ran: list[str] = []
    for decision, told in ((APPROVE, "deployed to a"), (REJECT, "Ask finance.")):
        approvals = ApprovalCapability(gate=AsyncGate(provider.client()))
        agent = Agent(TestModel(), capabilities=[approvals])

        @agent.tool_plain
        def deploy(region: str) -> str:
            ran.append(region)
            return f"deployed to {region}"

        running = asyncio.create_task(agent.run("Deploy."))
        await provider.answer(decision)
        assert told in str((await running).all_messages())
    assert ran == ["a"]


async def test_a_request_is_there_for_the_key_that_asked(provider: Provider) -> None:
    """For another key of the namespace it never was, as a question that no request asked is none."""
    request = await provider.client().create(SUBMISSION, "k")
    other = provider.client(await provider.node.key("other", Role.OPERATOR))
    operator = await provider.node.operator(key=provider.key)
    asked = await operator.post(
        "/v1/operator/questions", json={"question": "?", "action": {"name": "n", "arguments": {}}}
    )
    own = asked.json()["key"]
    for attempt in (
        other.get(request.id),
        other.cancel(request.id),
        other.consume(request.id, "a"),
        other.report_outcome(request.id, "failed"),
        provider.client().get("00000000-0000-7000-8000-000000000000"),
        provider.client().get(own),
    ):
        with pytest.raises(NotFound):
            await attempt
    assert (await other.create(SUBMISSION, "k")).id != request.id


BAD: dict[str, tuple[dict[str, Any], int, str]] = {
    "no key": ({"headers": {}}, 400, "invalid_request"),
    "a long key": ({"headers": {"Idempotency-Key": "k" * 256}}, 400, "invalid_request"),
    "no JSON": ({"content": b"{"}, 400, "malformed_body"),
    "another type": (
        {"headers": {"Idempotency-Key": "k", "Content-Type": "text/plain"}},
        415,
        "unsupported_media_type",
    ),
    "no object": ({"json": []}, 400, "invalid_body"),
    "an unknown member": ({"json": {**SUBMISSION, "id": "x"}}, 400, "invalid_body"),
    "a null": ({"json": {**SUBMISSION, "context": None}}, 400, "invalid_body"),
    "no tool": ({"json": {**SUBMISSION, "tool": ""}}, 400, "invalid_body"),
    "arguments in a list": ({"json": {**SUBMISSION, "arguments": [1]}}, 400, "invalid_body"),
    "a timeout of nothing": ({"json": {**SUBMISSION, "timeout": "0s"}}, 400, "invalid_body"),
    "a timeout of days": ({"json": {**SUBMISSION, "timeout": "1d"}}, 400, "invalid_body"),
    "a name that nobody sees": ({"json": {**SUBMISSION, "tool": "a\u202eb"}}, 400, "invalid_name"),
    "a number beyond doubles": (
        {"content": b'{"tool":"t","arguments":{"n":1e400},"timeout":"1m"}'},
        400,
        "invalid_request",
    ),
    "too much": ({"json": {**SUBMISSION, "agent_reasoning": "x" * 70_000}}, 413, "payload_too_large"),
    "an unknown parameter": ({"params": {"hold": "1s"}}, 400, "invalid_request"),
}


async def test_bad_input_changes_nothing(provider: Provider) -> None:
    """It is refused in the protocol's shape, which names the exchange."""
    http = provider.node.as_(provider.key)
    for name, (given, status, code) in BAD.items():
        sent = {"headers": {"Idempotency-Key": "k"}, "json": SUBMISSION, **given}
        if "content" in given:
            del sent["json"]
        reply = await http.post(REQUESTS, **sent)
        error = reply.json()["error"]
        assert (reply.status_code, error["code"], error["type"]) == (status, code, "invalid_request"), name
        assert error["request_id"] == reply.headers["X-Request-ID"], name
        assert error["message"], name
    assert await provider.open() == []
    request = await provider.client().create({**SUBMISSION, "timeout": "9" * 18 + "h"}, "k")
    assert request.deadline_at.year > 2030
    bad = [await http.get(f"{REQUESTS}/{request.id}", params={"wait": wait}) for wait in ("0s", "5", "1d", "-1s")]
    assert {reply.status_code for reply in bad} == {400}


async def test_only_a_key_that_may_ask_asks(provider: Provider) -> None:
    """No credential, one of another kind, another role's key and the root key, which makes instances, are refused."""
    node = provider.node
    session = await node.attach(key=provider.key)
    for credential, status, kind in (
        (None, 401, "authentication"),
        ("shk_" + "x" * 40, 401, "authentication"),
        (session, 401, "authentication"),
        (await node.key("watcher", Role.OBSERVER), 403, "authorization"),
        (ROOT_KEY, 403, "authorization"),
    ):
        reply = await node.as_(credential).post(REQUESTS, json=SUBMISSION, headers={"Idempotency-Key": "k"})
        assert (reply.status_code, reply.json()["error"]["type"]) == (status, kind)
    assert await provider.open() == []


async def test_the_door_is_closed_unless_it_is_opened() -> None:
    """There is nothing at its paths."""
    async with served() as node:
        reply = await node.as_(await node.key("agent")).post(REQUESTS, json=SUBMISSION)
        assert (reply.status_code, reply.json()["code"]) == (404, "not-found")


def test_a_server_without_the_door_imports_nothing_of_it() -> None:
    """One with it does."""
    imported = "any(name.split('.')[:2] == ['app', 'aap'] for name in sys.modules)"
    code = f"""
import sys
from app.bootstrap.server import door_routes
from app.http.door_settings import AapSettings, DoorSettings
door_routes(DoorSettings())
before = {imported}
door_routes(DoorSettings(aap=AapSettings(enabled=True)))
sys.exit(before or not {imported})
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
