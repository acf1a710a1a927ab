"""What replies look like, and what bodies mean."""

from collections.abc import AsyncIterator

import pytest

from app.domain.access import Role
from swarmhold.models.admin import TokenVerdict
from swarmhold.models.attempts import Attempt
from swarmhold.models.outputs import OutputRecord
from swarmhold.models.questions import Question
from swarmhold.models.server import Nodes, Stats
from swarmhold.models.sessions import Registry, Session
from swarmhold.models.shapes import Page
from swarmhold.models.tasks import Task, Why
from swarmhold.models.usage import TaskUsage
from tests.support.serving import Node, served

OP, WORK, SENIOR = "/v1/operator", "/v1/worker", "/v1/senior"


@pytest.fixture
async def node(store_url: str) -> AsyncIterator[Node]:
    """A node."""
    async with served(store_url=store_url) as node:
        yield node


async def test_a_new_task_is_complete(node: Node) -> None:
    """Every field of the wire's task, at its place, with its version as entity tag."""
    operator = await node.operator()
    body = {
        "agent": "a",
        "initial_directive": "d",
        "labels": {"team": "x"},
        "retry": {"max_attempts": 2, "on": ["blocked"]},
        "attempt_timeout": 60,
    }

    reply = await operator.post(f"{OP}/tasks", json=body)

    task = reply.json()
    assert reply.headers["Location"] == f"{OP}/tasks/{task['id']}"
    assert reply.headers["ETag"] == '"1"'
    # Only an item of a list may be a preview or says what was used, and only a settled task has the instant.
    assert task.keys() == Task.model_fields.keys() - {"cut", "settled_at", "started_at", "usage"}
    assert task["spec"] == {"agent": "a", "initial_directive": "d"}
    assert (task["status"], task["attempt"], task["suspended_on"], task["last_result"]) == ("pending", 0, [], None)
    assert task["labels"] == {"team": "x"}
    assert task["retry"]["max_attempts"] == 2
    assert task["created_at"].endswith("Z")


async def test_an_unchanged_task_is_304(node: Node) -> None:
    """Its version is the entity tag; after a change it is returned again."""
    operator = await node.operator()
    task, _ = await node.worker(operator)
    url = f"{OP}/tasks/{task}"
    etag = (await operator.get(url)).headers["ETag"]

    unchanged = await operator.get(url, headers={"If-None-Match": f'"0", W/{etag}'})
    await operator.post(f"{url}/result", json={"value": 1})
    changed = await operator.get(url, headers={"If-None-Match": etag})

    assert (unchanged.status_code, unchanged.content, unchanged.headers["ETag"]) == (304, b"", etag)
    assert changed.status_code == 200


@pytest.mark.parametrize(
    ("content", "kind", "value"),
    [
        (b"text \n\t ", "text/plain", "text"),
        (b"  text", "text/markdown; charset=UTF-8", "  text"),
        (b"", None, ""),
        ("grüße".encode(), None, "grüße"),
        (b'{"a": [1, null]} ', "application/json", {"a": [1, None]}),
        (b"null", "application/json", None),
        (b'"text "', "application/json; charset=utf-8", "text "),
        (b'{"a": 1}', "text/plain", '{"a": 1}'),
    ],
)
async def test_what_is_submitted_is_the_result(node: Node, content: bytes, kind: str | None, value: object) -> None:
    """Text loses the white space at its end, JSON is the value."""
    operator = await node.operator()
    task, worker = await node.worker(operator)

    reply = await worker.post(f"{WORK}/submit", content=content, headers={"Content-Type": kind} if kind else {})

    assert (reply.status_code, reply.content) == (204, b"")
    assert (await operator.get(f"{OP}/tasks/{task}")).json()["last_result"] == value


@pytest.mark.parametrize(("ok", "status"), [("true", "pass"), ("1", "pass"), ("false", "blocked"), ("0", "blocked")])
async def test_ok_decides(node: Node, ok: str, status: str) -> None:
    """For submit by the query, for result by the body."""
    operator = await node.operator()
    first, worker = await node.worker(operator)
    assert (await worker.post(f"{WORK}/submit?ok={ok}", content="x")).status_code == 204
    second, worker = await node.worker(operator)
    body = {"task_id": second, "value": "x", "ok": ok in ("true", "1"), "attempt": 1}
    assert (await worker.post(f"{WORK}/result", json=body)).status_code == 204

    for task in (first, second):
        assert (await operator.get(f"{OP}/tasks/{task}")).json()["status"] == status


async def test_outputs_are_read_in_order(node: Node) -> None:
    """Progress, partial, artifact, final."""
    operator = await node.operator()
    task, worker = await node.worker(operator)
    for output in (
        {"type": "progress", "stage": "reading", "note": "n"},
        {"type": "partial", "chunk": [1]},
        {"type": "artifact", "name": "f", "content": {"kind": "file_ref", "path": "/x", "size_hint": 3}},
    ):
        assert (await worker.post(f"{WORK}/output", json=output)).status_code == 204
    refused = await worker.post(
        f"{WORK}/output", json={"type": "final", "content": {"kind": "inline", "value": 1}, "ok": True}
    )
    await worker.post(f"{WORK}/submit", json=1)

    items = (await operator.get(f"{OP}/tasks/{task}/attempts/1/output")).json()["items"]

    assert refused.status_code == 422
    assert [OutputRecord.model_validate(item).type.value for item in items] == [
        "progress",
        "partial",
        "artifact",
        "final",
    ]
    assert items[2]["content"] == {"kind": "file_ref", "path": "/x", "size_hint": 3}
    assert items[3]["content"] == {"kind": "inline", "value": 1}
    assert [item["seq"] for item in items] == [1, 2, 3, 4]


async def test_usage_is_reported_and_read(node: Node) -> None:
    """Once for each idempotency key, in the list, in the attempts and for the task; what makes no sense is 422."""
    operator = await node.operator()
    task, worker = await node.worker(operator)
    for key in ("1", "2", "2"):
        body = {"type": "usage", "input_tokens": 5, "cost": 0.1, "model": "m"}
        assert (await worker.post(f"{WORK}/output", json=body, headers={"Idempotency-Key": key})).status_code == 204
    for wrong in ('"input_tokens":-1', '"cost":1e999', '"output_tokens":10000000000', '"model":"m"', '"tokens":1'):
        content = f'{{"type":"usage",{wrong}}}'
        refused = await worker.post(f"{WORK}/output", content=content, headers={"Content-Type": "application/json"})
        assert refused.status_code == 422, wrong

    [listed] = (await operator.get(f"{OP}/tasks")).json()["items"]
    [attempt] = (await operator.get(f"{OP}/tasks/{task}/attempts")).json()["items"]
    sums = {"input_tokens": 10, "cost": 0.2}
    assert listed["usage"] == sums
    assert attempt["usage"] == {**sums, "models": [{"model": "m", **sums}]}
    assert (await operator.get(f"{OP}/tasks/{task}/attempts/1")).json() == attempt
    found = (await operator.get(f"{OP}/tasks/{task}/usage")).json()
    assert TaskUsage.model_validate(found).model_extra == {}
    assert found == {"task_id": task, "own": sums, "total": sums, "tasks": 0, "complete": True}


async def test_lists_come_in_pages(node: Node) -> None:
    """The cursor leads on, and the last page has none."""
    operator = await node.operator()
    ids = [
        (await operator.post(f"{OP}/tasks", json={"agent": f"a{n % 2}", "initial_directive": "d"})).json()["id"]
        for n in range(5)
    ]
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = (await operator.get(f"{OP}/tasks", params={"limit": 2, **({"cursor": cursor} if cursor else {})})).json()
        seen += [task["id"] for task in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break

    assert seen == ids[::-1]
    some = (await operator.get(f"{OP}/tasks?agent=a1&status=pending")).json()["items"]
    assert [task["id"] for task in some] == [ids[3], ids[1]]
    external = {"spawner": {"kind": "external"}}
    for task_id in (ids[4], ids[0]):
        await operator.post(f"{OP}/tasks/{task_id}/dispatch", json=external)
    first = (await operator.get(f"{OP}/tasks?sort=longest&limit=1")).json()
    second = (await operator.get(f"{OP}/tasks?sort=longest&limit=1&cursor={first['next_cursor']}")).json()
    assert [task["id"] for task in first["items"] + second["items"]] == [ids[4], ids[0]]
    assert second["next_cursor"] is None
    assert Task.model_validate(first["items"][0]).started_at is not None
    assert (await operator.get(f"{OP}/tasks?sort=longest&cursor={ids[0]}")).status_code == 400


async def test_reports_fit_their_models(node: Node) -> None:
    """Attempts, why, sessions, stats, questions: what the client reads is what is sent."""
    operator, senior = await node.operator(kind="automate", bridge_id="b"), await node.operator(Role.SENIOR)
    task, worker = await node.worker(operator)
    await worker.post(f"{WORK}/questions", json={"question": {"a": 1}, "choices": [1, 2]})

    why = Why.model_validate_json((await operator.get(f"{OP}/tasks/{task}/why")).content)
    attempts = Page[Attempt].model_validate_json((await operator.get(f"{OP}/tasks/{task}/attempts")).content)
    one = Attempt.model_validate_json((await operator.get(f"{OP}/tasks/{task}/attempts/1")).content)
    sessions = Page[Session].model_validate_json((await operator.get(f"{OP}/sessions")).content)
    stats = Stats.model_validate_json((await operator.get(f"{OP}/stats")).content)
    questions = Page[Question].model_validate_json((await senior.get(f"{SENIOR}/questions?status=open")).content)

    nodes = Nodes.model_validate_json((await operator.get(f"{OP}/nodes")).content)
    registry = (await operator.get(f"{OP}/registry")).json()

    assert registry.keys() == Registry.model_fields.keys()
    assert not [link.model_extra for link in why.chain if link.model_extra]
    assert not stats.model_extra
    assert len(nodes.items) == 1 + len(node.others)
    assert all((row.alive, row.draining, row.model_extra) == (True, False, {}) for row in nodes.items)
    assert why.status == "suspended"
    assert {link.kind for link in why.chain} >= {"question", "attempt"}
    assert attempts.items == [one]
    assert (one.agent, one.prompt, one.status, one.spawner) == ("a", "work", "live", {"kind": "external"})
    assert {session.operator_id for session in sessions.items} == {"tester"}
    assert stats.tasks == {"suspended": 1}
    assert [(question.question, question.choices, question.bridge_id) for question in questions.items] == [
        ({"a": 1}, [1, 2], "b")
    ]


async def test_a_token_is_verified_and_spent(node: Node) -> None:
    """Verifying consumes a use, as doing would; what is wrong is named, since the asker holds the token anyway."""
    operator = await node.operator()
    mint = {"agent_id": "o", "role": "observer", "ttl": 60, "max_uses": 1}
    token = (await operator.post(f"{OP}/tokens", json=mint)).json()["token"]

    async def verify(text: str, verb: str) -> TokenVerdict:
        reply = await operator.post(f"{OP}/tokens/verify", json={"token": text, "verb": verb})
        assert reply.status_code == 200, reply.text
        return TokenVerdict.model_validate_json(reply.content)

    refused = await verify(token, "start_task")
    good = await verify(token, "read_trace")
    spent = await verify(token, "read_trace")
    nonsense = await verify("nonsense", "read_trace")

    assert (refused.valid, refused.code) == (False, "role-violation")
    assert (good.valid, good.code, good.uses_left, good.sub) == (True, None, 0, "o")
    assert (spent.valid, spent.code) == (False, "token-uses-exhausted")
    assert (nonsense.valid, nonsense.code, nonsense.role) == (False, "bad-signature", None)


async def test_revoking_a_token_kills_what_was_minted_below_it(node: Node) -> None:
    """The whole tree of rights goes at once."""
    operator = await node.operator()
    mint = {"agent_id": "o", "role": "observer", "ttl": 60}
    minted = (await operator.post(f"{OP}/tokens", json=mint)).json()
    assert (await operator.delete(f"{OP}/tokens/{minted['jti']}")).status_code == 204

    assert (await node.as_(minted["token"]).get(f"{OP}/stats")).status_code == 401


async def test_a_session_lives_by_its_token(node: Node) -> None:
    """Own session, heartbeat, detach, and back again by a heartbeat."""
    operator = await node.operator()
    assert (await operator.get(f"{OP}/session")).json()["attached"] is True
    assert (await operator.delete(f"{OP}/session")).status_code == 204
    assert (await operator.get(f"{OP}/session")).json()["attached"] is False
    assert (await operator.post(f"{OP}/session/heartbeat")).status_code == 204
    assert (await operator.get(f"{OP}/session")).json()["attached"] is True


async def test_pages_without_a_credential(node: Node) -> None:
    """Health and documents, with headers that keep a browser safe; metrics only when they are opened."""
    client = node.as_(None)

    assert (await client.get("/healthz")).json() == {"status": "ok"}
    assert (await client.get("/readyz")).json() == {"status": "ready"}
    assert (await client.get("/openapi.json")).json()["info"]["title"] == "swarmhold"
    for path in ("/healthz", "/readyz", "/openapi.json", "/docs"):
        probed = await client.head(path)
        assert (probed.status_code, probed.content) == (200, b"")
        assert probed.headers["Content-Length"] == (await client.get(path)).headers["Content-Length"]
    page = await client.get("/docs")
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert "unsafe" not in page.headers["Content-Security-Policy"]
    for part in ("/docs/docs.js", "/docs/docs.css"):
        assert part in page.text
        assert (await client.get(part)).status_code == 200
    assert (await client.get("/metrics")).status_code == 401
    metrics = await (await node.operator(Role.OBSERVER)).get("/metrics")
    assert "swarmhold_http_request_seconds_count" in metrics.text
