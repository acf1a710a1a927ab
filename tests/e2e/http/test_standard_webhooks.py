"""Deliveries in the formats of standards, read by the libraries that others read them with."""

import base64
import contextlib
import dataclasses
from pathlib import Path
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks import Webhook, WebhookVerificationError

from app.domain.tokens import SigningKey
from app.engine.engine import Engine
from app.engine.ops.rules import EngineCfg
from app.engine.parts import default_parts
from app.engine.webhooks import ROTATION
from app.spawning.outbound.settings import SenderSettings
from app.spawning.outbound.webhooks import WebhookSender
from app.state.tables import WEBHOOKS
from tests.e2e.http.test_webhooks import HOOKS, hook, node_that_tells, tasks
from tests.support.receiver import Receiver, receiving
from tests.support.serving import ROOT_KEY, Node, served
from tests.support.waiting import eventually


def ids(receiver: Receiver) -> list[str]:
    """The ids of every request that came."""
    return [headers["webhook-id"] for headers, _ in receiver.sent]


def verified_by(secret: str, sent: tuple[dict[str, str], bytes]) -> bool:
    """Whether the library of Standard Webhooks takes a request as signed with this secret."""
    headers, body = sent
    try:
        Webhook(secret).verify(body, headers)
    except WebhookVerificationError:
        return False
    return True


async def test_each_event_arrives_by_standard_webhooks_and_keeps_its_id() -> None:
    """Retries and a replay have the event's id; a changed body or id is refused by the reader."""
    async with receiving() as receiver, node_that_tells(receiver) as node:
        operator, root = await node.operator(), node.as_(ROOT_KEY)
        made = await hook(node, receiver, events=["task_created"], format="standard")
        assert made["format"] == "standard"
        assert made["secret"].startswith("whsec_")
        receiver.replies = [500, 204, 503]
        started = await tasks(operator, 2)
        await eventually(lambda: len(receiver.bodies) == 2)

        assert [body["data"]["task_id"] for body in receiver.bodies] == started
        assert {body["type"] for body in receiver.bodies} == {"swarmhold.task_created"}
        first, second = [f"E-{body['data']['cursor']}" for body in receiver.bodies]
        assert ids(receiver) == [first, first, second, second]
        headers, body = receiver.sent[0]
        assert verified_by(made["secret"], (headers, body))
        assert not verified_by(made["secret"], (headers, body + b" "))
        assert not verified_by(made["secret"], ({**headers, "webhook-id": second}, body))

        await root.post(f"{HOOKS}/{made['id']}/replay", json={"after": 0})
        await eventually(lambda: len(receiver.bodies) == 4)
        assert ids(receiver)[4:] == [first, second]


async def test_a_cloud_event_is_read_as_one() -> None:
    """With the cursor as id, the server as source and the task as subject; its data is the event of the feed."""
    async with receiving() as receiver:
        sender = WebhookSender(SenderSettings(allow=(receiver.url,)), source="https://swarm.example")
        engine = Engine(dataclasses.replace(default_parts(EngineCfg()), webhook_sender=sender))
        async with served(engine=engine) as node:
            await hook(node, receiver, events=["task_created"], format="cloudevents")
            (task_id,) = await tasks(await node.operator(), 1)
            await eventually(lambda: len(receiver.bodies) == 1)

    headers, body = receiver.sent[0]
    event = from_http_event(HTTPMessage(headers=headers, body=body))
    data: Any = event.get_data()
    assert (event.get_type(), event.get_source()) == ("dev.swarmhold.task_created", "https://swarm.example")
    assert (event.get_subject(), data["task_id"]) == (task_id, task_id)
    assert event.get_id() == str(data["cursor"])
    assert headers["webhook-id"] == f"E-{data['cursor']}"


async def test_a_failed_batch_is_sent_again_as_it_was() -> None:
    """Events that came meanwhile follow in a delivery of their own, so that an id stands for one body."""
    async with receiving() as receiver, node_that_tells(receiver) as node:
        operator = await node.operator()
        receiver.replies = [500] * 1000
        await hook(node, receiver, events=["task_created"])
        await tasks(operator, 1)
        await eventually(lambda: receiver.tries > 1)
        await tasks(operator, 2)
        known = receiver.tries
        await eventually(lambda: receiver.tries > known + 1)
        receiver.replies = []
        await eventually(lambda: len(receiver.events) == 3)

    assert len(receiver.bodies[0]["events"]) == 1
    bodies: dict[str, set[bytes]] = {}
    for headers, body in receiver.sent:
        bodies.setdefault(headers["webhook-id"], set()).add(body)
    assert all(len(same) == 1 for same in bodies.values())


async def _delivered(node: Node, receiver: Receiver) -> tuple[dict[str, str], bytes]:
    """The request about a new task."""
    known = len(receiver.bodies)
    await tasks(await node.operator(), 1)
    await eventually(lambda: len(receiver.bodies) > known)
    return receiver.sent[-1]


async def test_both_secrets_sign_for_a_day_after_a_rotation() -> None:
    """A repeat with the key of the rotation rotates nothing; after the day the old secret is worth nothing."""
    async with receiving() as receiver, node_that_tells(receiver) as node:
        root = node.as_(ROOT_KEY)
        made = await hook(node, receiver, events=["task_created"])
        path, once = f"{HOOKS}/{made['id']}", {"Idempotency-Key": "one"}
        rotated = (await root.post(f"{path}/rotate", headers=once)).json()
        assert (await root.post(f"{path}/rotate", headers=once)).json()["secret"] == rotated["secret"]
        assert "secret" not in (await root.get(path)).json()
        old, new = made["secret"], rotated["secret"]
        assert old != new

        sent = await _delivered(node, receiver)
        assert [verified_by(secret, sent) for secret in (old, new)] == [True, True]

        before = node.engine.parts.clock() - ROTATION.total_seconds() * 1000
        await node.engine.with_state(
            "age", lambda state: WEBHOOKS.update(state.db, made["id"], rotated_at=round(before))
        )
        receiver.secret = new
        sent = await _delivered(node, receiver)
        assert [verified_by(secret, sent) for secret in (old, new)] == [False, True]


async def test_a_webhook_of_an_earlier_release_keeps_its_secret() -> None:
    """It signs with the bytes of the secret that its receiver has, until it is rotated."""
    async with receiving() as receiver, node_that_tells(receiver) as node:
        made = await hook(node, receiver, events=["task_created"])
        await node.engine.with_state("age", lambda state: WEBHOOKS.update(state.db, made["id"], secret_number=0))
        row = await node.engine.webhooks.read(ROOT_KEY, made["id"])
        (old,) = node.engine.webhooks.secrets(row, row.created_at)
        receiver.secret = None
        headers, body = await _delivered(node, receiver)

    assert old.startswith("whs_")
    Webhook(old.encode()).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(made["secret"]).verify(body, headers)


KEYS = "/.well-known/swarmhold-webhook-keys"


def verifying(keys: list[dict[str, str]], sent: tuple[dict[str, str], bytes]) -> list[str]:
    """The ids of the keys that verify a request, read as a receiver reads them."""
    headers, body = sent
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    found: list[str] = []
    for key in keys:
        public = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(key["x"] + "="))
        assert key["standard"] == f"whpk_{base64.b64encode(public.public_bytes_raw()).decode()}"
        for signature in headers["webhook-signature"].split(" "):
            version, text = signature.split(",")
            assert version == "v1a"
            with contextlib.suppress(InvalidSignature):
                public.verify(base64.b64decode(text), signed)
                found.append(key["kid"])
    return found


def documented() -> Any:
    """The function by which the documentation verifies."""
    text = Path("docs/webhooks.md").read_text()
    names: dict[str, Any] = {}
    exec(text.split("```python\n")[1].split("```")[0], names)  # noqa: S102 - the documentation's own text
    return names["verify"]


async def test_the_servers_key_signs_where_no_secret_is_shared() -> None:
    """Anybody reads the public keys; those that were read before a rotation still verify after it."""
    async with receiving() as receiver, node_that_tells(receiver) as node:
        root = node.as_(ROOT_KEY)
        reply = await root.post(HOOKS, json={"url": receiver.url, "sign": "asymmetric", "format": "standard"})
        made = reply.json()
        assert (reply.status_code, made["sign"], "secret" in made) == (201, "asymmetric", False)
        refused = await root.post(f"{HOOKS}/{made['id']}/rotate")
        assert (refused.status_code, refused.json()["code"]) == (422, "webhook-invalid")

        known: list[list[dict[str, str]]] = []
        for number in range(3):
            if number:
                ring = [SigningKey(f"new-{number}", bytes([number]) * 32), *node.engine.signer.ring]
                node.engine.signer.use_ring(ring[:3])
            keys = await node.as_(None).get(KEYS)
            assert keys.headers["cache-control"] == "public, max-age=300"
            known.append(keys.json()["keys"])
            sent = await _delivered(node, receiver)
            newest = [key["kid"] for key in known[-1]][:2]
            assert verifying(known[-1], sent) == newest
            documented()(known[-1], *sent)
        headers, body = sent
        assert verifying(known[1], sent) == ["new-1"]
        assert verifying(known[0], sent) == []
        assert verifying(known[2], (headers, body + b" ")) == []
        assert [len(keys) for keys in known] == [1, 2, 3]
        assert not [name for name in headers if name.startswith("swarmhold-")]
        secrets = [base64.b64encode(seed).decode() for _, seed in node.engine.signer.derived("webhook signatures")]
        assert not [secret for secret in secrets if secret in str(known)]
