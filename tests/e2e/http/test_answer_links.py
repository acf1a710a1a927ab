"""Answer links over HTTP: the page that never learns the secret, two calls by the secret, and the limit of guesses."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from app.domain.access import Role
from app.domain.answer_links import new_secret
from app.domain.limits import Limits
from app.http.door_settings import DoorSettings, LinkDoorSettings
from app.http.settings import AuthRateLimitSettings, HttpSettings
from tests.support.serving import ROOT_KEY, Node, served

OP, SENIOR, LINKS = "/v1/operator", "/v1/senior", "/v1/links"
PUBLIC = "https://ask.example"


@dataclass(slots=True)
class Desk:
    """An open question of a key's operator, a senior of another key, and anybody."""

    node: Node
    operator: httpx.AsyncClient
    senior: httpx.AsyncClient
    anybody: httpx.AsyncClient
    key: str

    @property
    def links(self) -> str:
        """Where links to the question are made."""
        return f"{SENIOR}/questions/{self.key}/links"

    async def link(self, **more: Any) -> tuple[dict[str, Any], str]:
        """A new link for the person Pat, and its secret."""
        reply = await self.senior.post(self.links, json={"person": "pat", "ttl": 600, **more})
        assert reply.status_code == 201, reply.text
        made = reply.json()
        address, _, secret = made["url"].partition("#")
        assert address == f"{PUBLIC}/a"
        return made, secret

    async def post(self, call: str, link: str, **body: Any) -> httpx.Response:
        """A call by a link, of somebody who has nothing else."""
        return await self.anybody.post(f"{LINKS}/{call}", json={"link": link, **body})


async def _desk(node: Node) -> Desk:
    key = await node.key("asker", Role.OPERATOR)
    operator = await node.operator(key=key)
    senior = await node.operator(Role.SENIOR, key=await node.key("mira", Role.SENIOR))
    person = {"name": "pat", "roles": ["senior"], "person": True}
    await node.as_(ROOT_KEY).post("/v1/admin/keys", json=person)
    asked = {"title": "Deploy?", "question": "To all regions?", "choices": ["yes", "no"]}
    question = (await operator.post(f"{OP}/questions", json=asked)).json()
    return Desk(node, operator, senior, node.as_(None), question["key"])


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    """A server that is patient with few guesses."""
    few = AuthRateLimitSettings(burst_per_source=5, per_source_per_second=0)
    settings = HttpSettings(base_url=PUBLIC, auth_rate_limit=few, limits=Limits(worker_body_bytes=10_000))
    async with served(settings) as node:
        yield await _desk(node)


async def test_only_the_answer_settles(desk: Desk) -> None:
    """The page and the question are read a hundred times, and the question is open; one answer is taken."""
    made, secret = await desk.link()
    for _ in range(100):
        assert (await desk.anybody.get("/a")).status_code == 200
        shown = (await desk.post("open", secret)).json()
    assert shown["person"] == "pat"
    assert shown["console"] == f"{PUBLIC}/console#/inbox/{desk.key}"
    assert shown["expires_at"] == made["expires_at"]
    assert (shown["title"], shown["choices"]) == ("Deploy?", ["yes", "no"])
    assert (await desk.senior.get(f"{SENIOR}/questions/{desk.key}")).json()["status"] == "open"
    assert (await desk.post("answer", secret, value="perhaps")).json()["code"] == "answer-invalid"

    taken = await desk.post("answer", secret, value="yes")
    assert (taken.status_code, taken.json()) == (200, {"key": desk.key, "answer": "yes"})
    answered = (await desk.operator.get(f"{OP}/questions/{desk.key}")).json()
    assert answered["answered_by"] == "pat"
    assert answered["answered_through"]["link_id"] == made["id"]
    assert (answered["answered_through"]["door"], answered["answered_through"]["address"]) == ("link", "127.0.0.1")
    assert (await desk.post("answer", secret, value="yes")).json()["code"] == "link-not-found"


async def test_the_page_keeps_the_secret(desk: Desk) -> None:
    """No referrer, no copy, no frame, nothing of others; and a link to it in a query or path is no use."""
    _, secret = await desk.link()
    for path, kind in (("/a", "text/html"), ("/a/link.js", "text/javascript"), ("/a/link.css", "text/css")):
        reply = await desk.anybody.get(path)
        assert reply.headers["content-type"] == f"{kind}; charset=utf-8"
        assert reply.headers["cache-control"] == "no-store"
        assert reply.headers["referrer-policy"] == "no-referrer"
        policy = reply.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "http" not in policy
        assert "//" not in reply.text.replace("\n//", "") or kind == "text/javascript"
    for path in (f"/a?link={secret}", f"/a/{secret}", f"{LINKS}/open?link={secret}"):
        assert (await desk.anybody.get(path)).status_code in (400, 404, 405, 200)
    assert (await desk.senior.get(f"{SENIOR}/questions/{desk.key}")).json()["status"] == "open"


@pytest.mark.one_node("each node counts failed attempts for itself")
async def test_wrong_links_count_as_guesses(desk: Desk) -> None:
    """They all get the same reply, and too many of them 429; a good link is served all the same."""
    made, secret = await desk.link()
    _, revoked = await desk.link()
    gone, _ = await desk.link()
    assert (await desk.senior.delete(f"{desk.links}/{gone['id']}")).status_code == 204
    assert made["id"] != gone["id"]
    replies = [await desk.post("open", new_secret()) for _ in range(2)]
    replies += [await desk.post("answer", new_secret(), value=1), await desk.post("open", "al_nonsense")]
    assert {(reply.status_code, reply.content) for reply in replies} == {(404, replies[0].content)}
    assert replies[0].json()["code"] == "link-not-found"
    await desk.post("open", new_secret())
    late = await desk.post("open", new_secret())
    assert (late.status_code, late.json()["code"]) == (429, "too-many-guesses")
    assert int(late.headers["Retry-After"]) >= 1
    assert (await desk.post("open", revoked)).status_code == 200
    assert (await desk.post("answer", secret, value="no")).status_code == 200


async def test_bad_bodies_say_nothing_of_the_secret(desk: Desk) -> None:
    """Too large, not JSON, without a value, with more than it takes; the question stays open."""
    _, secret = await desk.link()
    for body, status in (
        ({"link": secret}, 422),
        ({"link": secret, "value": 1, "more": 2}, 422),
        ({"link": [secret], "value": 1}, 422),
        ({"value": 1}, 422),
        ({"link": secret, "value": "x" * 10_000}, 413),
    ):
        reply = await desk.anybody.post(f"{LINKS}/answer", json=body)
        assert reply.status_code == status, reply.text
        assert secret not in reply.text
    assert (await desk.anybody.post(f"{LINKS}/answer", content=b"{")).status_code == 400
    assert (await desk.post("open", secret)).status_code == 200


async def test_links_are_made_for_a_week_at_most(desk: Desk) -> None:
    """And for a person who is named, with answers that the question takes."""
    for body, status in (
        ({"person": "pat"}, 422),
        ({"person": "pat", "ttl": 0}, 422),
        ({"person": "pat", "ttl": 604_801}, 422),
        ({"person": "pat", "ttl": 60, "allow": []}, 422),
        ({"person": "pat", "ttl": 60, "allow": ["maybe"]}, 422),
        ({"person": "asker", "ttl": 60}, 400),
        ({"person": "nobody", "ttl": 60}, 404),
    ):
        assert (await desk.senior.post(desk.links, json=body)).status_code == status, body
    _, secret = await desk.link(allow=["no"])
    assert (await desk.post("open", secret)).json()["allow"] == ["no"]


async def test_links_can_be_switched_off() -> None:
    """Then there is no page, and nothing makes or takes a link."""
    async with served(HttpSettings(base_url=PUBLIC, doors=DoorSettings(link=LinkDoorSettings(enabled=False)))) as node:
        desk = await _desk(node)
        made = await desk.senior.post(desk.links, json={"person": "pat", "ttl": 600})
        replies = [made, await desk.anybody.get("/a"), await desk.post("open", new_secret())]
        replies.append(await desk.post("answer", new_secret(), value=1))
        assert {(reply.status_code, reply.json()["code"]) for reply in replies} == {(404, "not-found")}
