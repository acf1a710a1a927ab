"""Every route of the document × two namespaces: what lies in the other one never was, and is in no list.

The routes come from the document, so that one that is added later is walked too.
"""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import orjson
import pytest

from app.aap.routes import aap_routes
from app.domain.access import Role
from app.engine.ops.namespaces import NamespaceSummary
from app.http import namespace_metrics
from app.http.door_settings import AapSettings, DoorSettings
from app.http.openapi import document
from app.http.settings import AuthRateLimitSettings, HttpSettings
from tests.security.test_access import OP, ROOT_KEY, SENIOR, WORK, body_of, may
from tests.support.serving import Node, served
from tests.support.speaking import speaking

NEVER = "0" * 26
BY_KEY = {("POST", f"{OP}/sessions"), ("POST", f"{WORK}/claim")}
"""Routes of API keys, which name the namespace or have one of their own; the tests of keys here call them."""
BY_KEY_OR_HANDLE = {("POST", "/v1/doors/claude-code/hook"), ("POST", "/v1/doors/codex/hook")}
"""Routes of doors; what they find is their caller's own."""
BY_LINK = {("POST", "/v1/links/open"), ("POST", "/v1/links/answer")}
"""Routes whose credential is a link to one question, in the body."""
ROLES = [Role.OPERATOR, Role.SENIOR, Role.OBSERVER]


@dataclass(frozen=True, slots=True)
class Tenant:
    """One namespace with one of everything: its API key, its credentials by role, and the ids of what lies in it."""

    key: str
    tokens: dict[Role, str]
    ids: dict[str, str]


@dataclass(frozen=True, slots=True)
class Two:
    """A server with two tenants."""

    node: Node
    here: Tenant
    there: Tenant

    async def call(self, method: str, path: str, credential: str, ids: dict[str, str]) -> httpx.Response:
        """One call with these ids; of an event stream the events so far."""
        content = body_of(path, ids) if method in ("POST", "PUT") else {}
        headers = {"Authorization": f"Bearer {credential}", **content.pop("headers", {})}
        params = {"hold": 0} if path.endswith("/poll") or "/questions/{key}" in path else {}
        client = self.node.as_(None)
        async with client.stream(method, path.format(**ids), headers=headers, params=params, **content) as reply:
            if not reply.headers.get("content-type", "").startswith("text/event-stream"):
                await reply.aread()
            return reply


@pytest.fixture
async def two() -> AsyncIterator[Two]:
    """Two tenants, each with one of everything."""
    patient = AuthRateLimitSettings(burst_per_source=1e9, burst_overall=1e9)
    doors = DoorSettings(aap=AapSettings(enabled=True))
    async with served(HttpSettings(auth_rate_limit=patient, doors=doors)) as node:
        yield Two(node, await _tenant(node, "here"), await _tenant(node, "there"))


async def _tenant(node: Node, namespace: str) -> Tenant:
    root = node.as_(ROOT_KEY)
    asked = {"name": "k", "roles": [role.value for role in Role], "namespace": namespace}
    key = (await root.post("/v1/admin/keys", json=asked)).json()["key"]

    async def attach(role: Role) -> str:
        body = {"operator_id": f"{namespace}-{role}", "role": role.value, "ttl": 600}
        return str((await node.as_(key).post(f"{OP}/sessions", json=body)).json()["token"])

    tokens = {role: await attach(role) for role in ROLES}
    operator = node.as_(tokens[Role.OPERATOR])
    task_id, worker = await node.worker(operator)
    tokens[Role.WORKER] = worker.headers["Authorization"].removeprefix("Bearer ")
    await worker.post(f"{WORK}/output", json={"type": "progress", "stage": "s"})
    asked = {"question": f"secret of {namespace}"}
    question = (await operator.post(f"{OP}/tasks/{task_id}/questions", json=asked)).json()["key"]
    await operator.put(f"{OP}/resources/{question}", json=f"secret of {namespace}")
    minted = (await operator.post(f"{OP}/tokens", json={"agent_id": "w", "role": "observer", "ttl": 600})).json()
    session_id = (await operator.get(f"{OP}/session")).json()["id"]
    person = {"name": "p", "roles": ["senior"], "namespace": namespace, "person": True}
    await root.post("/v1/admin/keys", json=person)
    links = f"{SENIOR}/questions/{question}/links"
    other = await node.operator(Role.SENIOR, namespace=namespace)
    link = (await other.post(links, json={"person": "p", "ttl": 60})).json()["id"]
    ids = {"task_id": task_id, "session_id": session_id, "key": question, "jti": minted["jti"], "link_id": link}
    return Tenant(key, tokens, {**ids, "number": "1", "seq": "1", "index": "0"})


def routes(*, named: bool) -> list[tuple[str, str, dict[str, Any]]]:
    """The routes of tokens and workers that name (or do not name) something by its id."""
    described = orjson.loads(document())["paths"]
    return [
        (method.upper(), path, operation)
        for path, operations in described.items()
        for method, operation in operations.items()
        if operation.get("x-credential") in ("token", "worker") and ("{" in path) is named
    ]


def role_for(path: str, operation: dict[str, Any]) -> Role:
    """A role that may call the route."""
    if path.startswith(WORK):
        return Role.WORKER
    return next(role for role in ROLES if may(tuple(operation["x-verbs"]), role))


def never(ids: dict[str, str]) -> dict[str, str]:
    """Ids of the same form that never were."""
    return {name: f"{id[:2]}{NEVER}" if id[1:2] == "-" else id for name, id in ids.items()}


def without_ids(text: str, ids: dict[str, str]) -> str:
    """The text with these ids replaced by their names."""
    for name, id in ids.items():
        if len(id) > 2:
            text = text.replace(id, name)
    return text


async def test_a_foreign_id_answers_as_one_that_never_was(two: Two) -> None:
    """The same status and the same body, for every route that names something."""
    foreign, unknown = two.here.ids, never(two.here.ids)
    for method, path, operation in routes(named=True):
        credential = two.there.tokens[role_for(path, operation)]
        reply = await two.call(method, path, credential, foreign)
        expected = await two.call(method, path, credential, unknown)
        assert reply.status_code == expected.status_code, (method, path, reply.text)
        if reply.is_error:
            assert without_ids(reply.text, foreign) == without_ids(expected.text, unknown), (method, path)
        else:
            assert method in ("PUT", "GET"), (method, path)
    mine = two.node.as_(two.here.tokens[Role.OPERATOR])
    assert (await mine.get(f"{OP}/tasks/{foreign['task_id']}")).json()["status"] == "suspended"
    assert (await mine.get(f"{OP}/resources/{foreign['key']}")).json()["value"] == "secret of here"


async def test_a_foreign_request_for_approval_answers_as_one_that_never_was(two: Two) -> None:
    """By every route of the approval provider that names one; and it stays as it is."""
    bodies = {"outcome": {"status": "failed"}}
    once = {"Idempotency-Key": "k"}
    mine, stranger = two.node.as_(two.here.key), two.node.as_(two.there.key)
    submission = {"tool": "t", "arguments": {}, "timeout": "1h"}
    request = (await mine.post("/aap/v1/requests", json=submission, headers=once)).json()
    named = [route for route in aap_routes() if "{id}" in getattr(route, "path", "")]
    assert len(named) == 4
    for route in named:
        path, [method] = getattr(route, "path", ""), [*getattr(route, "methods", ())]
        replies = [
            await stranger.request(method, path.format(id=id), json=bodies.get(path.rpartition("/")[2]), headers=once)
            for id in (request["id"], "0" * 8 + "-0000-7000-8000-" + "0" * 12)
        ]
        texts = [{**reply.json()["error"], "request_id": ""} for reply in replies]
        assert [reply.status_code for reply in replies] == [404, 404], path
        assert texts[0] == texts[1], path
    assert (await mine.get(f"/aap/v1/requests/{request['id']}")).json() == request


def test_every_route_is_walked_or_is_of_keys() -> None:
    """A route with another kind of credential is the root key's, of keys, or shows nothing of anybody."""
    described = orjson.loads(document())["paths"]
    others = {
        (method.upper(), path, operation.get("x-credential"))
        for path, operations in described.items()
        for method, operation in operations.items()
        if operation.get("x-credential") not in ("token", "worker")
    }
    open_to_all = {(method, path) for method, path, credential in others if credential is None}
    assert {(method, path) for method, path, credential in others if credential == "key"} == BY_KEY
    assert {(method, path) for method, path, credential in others if credential == "key or handle"} == BY_KEY_OR_HANDLE
    assert all(path.startswith("/v1/admin/") for _, path, credential in others if credential == "root")
    keys = ("GET", "/.well-known/swarmhold-webhook-keys")
    assert open_to_all == {("GET", "/healthz"), ("GET", "/readyz"), keys, *BY_LINK}


async def test_a_foreign_id_in_a_body_answers_as_one_that_never_was(two: Two) -> None:
    """What names a task in its body or in a filter finds none of another namespace."""
    stranger = two.node.as_(two.there.tokens[Role.OPERATOR])
    foreign, unknown = two.here.ids, never(two.here.ids)
    for path, body in (
        (f"{OP}/tokens", {"agent_id": "w", "role": "worker", "ttl": 60}),
        (f"{OP}/tokens/verify", {"token": two.there.tokens[Role.OBSERVER], "verb": "read_task_state"}),
    ):
        replies = [await stranger.post(path, json={**body, "task_id": ids["task_id"]}) for ids in (foreign, unknown)]
        texts = [without_ids(reply.text, ids) for reply, ids in zip(replies, (foreign, unknown), strict=True)]
        assert replies[0].status_code == replies[1].status_code
        assert texts[0] == texts[1], path
    for what in ("cancel", "retry"):
        for ids in (foreign, unknown):
            for dry_run in (True, False):
                asked = {"filter": {"ids": [ids["task_id"]]}, "dry_run": dry_run}
                reply = await stranger.post(f"{OP}/tasks/{what}", json=asked)
                assert (reply.status_code, reply.json()["count"]) == (200, 0)
    await two.node.engine.indexing.catch_up()
    for query in (foreign["task_id"], "agent"):
        for path in ("tasks", "task-counts"):
            found = await stranger.get(f"{OP}/{path}", params={"q": query})
            assert foreign["task_id"] not in found.text
    for name, value in (("parent", foreign["task_id"]), ("session", foreign["session_id"])):
        assert (await stranger.get(f"{OP}/tasks", params={name: value})).json()["items"] == []


async def test_no_stream_shows_another_namespace(two: Two) -> None:
    """Neither the feed from its beginning, nor the feed of a foreign task, nor a senior's bridge."""
    secrets = [id for id in two.here.ids.values() if len(id) > 2]
    for role in (Role.OPERATOR, Role.OBSERVER, Role.SENIOR):
        own = two.there.ids["task_id"]
        seen = await _events_until(two.node.as_(two.there.tokens[role]), own, after=0)
        assert not [id for id in secrets if id in seen], role
    async with speaking(two.node, f"{SENIOR}/bridges/desk/ws", two.there.tokens[Role.SENIOR]) as desk:
        welcome, asked = await desk.receive_all(2)
        assert (welcome["open"], asked["key"]) == (1, two.there.ids["key"])
        _, worker = await two.node.worker(two.node.as_(two.here.tokens[Role.OPERATOR]))
        assert (await worker.post(f"{WORK}/questions", json={"question": "go?"})).status_code == 201
        assert await desk.silent()


async def _events_until(client: httpx.AsyncClient, own: str, **params: int) -> str:
    """The stream up to the event that the reader's own task was suspended, the last that is known to be there."""
    read = ""
    async with client.stream("GET", f"{OP}/events", params=params) as reply:
        async for line in reply.aiter_lines():
            read += line
            if own in line and "event: task_suspended" in read:
                break
    return read


async def test_no_list_count_or_metric_shows_another_namespace(two: Two) -> None:
    """Whatever a route without ids shows has nothing of the other namespace in it."""
    for method, path, operation in routes(named=False):
        if method != "GET" or path.endswith("/events"):
            continue
        reply = await two.call(method, path, two.there.tokens[role_for(path, operation)], {})
        assert "secret of here" not in reply.text, path
        assert not [id for id in two.here.ids.values() if len(id) > 2 and id in reply.text], path


async def test_a_foreign_token_is_none(two: Two) -> None:
    """Verifying it says what is said of a token without a record, and spends none of its uses."""
    asked = {"agent_id": "w", "role": "observer", "ttl": 600, "max_uses": 1}
    mine = two.node.as_(two.here.tokens[Role.OPERATOR])
    token = (await mine.post(f"{OP}/tokens", json=asked)).json()["token"]
    question = {"token": token, "verb": "read_task_state"}
    stranger = two.node.as_(two.there.tokens[Role.OPERATOR])
    verdict = (await stranger.post(f"{OP}/tokens/verify", json=question)).json()
    assert (verdict["valid"], verdict["code"], verdict["uses_left"]) == (False, "token-not-found", None)
    assert (await mine.post(f"{OP}/tokens/verify", json=question)).json()["valid"] is True


async def test_another_key_may_not_name_a_foreign_namespace(two: Two) -> None:
    """Attaching and claiming elsewhere is 403, also in a namespace that does not exist; its own is fine."""
    client = two.node.as_(two.here.key)
    for namespace, status in (("there", 403), ("nowhere", 403), ("here", 201)):
        body = {"operator_id": "x", "ttl": 60, "namespace": namespace}
        assert (await client.post(f"{OP}/sessions", json=body)).status_code == status
    refused = await client.post(f"{WORK}/claim", json={"queue": "q", "hold": 0, "namespace": "there"})
    assert (refused.status_code, refused.json()["code"]) == (403, "role-violation")


async def test_root_chooses_filters_and_lists_namespaces(two: Two) -> None:
    """Root attaches into the one that it names, and sees what each holds."""
    root = two.node.as_(ROOT_KEY)
    for named, shown in (({}, "default"), ({"namespace": "here"}, "here")):
        made = (await root.post(f"{OP}/sessions", json={"operator_id": "r", "ttl": 60, **named})).json()
        assert made["session"]["namespace"] == shown
    listed = (await root.get("/v1/admin/namespaces")).json()["items"]
    assert [row["name"] for row in listed] == ["default", "here", "there"]
    assert [row["open_questions"] for row in listed] == [0, 1, 1]
    assert [row["keys"] for row in listed] == [0, 2, 2]
    keys = (await root.get("/v1/admin/keys", params={"namespace": "there"})).json()["items"]
    assert [key["namespace"] for key in keys] == ["there", "there"]
    assert (await root.get("/v1/admin/keys", params={"namespace": "nowhere"})).json()["items"] == []
    for bad in ("Here", "-x", "other", "x" * 64):
        made = await root.post("/v1/admin/keys", json={"name": "b", "roles": ["worker"], "namespace": bad})
        assert made.status_code == 422, bad


async def test_root_stops_all(two: Two) -> None:
    """Each namespace sees its own switch and that of all."""
    root, seniors = two.node.as_(ROOT_KEY), [two.node.as_(t.tokens[Role.SENIOR]) for t in (two.here, two.there)]
    await seniors[0].post(f"{SENIOR}/loop/pause")
    assert (await root.post("/v1/admin/loop/pause")).json()["paused"] is True
    found = [(await senior.get(f"{SENIOR}/loop")).json() for senior in seniors]
    assert [(state["paused"], state["all"]["paused"]) for state in found] == [(True, True), (False, True)]
    assert found[1]["all"]["by"] == "root"
    assert (await root.post("/v1/admin/loop/resume")).json()["paused"] is False


async def test_a_scrape_shows_the_series_of_its_namespace(two: Two) -> None:
    """A key's and a token's scrape have those of their own, root's those of all; the process's are in each."""
    for credential, shown in (
        (two.here.key, {"here"}),
        (two.there.tokens[Role.OBSERVER], {"there"}),
        (ROOT_KEY, {"default", "here", "there"}),
    ):
        text = (await two.node.as_(credential).get("/metrics")).text
        assert set(re.findall(r'namespace="([^"]+)"', text)) == shown
        assert "swarmhold_http_parked" in text


def test_the_busiest_namespaces_have_a_label_of_their_own() -> None:
    """The rest share `other`, and nothing is lost in the sum."""
    rows = [
        NamespaceSummary(name=f"n{n}", keys=1, tasks={"running": n, "pass": 1}, open_questions=n, oldest_open_at=None)
        for n in range(150)
    ]
    text = namespace_metrics.text(rows).decode()
    assert 'swarmhold_open_questions{namespace="n50"} 50.0' in text
    assert f'swarmhold_open_questions{{namespace="other"}} {float(sum(range(50)))}' in text
    assert 'swarmhold_tasks{namespace="other",status="pass"} 50.0' in text
    assert '"n49"' not in text
