"""Every route × every role × every state of a credential: exactly the table that the wire promises."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
import jwt
import orjson
import pytest

from app.domain.access import DEFAULT_TABLE, Role, Verb
from app.http.openapi import document
from app.http.settings import AuthRateLimitSettings, HttpSettings
from tests.support.serving import ROOT_KEY, Node, served

OP, WORK, SENIOR = "/v1/operator", "/v1/worker", "/v1/senior"
HOOKS = "/v1/admin/webhooks"
SKILLS = "/v1/admin/skills"

# (method, path) → what opens it: a key of a kind, a handle, or the verbs any one of which does. As the wire has it.
TABLE: dict[tuple[str, str], str | tuple[str, ...]] = {
    ("POST", f"{OP}/sessions"): "key",
    ("GET", f"{OP}/sessions"): ("read_trace", "attach_session"),
    ("GET", f"{OP}/sessions/{{session_id}}"): ("read_trace", "attach_session"),
    ("GET", f"{OP}/registry"): ("read_trace", "attach_session"),
    ("GET", f"{OP}/stats"): ("read_trace", "attach_session"),
    ("GET", f"{OP}/nodes"): ("read_trace", "attach_session"),
    ("GET", f"{OP}/workers"): ("read_trace", "attach_session"),
    ("GET", f"{OP}/history"): ("read_trace", "attach_session"),
    ("GET", f"{OP}/task-counts"): ("read_task_state",),
    ("POST", f"{OP}/tasks/cancel"): ("cancel_task",),
    ("POST", f"{OP}/tasks/retry"): ("dispatch_attempt",),
    ("GET", f"{OP}/session"): (),
    ("POST", f"{OP}/session/heartbeat"): ("heartbeat",),
    ("DELETE", f"{OP}/session"): ("detach_session",),
    ("POST", f"{OP}/tasks"): ("start_task",),
    ("GET", f"{OP}/tasks"): ("read_task_state",),
    ("GET", f"{OP}/tasks/{{task_id}}"): ("read_task_state",),
    ("GET", f"{OP}/tasks/{{task_id}}/why"): ("read_task_state",),
    ("GET", f"{OP}/tasks/{{task_id}}/usage"): ("read_trace", "read_task_state"),
    ("GET", f"{OP}/tasks/{{task_id}}/poll"): ("poll_task",),
    ("POST", f"{OP}/tasks/{{task_id}}/dispatch"): ("dispatch_attempt",),
    ("POST", f"{OP}/tasks/{{task_id}}/cancel"): ("cancel_task",),
    ("POST", f"{OP}/tasks/{{task_id}}/result"): ("post_result",),
    ("POST", f"{OP}/tasks/{{task_id}}/verdict"): ("mark_pass", "mark_blocked"),
    ("GET", f"{OP}/tasks/{{task_id}}/attempts"): ("read_trace", "read_task_state"),
    ("GET", f"{OP}/tasks/{{task_id}}/attempts/{{number}}"): ("read_trace", "read_task_state"),
    ("GET", f"{OP}/tasks/{{task_id}}/attempts/{{number}}/output"): ("read_trace", "read_task_state"),
    ("GET", f"{OP}/tasks/{{task_id}}/attempts/{{number}}/output/{{seq}}"): ("read_trace", "read_task_state"),
    ("GET", f"{OP}/tasks/{{task_id}}/attempts/{{number}}/late"): ("read_trace", "read_task_state"),
    ("GET", f"{OP}/tasks/{{task_id}}/attempts/{{number}}/late/{{index}}"): ("read_trace", "read_task_state"),
    # Seniors may adopt, too; they do so by override_verdict.
    ("POST", f"{OP}/tasks/{{task_id}}/attempts/{{number}}/late/{{index}}/adopt"): ("mark_pass", "override_verdict"),
    ("POST", f"{OP}/tasks/{{task_id}}/questions"): ("query_senior",),
    ("GET", f"{OP}/questions/{{key}}"): ("query_senior", "answer_query"),
    ("POST", f"{OP}/questions"): ("query_senior",),
    ("POST", f"{OP}/questions/{{key}}/withdraw"): ("cancel_task",),
    ("POST", f"{OP}/questions/{{key}}/consume"): ("query_senior",),
    ("POST", f"{OP}/questions/{{key}}/outcome"): ("query_senior",),
    ("PUT", f"{OP}/resources/{{key}}"): ("start_task",),
    ("GET", f"{OP}/resources/{{key}}"): ("fetch_data",),
    ("POST", f"{OP}/tokens"): ("mint_worker_token",),
    ("POST", f"{OP}/tokens/verify"): ("verify_token",),
    ("DELETE", f"{OP}/tokens/{{jti}}"): ("mint_worker_token",),
    ("GET", f"{OP}/events"): ("subscribe_events",),
    ("GET", "/v1/admin/keys"): "root",
    ("POST", "/v1/admin/keys"): "root",
    ("DELETE", "/v1/admin/keys/{key_id}"): "root",
    ("DELETE", "/v1/admin/ids/{id}"): "root",
    ("POST", "/v1/admin/audit/commands"): "root",
    ("GET", "/v1/admin/namespaces"): "root",
    ("POST", "/v1/admin/loop/pause"): "root",
    ("POST", "/v1/admin/loop/resume"): "root",
    ("GET", SKILLS): "root",
    ("POST", SKILLS): "root",
    ("GET", f"{SKILLS}/{{skill_id}}"): "root",
    ("DELETE", f"{SKILLS}/{{skill_id}}"): "root",
    ("GET", HOOKS): "root",
    ("POST", HOOKS): "root",
    ("GET", f"{HOOKS}/{{webhook_id}}"): "root",
    ("DELETE", f"{HOOKS}/{{webhook_id}}"): "root",
    ("POST", f"{HOOKS}/{{webhook_id}}/replay"): "root",
    ("POST", f"{HOOKS}/{{webhook_id}}/rotate"): "root",
    ("POST", f"{HOOKS}/{{webhook_id}}/pause"): "root",
    ("POST", f"{HOOKS}/{{webhook_id}}/resume"): "root",
    ("GET", f"{WORK}/prompt"): ("fetch_prompt",),
    ("POST", f"{WORK}/submit"): ("emit_output",),
    ("POST", f"{WORK}/result"): ("post_result",),
    ("POST", f"{WORK}/output"): ("emit_output",),
    ("POST", f"{WORK}/heartbeat"): ("emit_output",),
    ("POST", f"{WORK}/questions"): ("query_senior",),
    ("GET", f"{WORK}/questions/{{key}}"): ("query_senior", "answer_query"),
    ("POST", f"{WORK}/questions/{{key}}/consume"): ("query_senior",),
    ("POST", f"{WORK}/questions/{{key}}/outcome"): ("query_senior",),
    ("POST", f"{WORK}/tasks"): ("start_task",),
    ("GET", f"{WORK}/tasks/{{task_id}}"): ("read_task_state",),
    ("GET", f"{WORK}/tasks/{{task_id}}/poll"): ("poll_task",),
    ("POST", f"{WORK}/tasks/{{task_id}}/dispatch"): ("dispatch_attempt",),
    ("POST", f"{WORK}/tasks/{{task_id}}/cancel"): ("cancel_task",),
    ("GET", f"{WORK}/resources/{{key}}"): ("fetch_data",),
    ("POST", f"{WORK}/claim"): "key",
    ("POST", "/v1/doors/claude-code/hook"): "key or handle",
    ("POST", "/v1/doors/codex/hook"): "key or handle",
    ("GET", f"{SENIOR}/questions"): ("answer_query",),
    ("GET", f"{SENIOR}/questions/{{key}}"): ("answer_query",),
    ("POST", f"{SENIOR}/questions/{{key}}/answer"): ("answer_query",),
    ("POST", f"{SENIOR}/questions/{{key}}/claim"): ("answer_query",),
    ("DELETE", f"{SENIOR}/questions/{{key}}/claim"): ("answer_query",),
    ("POST", f"{SENIOR}/questions/{{key}}/escalate"): ("answer_query",),
    ("POST", f"{SENIOR}/questions/{{key}}/links"): ("answer_query",),
    ("DELETE", f"{SENIOR}/questions/{{key}}/links/{{link_id}}"): ("answer_query",),
    ("POST", f"{SENIOR}/tasks/{{task_id}}/verdict"): ("override_verdict",),
    ("POST", f"{SENIOR}/tasks/{{task_id}}/directive"): ("inject_directive",),
    ("POST", f"{SENIOR}/loop/pause"): ("pause_loop",),
    ("POST", f"{SENIOR}/loop/resume"): ("resume_loop",),
    ("GET", f"{SENIOR}/loop"): ("pause_loop", "resume_loop"),
    ("GET", "/metrics"): ("read_trace",),
}

SCRAPED = "/metrics"
"""Takes tokens like others, and API keys as well."""

OPEN = {
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/.well-known/swarmhold-webhook-keys"),
    ("POST", "/v1/links/open"),
    ("POST", "/v1/links/answer"),
}
"""Of the last two the credential is a link in the body; its own tests call them."""

HELD = (f"{OP}/questions/{{key}}", f"{WORK}/questions/{{key}}")
"""Routes that wait, besides the polls of tasks."""

BODIES: dict[str, Any] = {
    "/sessions": {"operator_id": "x", "ttl": 60},
    "/tasks/cancel": {"filter": {"agent": "nobody"}},
    "/tasks/retry": {"filter": {"agent": "nobody"}},
    "/tasks": {"agent": "a", "initial_directive": "d"},
    "/dispatch": {"spawner": {"kind": "external"}},
    "/cancel": {},
    "/result": {"value": 1},
    "/verdict": {"ok": True, "value": 1},
    "/adopt": None,
    "/questions": {"question": "?"},
    "/resources/{key}": {"a": 1},
    "/tokens": {"agent_id": "w", "role": "worker", "ttl": 60},
    "/verify": {"token": "x.y.z", "verb": "start_task"},
    "/keys": {"name": "k", "roles": ["operator"]},
    "/skills": {"name": "s", "description": "d", "agent": "a", "queue": "q", "input_schema": {"type": "object"}},
    "/webhooks": {"name": "w", "url": "https://example.invalid/"},
    "/replay": {"after": 0},
    "/submit": "done",
    "/output": {"type": "progress", "stage": "s"},
    "/answer": {"value": 1},
    "/questions/{key}/claim": {"ttl": 60},
    "/escalate": {"to": "desk"},
    "/links": {"person": "nobody", "ttl": 60},
    "/withdraw": {},
    "/consume": {"action_digest": f"sha256:{0:064}"},
    "/outcome": {"status": "succeeded"},
    "/directive": {"prompt": "p"},
    "/claim": {"queue": "q", "hold": 0},
    "/audit/commands": {"action": "audit_exported", "user": "u", "after": 0},
}


@dataclass(frozen=True, slots=True)
class Stage:
    """A node with one of everything, and the credentials to try."""

    node: Node
    client: httpx.AsyncClient
    places: dict[str, str]
    roles: dict[str, tuple[Role, str]]
    keys: dict[str, str]
    dead: dict[str, str | None]

    async def call(self, method: str, path: str, credential: str | None, *, body: bool = True) -> httpx.Response:
        """One call; an event stream is left as soon as its status is known."""
        headers = {} if credential is None else {"Authorization": f"Bearer {credential}"}
        content = body_of(path, self.places) if body and method in ("POST", "PUT") else {}
        url = path.format(**self.places)
        params = {"hold": 0} if path.endswith("/poll") or path in HELD else {}
        async with self.client.stream(
            method, url, headers={**headers, **content.pop("headers", {})}, params=params, **content
        ) as reply:
            if reply.headers.get("content-type", "").startswith("text/event-stream"):
                return reply
            await reply.aread()
            return reply


def body_of(path: str, places: dict[str, str]) -> dict[str, Any]:
    """A body that the route takes."""
    if path == f"{WORK}/result":
        return {"json": {"task_id": places["task_id"], "value": 1}}
    for ending in sorted(BODIES, key=len, reverse=True):
        if path.endswith(ending):
            body = BODIES[ending]
            return {"content": body, "headers": {"Content-Type": "text/plain"}} if body == "done" else {"json": body}
    return {}


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    """One of everything."""
    patient = AuthRateLimitSettings(burst_per_source=1e9, burst_overall=1e9)
    async with served(HttpSettings(auth_rate_limit=patient)) as node:
        yield await _set(node)


async def _set(node: Node) -> Stage:
    operator_token = await node.attach(Role.OPERATOR)
    operator, root = node.as_(operator_token), node.as_(ROOT_KEY)
    await operator.put(f"{OP}/resources/r", json=1)
    task_id, worker = await node.worker(operator)
    question = (await operator.post(f"{OP}/tasks/{task_id}/questions", json={"question": "?"})).json()
    minted = (
        await operator.post(f"{OP}/tokens", json={"agent_id": "w", "role": "worker", "ttl": 600, "task_id": task_id})
    ).json()
    key = (await root.post("/v1/admin/keys", json={"name": "k", "roles": [r.value for r in Role]})).json()
    session_id = (await operator.get(f"{OP}/session")).json()["id"]
    places = {
        "task_id": task_id,
        "session_id": session_id,
        "key": question["key"],
        "jti": "W-none",
        "key_id": "K-none",
        "webhook_id": "none",
        "skill_id": "none",
        "id": "none",
        "number": "1",
        "seq": "1",
        "index": "0",
        "link_id": f"L-{0:026}",
    }
    roles = {
        "operator": (Role.OPERATOR, operator_token),
        "observer": (Role.OBSERVER, await node.attach(Role.OBSERVER)),
        "senior": (Role.SENIOR, await node.attach(Role.SENIOR)),
        "worker handle": (Role.WORKER, worker.headers["Authorization"].removeprefix("Bearer ")),
        "worker token": (Role.WORKER, minted["token"]),
    }
    return Stage(
        node, node.as_(None), places, roles, {"key": key["key"], "root": ROOT_KEY}, await _dead(node, operator)
    )


async def _dead(node: Node, operator: httpx.AsyncClient) -> dict[str, str | None]:
    """Credentials that are of no use, each for a reason of its own."""
    spent = (
        await operator.post(f"{OP}/tokens", json={"agent_id": "o", "role": "observer", "ttl": 600, "max_uses": 1})
    ).json()["token"]
    assert (await node.as_(spent).get(f"{OP}/stats")).status_code == 200
    revoked = (await operator.post(f"{OP}/tokens", json={"agent_id": "o", "role": "observer", "ttl": 600})).json()
    assert (await operator.delete(f"{OP}/tokens/{revoked['jti']}")).status_code == 204
    good = await node.attach(Role.OPERATOR)
    claims = jwt.decode(good, options={"verify_signature": False})
    header = jwt.get_unverified_header(good)
    forged = jwt.encode(claims, b"x" * 32, algorithm="HS256", headers={"kid": header["kid"], "typ": header["typ"]})
    expired = await node.engine.attach("brief", Role.OPERATOR, timedelta(milliseconds=1))
    unsigned = jwt.encode(claims, "", algorithm="none", headers={"kid": header["kid"], "typ": header["typ"]})
    return {
        "missing": None,
        "nonsense": "nonsense",
        "forged": forged,
        "unsigned": unsigned,
        "expired": expired.text,
        "revoked": revoked["token"],
        "spent": spent,
        "unknown key": "shk_" + "0" * 40,
        "unknown handle": node.engine.parts.mint.new(0),
    }


def may(verbs: tuple[str, ...], role: Role) -> bool:
    """Whether the role has any of the verbs; a route without verbs is for every living credential."""
    return not verbs or any(Verb(verb) in DEFAULT_TABLE[role] for verb in verbs)


def opened(path: str, opens: tuple[str, ...], name: str, role: Role) -> bool:
    """Whether the named credential of the role opens the route: a handle opens the workers' routes alone."""
    return may(opens, role) and (name != "worker handle" or path.startswith(WORK))


def test_every_route_has_a_row() -> None:
    """A new route without a row here fails, and so does a row without a route."""
    described = orjson.loads(document())["paths"]
    routes = {(method.upper(), path) for path, operations in described.items() for method in operations}

    assert routes == TABLE.keys() | OPEN


def test_the_document_names_the_verbs() -> None:
    """What the document says of a route's gate is the table."""
    described = orjson.loads(document())["paths"]

    for (method, path), opens in TABLE.items():
        operation = described[path][method.lower()]
        if isinstance(opens, str):
            assert operation["x-credential"] == opens, path
        else:
            assert sorted(operation["x-verbs"]) == sorted(opens), path


def gated_first(opens: str | tuple[str, ...], name: str) -> bool:
    """Whether the role's gate refuses before the server's record is looked at: that is the order of the checks."""
    role = {"revoked": Role.OBSERVER, "spent": Role.OBSERVER, "unknown handle": Role.WORKER}.get(name)
    return role is not None and not isinstance(opens, str) and not may(opens, role)


async def test_dead_credentials_all_get_the_same_reply(stage: Stage) -> None:
    """Missing, forged, expired, revoked, spent and unknown credentials get identical replies, on any route."""
    bodies: set[bytes] = set()
    for (method, path), opens in TABLE.items():
        for name, credential in stage.dead.items():
            for with_body in (True, False) if method in ("POST", "PUT") else (True,):
                reply = await stage.call(method, path, credential, body=with_body)
                if gated_first(opens, name):
                    assert (reply.status_code, reply.json()["code"]) == (403, "role-violation"), (method, path, name)
                    continue
                assert reply.status_code == 401, (method, path, name, reply.content)
                assert reply.headers["WWW-Authenticate"] == "Bearer"
                bodies.add(reply.content)

    assert len(bodies) == 1


async def test_roles_open_what_their_verbs_say(stage: Stage) -> None:
    """Without any of a route's verbs: role-violation, whatever the body. With one: past the gate."""
    for (method, path), opens in TABLE.items():
        if isinstance(opens, str) or path.endswith(("/session", "/cancel", "/submit", "/loop/pause")):
            continue
        for name, (role, credential) in stage.roles.items():
            reply = await stage.call(method, path, credential)
            if not opened(path, opens, name, role):
                assert (reply.status_code, reply.json()["code"]) == (403, "role-violation"), (method, path, name)
                empty = await stage.call(method, path, credential, body=False)
                assert (empty.status_code, empty.json()["code"]) == (403, "role-violation"), (method, path, name)
            else:
                assert reply.status_code != 401, (method, path, name)
                assert reply.status_code != 500, (method, path, name)
                _check_narrower(reply, path, role)


def _check_narrower(reply: httpx.Response, path: str, role: Role) -> None:
    """Past the gate, a 403 is about whose task or question it is."""
    if reply.status_code != 403:
        return
    code = reply.json()["code"]
    if role is Role.OPERATOR and path.startswith(f"{SENIOR}/questions/"):
        assert code == "role-violation"  # the question is of another bridge
    elif role is Role.WORKER and path in (f"{OP}/task-counts", f"{OP}/tasks/retry"):
        assert code == "role-violation"  # a filter is about the whole namespace
    else:
        assert code == "token-task-mismatch", (path, role, reply.content)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"{OP}/session"),
        ("POST", f"{OP}/tasks/{{task_id}}/cancel"),
        ("POST", f"{WORK}/submit"),
        ("POST", f"{SENIOR}/loop/pause"),
        ("DELETE", f"{OP}/session"),
    ],
)
async def test_roles_on_routes_that_end_things(stage: Stage, method: str, path: str) -> None:
    """The same for the routes that would change what later calls see."""
    opens = TABLE[(method, path)]
    assert not isinstance(opens, str)
    for name, (role, credential) in stage.roles.items():
        reply = await stage.call(method, path, credential)
        refused = reply.status_code == 403 and reply.json()["code"] == "role-violation"
        assert refused is not opened(path, opens, name, role), (method, path, name, reply.content)


async def test_keys_open_what_is_a_keys_and_nothing_else(stage: Stage) -> None:
    """An API key is no token, a token is no key, and only the root key manages keys. Either lets a scraper in."""
    for (method, path), opens in TABLE.items():
        for name, key in stage.keys.items():
            reply = await stage.call(method, path, key)
            if path == SCRAPED:
                assert reply.status_code == 200, name
            elif not isinstance(opens, str):
                assert reply.status_code == 401, (method, path, name)
            elif opens == "root" and name != "root":
                assert (reply.status_code, reply.json()["code"]) == (403, "role-violation"), (method, path)
            else:
                assert reply.status_code not in (401, 403, 500), (method, path, name, reply.content)
        if isinstance(opens, str):
            for name, (_role, token) in stage.roles.items():
                refused = (await stage.call(method, path, token)).status_code == 401
                assert refused is not (opens == "key or handle" and name == "worker handle"), (method, path, name)


async def test_a_scraper_needs_a_key_that_may_look(stage: Stage) -> None:
    """A key for observers shows the metrics, one for workers does not."""
    root = stage.node.as_(ROOT_KEY)
    statuses = {}
    for role in Role:
        key = (await root.post("/v1/admin/keys", json={"name": role, "roles": [role]})).json()["key"]
        statuses[role] = (await stage.node.as_(key).get(SCRAPED)).status_code

    assert statuses == {Role.OPERATOR: 200, Role.OBSERVER: 200, Role.SENIOR: 200, Role.WORKER: 403}


async def test_a_key_attaches_as_its_roles_only(stage: Stage) -> None:
    """A key for observers attaches an observer and nobody else, and claims nothing."""
    root = stage.node.as_(ROOT_KEY)
    key = (await root.post("/v1/admin/keys", json={"name": "o", "roles": ["observer"]})).json()["key"]
    holder = stage.node.as_(key)

    attached = await holder.post(f"{OP}/sessions", json={"operator_id": "x", "role": "observer", "ttl": 60})
    refused = await holder.post(f"{OP}/sessions", json={"operator_id": "x", "role": "operator", "ttl": 60})
    claimed = await holder.post(f"{WORK}/claim", json={"queue": "q", "hold": 0})

    assert (attached.status_code, refused.status_code, claimed.status_code) == (201, 403, 403)


async def test_a_minted_token_never_says_more_than_its_scope(stage: Stage) -> None:
    """A scope narrows the role: what it leaves out is a role-violation."""
    operator = stage.node.as_(stage.roles["operator"][1])
    body = {"agent_id": "o", "role": "observer", "ttl": 60, "scopes": ["read_trace"]}
    narrow = stage.node.as_((await operator.post(f"{OP}/tokens", json=body)).json()["token"])

    assert (await narrow.get(f"{OP}/stats")).status_code == 200
    assert (await narrow.get(f"{OP}/tasks")).status_code == 403


async def test_workers_reach_their_own_tree_only(stage: Stage) -> None:
    """Another task's state, poll and cancel are a token-task-mismatch for a worker, by handle and by token."""
    operator = stage.node.as_(stage.roles["operator"][1])
    other, _ = await stage.node.worker(operator)
    for name in ("worker handle", "worker token"):
        worker = stage.node.as_(stage.roles[name][1])
        replies = [
            await worker.get(f"{WORK}/tasks/{other}"),
            await worker.get(f"{WORK}/tasks/{other}/poll?hold=0"),
            await worker.post(f"{WORK}/tasks/{other}/cancel"),
            await worker.get(f"{WORK}/prompt?task_id={other}"),
            await worker.post(f"{WORK}/result", json={"task_id": other, "value": 1}),
        ]
        assert [(reply.status_code, reply.json()["code"]) for reply in replies] == [(403, "token-task-mismatch")] * 5


async def test_a_handle_outside_of_its_routes_is_checked_before_it_is_refused(stage: Stage) -> None:
    """A mistyped handle has its own error, an unknown one counts as no credential, a valid one is not allowed there."""
    handle = stage.roles["worker handle"][1]
    mistyped = handle[:-1] + ("a" if handle[-1] != "a" else "b")
    replies = [
        await stage.node.as_(credential).get(f"{OP}/tasks")
        for credential in (mistyped, stage.node.engine.parts.mint.new(0), handle)
    ]

    assert [(reply.status_code, reply.json()["code"]) for reply in replies] == [
        (400, "handle-mistyped"),
        (401, "unauthenticated"),
        (403, "role-violation"),
    ]
