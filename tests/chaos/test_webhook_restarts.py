import asyncio

import httpx
import pytest

from tests.conftest import StartServer
from tests.support.receiver import receiving
from tests.support.waiting import eventually

pytestmark = pytest.mark.chaos


async def test_no_event_is_lost_when_the_server_is_killed_while_it_delivers(start_server: StartServer) -> None:
    """A receiver that was away gets everything after two kills, in order, though perhaps something twice."""
    async with receiving() as receiver:
        allow = f"http://127.0.0.1:{receiver.port}/"
        settings = {"SWARMHOLD_WEBHOOKS__ALLOW": allow, "SWARMHOLD_WEBHOOKS__BACKOFF": "0.05"}
        server = await asyncio.to_thread(start_server, settings=settings)
        root = {"Authorization": f"Bearer {server.root_key()}"}
        async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=60) as client:
            hook = await client.post(
                "/v1/admin/webhooks", json={"url": receiver.url, "events": ["task_created"]}, headers=root
            )
            receiver.secret = hook.json()["secret"]
            attached = await client.post("/v1/operator/sessions", json={"operator_id": "o", "ttl": 600}, headers=root)
            operator = {"Authorization": f"Bearer {attached.json()['token']}"}
            ids: list[str] = []
            for round in range(3):
                receiver.replies = [500] * 3
                for number in range(10):
                    body = {"agent": "a", "initial_directive": f"{round}.{number}"}
                    ids.append((await client.post("/v1/operator/tasks", json=body, headers=operator)).json()["id"])
                if round < 2:
                    await asyncio.to_thread(server.restart)

            await eventually(lambda: {event["task_id"] for event in receiver.events} == set(ids))

    firsts = list(dict.fromkeys(event["task_id"] for event in receiver.events))
    assert firsts == ids
