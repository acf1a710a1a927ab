"""Messages by Apprise: its own services reach what the settings allow, and nothing else."""

import contextlib
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from app.engine.engine import Engine
from app.engine.ops.rules import EngineCfg
from app.engine.parts import default_parts
from app.spawning.outbound.settings import SenderSettings
from app.spawning.outbound.webhooks import WebhookSender
from tests.e2e.http.test_chat_webhooks import answer, ask
from tests.e2e.http.test_webhooks import HOOKS
from tests.support.receiver import receiving
from tests.support.serving import ROOT_KEY, Node, served
from tests.support.waiting import eventually


@contextlib.asynccontextmanager
async def notifying(*allow: str) -> AsyncIterator[Node]:
    """A node that may reach these."""
    sender = WebhookSender(SenderSettings(allow=allow, backoff_s=0.01))
    engine = Engine(replace(default_parts(EngineCfg()), webhook_sender=sender))
    async with served(engine=engine) as node:
        yield node


async def made(node: Node, url: str) -> Any:
    """The reply to a request for a webhook."""
    return await node.as_(ROOT_KEY).post(HOOKS, json={"url": url, "format": "apprise", "content": "full"})


async def test_a_service_of_apprise_gets_the_message() -> None:
    """With the link; the URL, whose parts are secrets of the service, is shown nowhere."""
    async with receiving() as receiver, notifying(f"http://127.0.0.1:{receiver.port}") as node:
        operator = await node.operator()
        reply = await made(node, f"json://user:pass@127.0.0.1:{receiver.port}/hook")
        assert (reply.status_code, reply.json()["url"], "secret" in reply.json()) == (201, "json://…", False)
        asked = await ask(operator, "Ship <it> & *now* {{link}}?")
        await eventually(lambda: len(receiver.bodies) == 1)
        await answer(node, asked["key"])
        await eventually(lambda: len(receiver.bodies) == 2)
        audit = (await node.as_(ROOT_KEY).get("/v1/admin/audit")).text

    first, second = receiver.bodies
    assert first["title"] == "ask asks"
    assert first["message"].startswith("Ship <it> & *now* {{link}}?\n")
    assert f"/console#/inbox/{asked['key']}" in first["message"]
    assert second["title"] == "Answered by sam"
    assert "user:pass" not in audit


async def test_only_allowed_hosts_are_reached() -> None:
    """Another port of an allowed host, a service whose host is not allowed, and one that a redirect leads to."""
    async with receiving() as receiver, receiving() as other, notifying(f"http://127.0.0.1:{receiver.port}/") as node:
        operator, root = await node.operator(), node.as_(ROOT_KEY)
        receiver.replies, receiver.headers = [302] * 1000, {"location": other.url}
        urls = {
            f"127.0.0.1:{other.port}": f"json://127.0.0.1:{other.port}/hook",
            "api.telegram.org:443": "tgram://123456789:AAbbccddeeffgghhiijjkkllmmnnooppqq1/12345",
            "could not send it": f"json://127.0.0.1:{receiver.port}/hook",
        }
        ids = [(await made(node, url)).json()["id"] for url in urls.values()]
        await ask(operator)
        for id, said in zip(ids, urls, strict=True):

            async def failed(id: str = id, said: str = said) -> bool:
                return said in (await root.get(f"{HOOKS}/{id}")).json().get("last_error", "")

            await eventually(failed)
    assert (other.tries, receiver.bodies) == (0, [])


@pytest.mark.parametrize(
    ("allow", "url", "field", "said"),
    [
        ("http://127.0.0.1:1/", "nonsense://x", "url", "no service"),
        ("http://127.0.0.1:1/", "json://", "url", "no service"),
        ("http://127.0.0.1:1/hook", "json://127.0.0.1:1/hook", "url", "no whole host"),
    ],
)
async def test_a_url_is_checked_when_it_is_given(allow: str, url: str, field: str, said: str) -> None:
    """422, and nothing is made. A prefix with a path allows no service: it may ignore the path."""
    async with notifying(allow) as node:
        reply = await made(node, url)
        assert (reply.status_code, reply.json()["field"]) == (422, field)
        assert said in reply.json()["detail"]


async def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal names the extra."""
    monkeypatch.setitem(sys.modules, "apprise", None)
    async with notifying("http://127.0.0.1:1/") as node:
        reply = await made(node, "json://127.0.0.1:1/hook")
        assert reply.status_code == 422
        assert "swarmhold[notify]" in reply.json()["detail"]
