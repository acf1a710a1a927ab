"""Instances of the Agent Approval Protocol: made by its own library, whose receiver verifies what it is sent."""

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import pytest
from agentapprovalprotocol import ProvisionError, Receiver, Request, WebhookVerificationFailed
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.engine.engine import Engine
from app.engine.ops.rules import EngineCfg
from app.engine.parts import default_parts
from app.spawning.outbound.settings import SenderSettings
from app.spawning.outbound.webhooks import WebhookSender
from app.state.tables import WEBHOOKS
from tests.e2e.http.test_aap import APPROVE, OPEN, REJECT, SUBMISSION, Provider, provider_on
from tests.support.ports import NO_AUTHORITIES
from tests.support.receiver import listening
from tests.support.serving import ROOT_KEY, Node, served
from tests.support.waiting import eventually

KEYS, HOOKS, INSTANCES = "/v1/admin/keys", "/v1/admin/webhooks", "/aap/v1/instances"


@dataclass(slots=True)
class Harness:
    """A harness with the library's receiver. `sent` has what came; for each of `failing` it replies so instead."""

    receiver: Receiver = field(init=False)
    url: str = ""
    resumed: list[Request] = field(default_factory=list[Request])
    sent: list[tuple[str, dict[str, Any]]] = field(default_factory=list[tuple[str, dict[str, Any]]])
    failing: list[int] = field(default_factory=list[int])

    def __post_init__(self) -> None:
        self.receiver = Receiver(resumers={"x": self.resume})

    def resume(self, handle: Any, request: Request) -> None:
        """Note the request that was decided."""
        del handle
        self.resumed.append(request)

    @property
    def notified(self) -> list[dict[str, Any]]:
        """The notifications."""
        return [body for _, body in self.sent if body["type"] == "request.resolved"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = HttpRequest(scope, receive)
        body = await request.body()
        self.sent.append((request.headers["webhook-id"], json.loads(body)))
        status, answer = await self.receiver.handle(dict(request.headers), body)
        if self.failing:
            status = self.failing.pop(0)
        await Response(answer, status_code=status)(scope, receive, send)


@dataclass(slots=True)
class Place:
    """A provider that may notify a harness."""

    provider: Provider
    harness: Harness

    @property
    def node(self) -> Node:
        """The provider's node."""
        return self.provider.node

    async def provision(self, token: str = ROOT_KEY, **more: Any) -> Any:
        """An instance, made by the library."""
        http = httpx.AsyncClient(timeout=60, trust_env=False, verify=NO_AUTHORITIES)
        self.node.clients.append(http)
        url = f"{self.node.url}/aap"
        asked = {"provider_url": url, "provisioner_token": token, "url": self.harness.url, **more}
        return await self.harness.receiver.provision(**asked, http=http)

    async def listed(self, path: str) -> list[dict[str, Any]]:
        """The keys or the webhooks that there are."""
        return (await self.node.as_(ROOT_KEY).get(path)).json()["items"]


@pytest.fixture
async def place(store_url: str) -> AsyncIterator[Place]:
    """A node on each store, whose settings allow the harness."""
    async with contextlib.AsyncExitStack() as stack:
        harness = Harness()
        harness.url = f"http://127.0.0.1:{await stack.enter_async_context(listening(harness))}/aap/events"
        sender = WebhookSender(SenderSettings(allow=(harness.url,), backoff_s=0.01))
        engine = Engine(replace(default_parts(EngineCfg(), store_url=store_url), webhook_sender=sender))
        node = await stack.enter_async_context(served(OPEN, engine=engine))
        yield Place(await provider_on(node), harness)


async def test_an_instance_is_told_of_its_requests_alone(place: Place) -> None:
    """Each decision wakes the run by a message that the library verifies; a repeated one has its id and body."""
    made = await place.provision(instance_name="laptop")
    client, others = place.provider.client(made.token), place.provider.client()
    place.harness.failing = [503]
    for key, value, status in (("a", APPROVE, "approved"), ("b", REJECT, "denied")):
        request = await client.create(SUBMISSION, key)
        await place.provider.answer(value)
        await eventually(lambda: any(one.id == request.id for one in place.harness.resumed))  # noqa: B023
        assert [one.status for one in place.harness.resumed if one.id == request.id][-1] == status
        await others.create(SUBMISSION, key)
        await place.provider.answer(value)
    withdrawn = await client.cancel((await client.create(SUBMISSION, "c")).id)
    await eventually(lambda: place.harness.resumed and place.harness.resumed[-1].id == withdrawn.id)

    first, again, *rest = place.harness.notified
    assert first == again
    requests = [body["request_id"] for body in (first, *rest)]
    assert requests == list(dict.fromkeys(one.id for one in place.harness.resumed))
    assert len({body["id"] for body in (first, *rest)}) == 3
    assert {body["instance_id"] for body in place.harness.notified} == {made.instance_id}
    assert all(name == body["id"] for name, body in place.harness.sent)
    decided = withdrawn.decision
    assert decided is not None
    assert rest[-1]["created_at"] == decided.decided_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def test_a_repeated_call_returns_the_instance(place: Place) -> None:
    """With its credential, and without another verification; with other content there is a conflict."""
    made = await place.provision()
    assert await place.provision() == made
    assert [body["type"] for _, body in place.harness.sent] == ["webhook.verification"]
    with pytest.raises(ProvisionError) as refused:
        await place.provision(instance_name="other")
    assert (refused.value.status, refused.value.code) == (409, "idempotency_conflict")
    [hook] = await place.listed(HOOKS)
    root = place.node.as_(ROOT_KEY)
    await root.delete(f"{KEYS}/{hook['instance']}")
    with pytest.raises(ProvisionError) as gone:
        await place.provision()
    assert (gone.value.status, gone.value.code) == (409, "instance_deleted")


async def test_nothing_is_made_for_a_receiver_that_is_not_verified(place: Place) -> None:
    """Whether it refuses the registration, fails, or has another secret; the same call succeeds once it is well."""
    keys = await place.listed(KEYS)
    place.harness.failing = [500, 204]
    for _ in range(2):
        with pytest.raises(WebhookVerificationFailed):
            await place.provision()
    registered, place.harness.receiver.registration_id = place.harness.receiver.registration_id, "another"
    delivery = {"type": "webhook", "url": place.harness.url, "registration_id": registered}
    body = {"delivery": {**delivery, "signing_secret": place.harness.receiver.secret}}
    reply = await place.node.as_(ROOT_KEY).post(INSTANCES, json=body, headers={"Idempotency-Key": "k"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (422, "webhook_verification_failed")
    assert await place.listed(HOOKS) == []
    assert await place.listed(KEYS) == keys
    place.harness.receiver.registration_id = registered
    await place.provision()


async def test_the_secret_is_kept_sealed_and_shown_to_nobody(place: Place) -> None:
    """The row has no part of it in clear, and what is listed names the instance's key alone."""
    made = await place.provision()
    [hook] = await place.listed(HOOKS)
    assert (hook["format"], hook["url"]) == ("aap", place.harness.url)
    assert made.secret not in json.dumps(hook)
    row = await place.node.engine.store.read(lambda state: WEBHOOKS.get(state.db, hook["id"]))
    assert row is not None
    assert row.sealed_secret is not None
    assert made.secret not in str(tuple(row))
    rotated = await place.node.as_(ROOT_KEY).post(f"{HOOKS}/{hook['id']}/rotate")
    assert (rotated.status_code, rotated.json()["code"]) == (422, "webhook-invalid")
    plain = await place.node.as_(ROOT_KEY).post(HOOKS, json={"url": place.harness.url, "format": "aap"})
    assert (plain.status_code, plain.json()["code"]) == (422, "webhook-invalid")


async def test_only_the_root_key_makes_instances(place: Place) -> None:
    """An agent's key does not, nor does an instance's; one without a receiver asks like any other."""
    root, once = place.node.as_(ROOT_KEY), {"Idempotency-Key": "k"}
    made = (await root.post(INSTANCES, json={}, headers=once)).json()
    assert set(made["instance"]) == {"id", "name"}
    token = made["credential"]["token"]
    assert (await place.provider.client(token).create(SUBMISSION, "k")).status == "pending"
    for credential, status in ((token, 403), (place.provider.key, 403), ("shk_" + "x" * 40, 401), (None, 401)):
        reply = await place.node.as_(credential).post(INSTANCES, json={}, headers=once)
        assert (reply.status_code, set(reply.json())) == (status, {"error"})
    whsec = "whsec_" + "A" * 43 + "="
    delivery: dict[str, Any] = {"type": "webhook", "url": place.harness.url, "signing_secret": whsec}
    delivery["registration_id"] = "8246931c-4ce0-4c15-a94a-e9c078ad06e2"
    bad: list[tuple[dict[str, Any], str]] = [
        ({"url": "http://127.0.0.1:1/"}, "invalid_webhook_url"),
        ({"url": "mailto:a@example.org"}, "invalid_webhook_url"),
        ({"type": "socket"}, "unsupported_delivery_type"),
        ({"signing_secret": "whsec_short"}, "invalid_body"),
        ({"signing_secret": "x" * 50}, "invalid_body"),
        ({"registration_id": "1"}, "invalid_body"),
        ({"more": 1}, "invalid_body"),
    ]
    for changed, code in bad:
        body = {"delivery": {**delivery, **changed}}
        reply = await root.post(INSTANCES, json=body, headers={"Idempotency-Key": "bad"})
        assert (reply.status_code, reply.json()["error"]["code"]) == (400, code)
        assert changed.get("signing_secret", whsec) not in reply.text
    taken = await root.post(INSTANCES, json={"instance_name": "agent"}, headers={"Idempotency-Key": "taken"})
    assert (taken.status_code, taken.json()["error"]["code"]) == (409, "name_taken")
    assert (await root.post(INSTANCES, json={})).status_code == 400
    assert place.harness.sent == []
    assert await place.listed(HOOKS) == []
    assert "instance" in {entry["name"].partition(" ")[0] for entry in await place.listed(KEYS)}


async def test_an_instance_that_was_revoked_is_told_nothing_more(place: Place) -> None:
    """What it asked stays open for people, and its receiver hears of no decision."""
    made = await place.provision()
    await place.provider.client(made.token).create(SUBMISSION, "k")
    [hook] = await place.listed(HOOKS)
    root = place.node.as_(ROOT_KEY)
    assert (await root.delete(f"{KEYS}/{hook['instance']}")).status_code == 204
    for question in await place.provider.open():
        answered = {"value": APPROVE}
        await place.provider.senior.post(f"/v1/senior/questions/{question['key']}/answer", json=answered)
    head = hook["cursor"]

    async def passed() -> bool:
        return (await root.get(f"{HOOKS}/{hook['id']}")).json()["cursor"] > head

    await eventually(passed)
    assert place.harness.notified == []
