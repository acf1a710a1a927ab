import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx

from app.domain.events import EventKind
from app.domain.numbers import ExactFloat
from app.engine.engine import Engine
from app.engine.ops.rules import EngineCfg
from app.engine.parts import default_parts
from app.spawning.outbound.settings import SenderSettings
from app.spawning.outbound.webhooks import WebhookSender
from app.state.tables import WEBHOOKS
from tests.support.receiver import Receiver, receiving
from tests.support.serving import ROOT_KEY, Node, served
from tests.support.waiting import eventually

HOOKS = "/v1/admin/webhooks"
TASKS = "/v1/operator/tasks"


@contextlib.asynccontextmanager
async def node_that_tells(receiver: Receiver, **settings: Any) -> AsyncIterator[Node]:
    """A node whose settings allow this receiver."""
    webhook_sender = WebhookSender(
        SenderSettings(allow=(f"http://127.0.0.1:{receiver.port}/hook",), backoff_s=0.01, **settings)
    )
    engine = Engine(replace(default_parts(EngineCfg()), webhook_sender=webhook_sender))
    async with served(engine=engine) as node:
        yield node


async def hook(node: Node, receiver: Receiver, **fields: Any) -> dict[str, Any]:
    """A webhook to this receiver, which checks its signatures from now on."""
    reply = await node.as_(ROOT_KEY).post(HOOKS, json={"url": receiver.url, **fields})
    assert reply.status_code == 201, reply.text
    receiver.secret = reply.json()["secret"]
    return reply.json()


async def tasks(operator: httpx.AsyncClient, count: int) -> list[str]:
    """The ids of new tasks."""
    replies = [await operator.post(TASKS, json={"agent": "a", "initial_directive": str(n)}) for n in range(count)]
    return [reply.json()["id"] for reply in replies]


async def test_a_webhook_has_a_name_that_people_can_see() -> None:
    """422, and nothing is made."""
    async with receiving() as receiver, node_that_tells(receiver) as node:
        for name in ("a\u202eb", " a", "\ufeff"):
            reply = await node.as_(ROOT_KEY).post(HOOKS, json={"url": receiver.url, "name": name})
            assert (reply.status_code, reply.json()["code"]) == (422, "invalid-name")
        assert (await node.as_(ROOT_KEY).get(HOOKS)).json()["items"] == []


async def test_events_arrive_signed_in_order_and_once() -> None:
    """A receiver that is well gets every chosen event one time, in the feed's order, signed with its own secret."""
    async with receiving() as receiver, node_that_tells(receiver) as node:
        operator = await node.operator()
        made = await hook(node, receiver, events=["task_created"], name="chat")
        ids = await tasks(operator, 5)

        await eventually(lambda: len(receiver.events) == 5)

        assert [event["task_id"] for event in receiver.events] == ids
        assert {event["kind"] for event in receiver.events} == {"task_created"}
        assert receiver.cursors == sorted(set(receiver.cursors))
        assert {body["webhook_id"] for body in receiver.bodies} == {made["id"]}
        seen = (await node.as_(ROOT_KEY).get(f"{HOOKS}/{made['id']}")).json()
        assert "secret" not in seen


async def test_a_failed_delivery_is_tried_again_in_order() -> None:
    """Errors delay what comes after them and lose nothing; the failure is shown until a delivery succeeds."""
    async with receiving() as receiver, node_that_tells(receiver) as node:
        operator = await node.operator()
        receiver.replies = [500, 503, 429, 302]
        made = await hook(node, receiver, events=["task_created"])
        ids = await tasks(operator, 3)

        await eventually(lambda: len(receiver.events) >= 3)

        assert [event["task_id"] for event in receiver.events] == ids
        assert receiver.tries >= 5

        async def recovered() -> bool:
            row = (await node.as_(ROOT_KEY).get(f"{HOOKS}/{made['id']}")).json()
            return row["delivered"] == 3 and row["failures"] == 0 and "last_error" not in row

        await eventually(recovered)


async def test_a_receiver_that_fails_for_too_long_is_paused_and_seen() -> None:
    """The pause is on the webhook, in the counts and in the feed; resuming delivers what was missed."""
    async with receiving() as receiver, node_that_tells(receiver, pause_after_s=0.05) as node:
        operator, root = await node.operator(), node.as_(ROOT_KEY)
        receiver.replies = [500] * 1000
        made = await hook(node, receiver, events=["task_created", "webhook_paused"])
        ids = await tasks(operator, 2)

        async def paused() -> bool:
            return (await root.get(f"{HOOKS}/{made['id']}")).json()["status"] == "paused"

        await eventually(paused)
        row = (await root.get(f"{HOOKS}/{made['id']}")).json()
        assert "500" in row["reason"]
        assert (await operator.get("/v1/operator/stats")).json()["webhooks"] == {"paused": 1}

        receiver.replies = []
        assert (await root.post(f"{HOOKS}/{made['id']}/resume")).json()["status"] == "active"
        await eventually(lambda: len(receiver.events) == 3)
        assert [event["task_id"] for event in receiver.events[:2]] == ids
        assert receiver.events[2]["kind"] == "webhook_paused"
        assert receiver.events[2]["webhook_id"] == made["id"]


async def test_a_receiver_that_is_gone_is_paused_at_once() -> None:
    """410 says that nobody wants the events."""
    async with receiving() as receiver, node_that_tells(receiver) as node:
        operator, root = await node.operator(), node.as_(ROOT_KEY)
        receiver.replies = [410]
        made = await hook(node, receiver)
        await tasks(operator, 1)

        async def paused() -> bool:
            return (await root.get(f"{HOOKS}/{made['id']}")).json()["status"] == "paused"

        await eventually(paused)
        assert receiver.tries == 1


async def test_a_replay_delivers_again_from_a_cursor() -> None:
    """What was delivered comes once more, in the same order."""
    async with receiving() as receiver, node_that_tells(receiver) as node:
        operator, root = await node.operator(), node.as_(ROOT_KEY)
        made = await hook(node, receiver, events=["task_created"])
        await tasks(operator, 4)
        await eventually(lambda: len(receiver.events) == 4)
        first = receiver.cursors

        reply = await root.post(f"{HOOKS}/{made['id']}/replay", json={"after": first[1]})
        assert reply.status_code == 200
        await eventually(lambda: len(receiver.events) == 6)
        assert receiver.cursors == first + first[2:]

        future = await root.post(f"{HOOKS}/{made['id']}/replay", json={"after": 2**53 - 1})
        assert (future.status_code, future.json()["code"]) == (400, "invalid-request")


async def test_a_webhook_that_is_ahead_of_the_feed_goes_on_from_its_end() -> None:
    """As after an older copy was put back: it is not left in silence, and says why."""
    async with receiving() as receiver, node_that_tells(receiver) as node:
        operator = await node.operator()
        made = await hook(node, receiver, events=["task_created"])
        await node.as_(ROOT_KEY).post(f"{HOOKS}/{made['id']}/pause")
        ahead = 2**53 - 1
        await node.engine.store.transact("ahead", lambda state: WEBHOOKS.update(state.db, made["id"], cursor=ahead))
        await node.as_(ROOT_KEY).post(f"{HOOKS}/{made['id']}/resume")

        async def rewound() -> bool:
            seen = (await node.as_(ROOT_KEY).get(f"{HOOKS}/{made['id']}")).json()
            return seen["cursor"] < ahead and "ahead of the feed" in seen["last_error"]

        await eventually(rewound)
        (task_id,) = await tasks(operator, 1)
        await eventually(lambda: [event["task_id"] for event in receiver.events] == [task_id])


async def test_a_pause_holds_events_back_and_keeps_the_place() -> None:
    """Between pause and resume nothing is sent; then everything is."""
    async with receiving() as receiver, node_that_tells(receiver) as node:
        operator, root = await node.operator(), node.as_(ROOT_KEY)
        made = await hook(node, receiver, events=["task_created"])
        await root.post(f"{HOOKS}/{made['id']}/pause")
        ids = await tasks(operator, 2)
        assert receiver.tries == 0
        await root.post(f"{HOOKS}/{made['id']}/resume")

        await eventually(lambda: len(receiver.events) == 2)
        assert [event["task_id"] for event in receiver.events] == ids


async def test_only_the_root_key_manages_webhooks() -> None:
    """Neither tokens nor other keys get in, and nobody gets a URL in that the settings do not allow."""
    async with receiving() as receiver, node_that_tells(receiver) as node:
        root = node.as_(ROOT_KEY)
        body = {"url": receiver.url}
        key = (await root.post("/v1/admin/keys", json={"name": "k", "roles": ["operator", "senior"]})).json()["key"]
        assert (await node.as_(key).post(HOOKS, json=body)).status_code == 403
        assert (await node.as_(await node.attach()).post(HOOKS, json=body)).status_code == 401
        assert (await node.as_(None).get(HOOKS)).status_code == 401

        for url in (
            f"http://127.0.0.1:{receiver.port}/other",
            f"http://127.0.0.1:{receiver.port + 1}/hook",
            "http://169.254.169.254/latest",
            f"http://127.0.0.1:{receiver.port}/hook/../admin",
            "file:///etc/passwd",
        ):
            refused = await root.post(HOOKS, json={"url": url})
            assert (refused.status_code, refused.json()["code"]) == (400, "invalid-request"), url
        assert (await root.post(HOOKS, json={"url": receiver.url, "events": ["nonsense"]})).status_code == 400
        assert (await root.get(f"{HOOKS}/H-none")).status_code == 404


async def test_making_one_twice_with_one_key_makes_one() -> None:
    """The repeat shows the same webhook with a secret that works."""
    async with receiving() as receiver, node_that_tells(receiver) as node:
        root, headers = node.as_(ROOT_KEY), {"Idempotency-Key": "one"}
        first = (await root.post(HOOKS, json={"url": receiver.url}, headers=headers)).json()
        again = (await root.post(HOOKS, json={"url": receiver.url}, headers=headers)).json()

        assert again == first
        assert len((await root.get(HOOKS)).json()["items"]) == 1


async def test_a_deleted_webhook_is_gone() -> None:
    """Nothing is sent to it any more."""
    async with receiving() as receiver, node_that_tells(receiver) as node:
        operator, root = await node.operator(), node.as_(ROOT_KEY)
        gone = await hook(node, receiver, events=["task_created"])
        await root.delete(f"{HOOKS}/{gone['id']}")
        kept = await hook(node, receiver, events=["task_created"])
        await tasks(operator, 1)

        await eventually(lambda: len(receiver.bodies) == 1)
        assert receiver.bodies[0]["webhook_id"] == kept["id"]
        assert (await root.delete(f"{HOOKS}/{gone['id']}")).status_code == 404


async def test_a_server_without_the_setting_refuses_all() -> None:
    """No URL is allowed unless the settings say so."""
    async with served() as node:
        refused = await node.as_(ROOT_KEY).post(HOOKS, json={"url": "http://127.0.0.1/hook"})

        assert refused.status_code == 400
        assert "webhooks.allow" in refused.json()["detail"]


async def test_numbers_of_events_keep_their_digits() -> None:
    """In what a receiver gets, and in the stream of events."""
    number = 20000000000000000001
    async with receiving() as receiver, node_that_tells(receiver) as node:
        await hook(node, receiver, events=["worker_output"])
        await node.engine.with_state(
            "emit", lambda state: state.emit(EventKind.WORKER_OUTPUT, namespace=1, n=[number, ExactFloat("1.10")])
        )
        await eventually(lambda: len(receiver.texts) == 1)

        operator = await node.operator()
        async with operator.stream("GET", "/v1/operator/events?after=0&types=worker_output") as stream:
            line = await anext(line async for line in stream.aiter_lines() if line.startswith("data: "))
        for text in (receiver.texts[0].decode(), line):
            assert f'"n":[{number},1.10]' in text
