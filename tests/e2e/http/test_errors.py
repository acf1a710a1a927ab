"""Every line of the wire's table of errors, against a served node."""

import gzip
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from app.domain.access import Role
from app.domain.limits import Limits
from app.http.settings import AuthRateLimitSettings, HttpSettings
from tests.support.serving import ROOT_KEY, Node, served

OP, WORK, SENIOR = "/v1/operator", "/v1/worker", "/v1/senior"
NOBODY = "T-00000000000000000000000000"
NO_KEY = "R-00000000000000000000000000"


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    """A node with small limits, so that they can be passed; the shape of an error is that of any store."""
    async with served(HttpSettings(limits=Limits(body_bytes=10_000, worker_body_bytes=10_000))) as node:
        yield node


def problem(reply: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem document of a refusal, which has all that RFC 9457 and the wire ask for."""
    document = reply.json()
    assert (reply.status_code, document["code"]) == (status, code), reply.text
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert document["status"] == status
    assert document["title"]
    assert document["detail"]
    assert document["type"] == "about:blank"
    return document


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"{OP}/tasks/nonsense"),
        ("GET", f"{OP}/tasks/T-1"),
        ("GET", f"{OP}/tasks/nonsense/poll"),
        ("GET", f"{OP}/tasks/nonsense/why"),
        ("GET", f"{OP}/questions/nonsense"),
        ("GET", f"{OP}/sessions/nonsense"),
        ("GET", f"{OP}/tasks/{NOBODY}/poll?hold=-1"),
        ("GET", f"{OP}/tasks/{NOBODY}/poll?hold=x"),
        ("GET", f"{OP}/tasks/{NOBODY}/poll?hold=inf"),
        ("GET", f"{OP}/tasks/{NOBODY}/poll?hold=nan"),
        ("GET", f"{OP}/tasks/{NOBODY}/poll?hold=172801"),
        ("GET", f"{OP}/tasks/{NOBODY}/poll?since=-1"),
        ("GET", f"{OP}/tasks/{NOBODY}/attempts/0"),
        ("GET", f"{OP}/tasks/{NOBODY}/attempts/1.0"),
        ("GET", f"{OP}/tasks/{NOBODY}/attempts/+1/output"),
        ("GET", f"{OP}/tasks/{NOBODY}/attempts/%201"),
        ("POST", f"{OP}/tasks/{NOBODY}/attempts/1/late/0.0/adopt"),
        ("GET", f"{OP}/tasks?limit=1.0"),
        ("GET", f"{OP}/tasks?limit=1_0"),
        ("GET", f"{OP}/tasks?limit=0"),
        ("GET", f"{OP}/tasks?limit=201"),
        ("GET", f"{OP}/tasks?status=done"),
        ("GET", f"{OP}/tasks?label=nocolon"),
        ("GET", f"{OP}/tasks?cursor=nonsense"),
        ("GET", f"{OP}/events?after=-1"),
        ("GET", f"{OP}/events?types=no_such_kind"),
        ("GET", f"{OP}/events?task=nonsense"),
        ("GET", f"{OP}/tasks/{NOBODY}?x=%ff%fe&y=%zz".replace("?x", "/poll?hold")),
    ],
)
async def test_a_malformed_id_or_parameter_is_400(node: Node, method: str, path: str) -> None:
    """What cannot be an id, a hold, a limit or a filter is refused before anything is looked up."""
    operator = await node.operator()

    problem(await operator.request(method, path), 400, "invalid-request")


async def test_what_is_no_id_is_told_in_words(node: Node) -> None:
    """The same of every route, and no pattern."""
    client = await node.operator()
    for path, letter in (("tasks/T-1", "T"), ("tasks/T-1/why", "T"), ("questions/R-1", "R"), ("tasks?parent=x", "T")):
        document = problem(await client.get(f"{OP}/{path}"), 400, "invalid-request")
        assert document["detail"].endswith(f"is {letter}- and 26 letters and digits"), path


async def test_errors_name_the_limit(node: Node) -> None:
    """A parameter beyond a limit is refused with the limit."""
    operator = await node.operator()

    page = problem(await operator.get(f"{OP}/tasks?limit=1000"), 400, "invalid-request")
    hold = problem(await operator.get(f"{OP}/tasks/{NOBODY}/poll?hold=1e9"), 400, "invalid-request")
    body = problem(await operator.put(f"{OP}/resources/r", json="x" * 10_000), 413, "payload-too-large")

    assert "200" in page["detail"]
    assert "172800" in hold["detail"]
    assert body["limit"] == 10_000


@pytest.mark.parametrize(
    "body",
    [b"{", b"", b"\xff", b'{"agent": NaN}', b'"\\ud800"', b"[" * 300 + b"]" * 300, b"\xef\xbb\xbf{}"],
    ids=["cut", "empty", "not UTF-8", "NaN", "surrogate", "deep", "BOM"],
)
async def test_malformed_json_is_400(node: Node, body: bytes) -> None:
    """A body that is no JSON gets another error than one that breaks its schema."""
    operator = await node.operator()
    headers = {"Content-Type": "application/json"}

    problem(await operator.post(f"{OP}/tasks", content=body, headers=headers), 400, "malformed-body")
    problem(await operator.put(f"{OP}/resources/r", content=body, headers=headers), 400, "malformed-body")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (f"{OP}/tasks", {}),
        (f"{OP}/tasks", []),
        (f"{OP}/tasks", {"agent": "a", "initial_directive": 1}),
        (f"{OP}/tasks", {"agent": "a", "initial_directive": "d", "unknown": 1}),
        (f"{OP}/tasks", {"agent": "", "initial_directive": "d"}),
        (f"{OP}/tasks", {"agent": "a", "initial_directive": "d", "labels": {"a:b": "c"}}),
        (f"{OP}/tasks", {"agent": "a", "initial_directive": "d", "retry": {"max_attempts": 0}}),
        (f"{OP}/tasks", {"agent": "a", "initial_directive": "d", "attempt_timeout": 0}),
        (f"{OP}/tokens", {"agent_id": "a", "role": "operator", "ttl": 60}),
        (f"{OP}/tokens", {"agent_id": "a", "role": "worker", "ttl": -1}),
    ],
)
async def test_a_body_that_breaks_its_schema_is_422(node: Node, path: str, body: Any) -> None:
    """The error says where it breaks, and does not repeat what was sent."""
    operator = await node.operator()

    document = problem(await operator.post(path, json=body), 422, "invalid-body")

    assert document["errors"]
    assert all(set(error) == {"field", "message"} for error in document["errors"])


@pytest.mark.parametrize(
    "spawner",
    [
        {},
        {"kind": "no-such"},
        {"kind": "process", "program": "no-such"},
        {"kind": "queue"},
        {"kind": "external", "x": 1},
    ],
)
async def test_a_spawner_that_cannot_be_built_is_422(node: Node, spawner: dict[str, Any]) -> None:
    """By its shape or by what the server has."""
    operator = await node.operator()
    task = (await operator.post(f"{OP}/tasks", json={"agent": "a", "initial_directive": "d"})).json()["id"]

    reply = await operator.post(f"{OP}/tasks/{task}/dispatch", json={"spawner": spawner})

    assert reply.status_code == 422
    assert reply.json()["code"] in ("dispatch-failed", "invalid-body")


async def test_a_question_that_contradicts_itself_is_422(node: Node) -> None:
    """A policy without its deadline, a schema that is none, a default outside the choices."""
    operator = await node.operator()
    task, _ = await node.worker(operator)
    for body in (
        {"question": "?", "on_deadline": "block"},
        {"question": "?", "answer_schema": {"type": "no-such-type"}},
        {"question": "?", "choices": []},
        {
            "question": "?",
            "choices": ["a"],
            "deadline": "2099-01-01T00:00:00Z",
            "on_deadline": "default",
            "default": "b",
        },
        {"question": "?", "deadline": "tomorrow"},
    ):
        problem(await operator.post(f"{OP}/tasks/{task}/questions", json=body), 422, "invalid-body")


async def test_a_mistyped_handle_gets_an_error_of_its_own(node: Node) -> None:
    """The check character distinguishes a typing error, which may be reported, from a guess."""
    operator = await node.operator()
    _, worker = await node.worker(operator)
    handle = worker.headers["Authorization"].removeprefix("Bearer ")
    slip = handle[:-1] + ("0" if handle[-1] != "0" else "1")

    problem(await node.as_(slip).get(f"{WORK}/prompt"), 400, "handle-mistyped")
    problem(await node.as_("wh-short").get(f"{WORK}/prompt"), 400, "handle-mistyped")
    problem(await node.as_(node.engine.parts.mint.new(0)).get(f"{WORK}/prompt"), 401, "unauthenticated")
    assert (await node.as_(handle.upper()).get(f"{WORK}/prompt")).status_code == 200


async def test_missing_things_are_404(node: Node) -> None:
    """Each with a code of its own."""
    operator, senior = await node.operator(), await node.operator(Role.SENIOR)
    task, _ = await node.worker(operator)

    problem(await operator.get(f"{OP}/tasks/{NOBODY}"), 404, "task-not-found")
    problem(await operator.get(f"{OP}/tasks/{task}/attempts/9"), 404, "attempt-not-found")
    problem(await operator.get(f"{OP}/sessions/S-00000000000000000000000000"), 404, "session-not-found")
    problem(await operator.get(f"{OP}/questions/{NO_KEY}"), 404, "resume-key-not-found")
    problem(await operator.get(f"{OP}/resources/none"), 404, "resource-not-found")
    problem(await operator.post(f"{OP}/tasks/{task}/attempts/1/late/0/adopt"), 404, "late-result-not-found")
    problem(await operator.delete(f"{OP}/tokens/W-none"), 404, "key-not-found")
    problem(await senior.post(f"{SENIOR}/questions/{NO_KEY}/answer", json={"value": 1}), 404, "resume-key-not-found")
    problem(await node.as_(ROOT_KEY).delete("/v1/admin/keys/K-none"), 404, "key-not-found")
    problem(await operator.get("/v1/no/such/path"), 404, "not-found")
    problem(await operator.get("/v1/operator/tasks/"), 404, "not-found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", f"{OP}/tasks", "GET, HEAD, POST"),
        ("DELETE", f"{OP}/tasks/{NOBODY}", "GET, HEAD"),
        ("GET", f"{OP}/tasks/{NOBODY}/dispatch", "POST"),
        ("GET", f"{WORK}/submit", "POST"),
        ("POST", "/healthz", "GET, HEAD"),
        ("GET", f"{OP}/tasks/cancel", "POST"),
        ("OPTIONS", f"{OP}/tasks/retry", "POST"),
        ("GET", f"{OP}/sessions/x/y", None),
    ],
)
async def test_a_wrong_method_is_405_and_names_the_right_ones(
    node: Node, method: str, path: str, allowed: str | None
) -> None:
    """The Allow header holds every method of the path."""
    reply = await (await node.operator()).request(method, path)

    if allowed is None:
        problem(reply, 404, "not-found")
    else:
        problem(reply, 405, "method-not-allowed")
        assert reply.headers["Allow"] == allowed


async def test_conflicts_are_409(node: Node) -> None:
    """Each with a code of its own, and nothing changed."""
    operator, senior = await node.operator(), await node.operator(Role.SENIOR)
    task, worker = await node.worker(operator)
    again = await operator.post(f"{OP}/tasks/{task}/dispatch", json={"spawner": {"kind": "external"}})
    problem(again, 409, "invalid-transition")

    question = (await worker.post(f"{WORK}/questions", json={"question": "?"})).json()["key"]
    answer = f"{SENIOR}/questions/{question}/answer"
    assert (await senior.post(answer, json={"value": 1})).status_code == 200
    assert (await senior.post(answer, json={"value": 1.0})).status_code == 200
    problem(await senior.post(answer, json={"value": 2}), 409, "already-answered")

    assert (await worker.post(f"{WORK}/submit", content="one")).status_code == 204
    assert (await worker.post(f"{WORK}/submit", content="one  \n")).status_code == 204
    problem(await worker.post(f"{WORK}/submit", content="two"), 409, "final-conflict")
    problem(await worker.get(f"{WORK}/prompt"), 409, "attempt-superseded")
    problem(await operator.post(f"{OP}/tasks/{task}/cancel"), 409, "invalid-transition")


async def test_a_cancelled_task_tells_its_worker(node: Node) -> None:
    """A submit earns `cancelled`, a heartbeat says it in a 200, and what was asked is closed."""
    operator, senior = await node.operator(), await node.operator(Role.SENIOR)
    task, worker = await node.worker(operator)
    question = (await worker.post(f"{WORK}/questions", json={"question": "?"})).json()["key"]
    assert (await operator.post(f"{OP}/tasks/{task}/cancel", json={"reason": "no need"})).json()[
        "status"
    ] == "cancelled"

    problem(await worker.post(f"{WORK}/submit", content="late"), 409, "cancelled")
    problem(await worker.get(f"{WORK}/prompt"), 409, "cancelled")
    assert (await worker.post(f"{WORK}/heartbeat")).json() == {"expires_at": None, "cancelled": True}
    problem(await senior.post(f"{SENIOR}/questions/{question}/answer", json={"value": 1}), 409, "question-closed")
    late = (await operator.get(f"{OP}/tasks/{task}/attempts/1/late")).json()["items"]
    assert [(item["index"], item["value"], item["ok"]) for item in late] == [(0, "late", True)]


async def test_a_tree_too_deep_is_409(node: Node) -> None:
    """The error names the deepest level."""
    operator = await node.operator()
    _, worker = await node.worker(operator)
    for _ in range(4):
        child = (await worker.post(f"{WORK}/tasks", json={"agent": "a", "initial_directive": "d"})).json()["id"]
        reply = await worker.post(f"{WORK}/tasks/{child}/dispatch", json={"spawner": {"kind": "external"}})
        worker = node.as_(reply.json()["worker_handle"])

    refused = await worker.post(f"{WORK}/tasks", json={"agent": "a", "initial_directive": "d"})

    assert problem(refused, 409, "spawn-depth-exceeded")["max_spawn_depth"] == 4


@pytest.mark.one_node("it sends on after the reply, which no proxy forwards")
async def test_a_body_that_streams_past_the_limit_is_413(node: Node) -> None:
    """Also when no header said how long it would be."""
    operator = await node.operator()
    _, worker = await node.worker(operator)

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 1000

    problem(await worker.post(f"{WORK}/submit", content=endless()), 413, "payload-too-large")
    headers = {"Content-Type": "application/json"}
    problem(await operator.post(f"{OP}/sessions", content=endless(), headers=headers), 401, "unauthenticated")
    problem(await operator.post(f"{OP}/tokens", content=endless(), headers=headers), 413, "payload-too-large")


async def test_a_body_of_another_type_is_415(node: Node) -> None:
    """JSON routes take JSON; submit takes JSON and text."""
    operator = await node.operator()
    _, worker = await node.worker(operator)
    form = {"Content-Type": "application/x-www-form-urlencoded"}

    problem(await operator.post(f"{OP}/tasks", content=b"a=b", headers=form), 415, "unsupported-media-type")
    problem(await operator.post(f"{OP}/tokens", content=b"a=b", headers=form), 415, "unsupported-media-type")
    problem(await worker.post(f"{WORK}/submit", content=b"a=b", headers=form), 415, "unsupported-media-type")
    latin = {"Content-Type": "text/plain; charset=latin-1"}
    problem(await worker.post(f"{WORK}/submit", content=b"\xe9", headers=latin), 415, "unsupported-media-type")
    problem(await worker.post(f"{WORK}/submit", content=b"\xff"), 400, "malformed-body")
    problem(await worker.post(f"{WORK}/submit?ok=yes", content=b"x"), 400, "invalid-request")


async def test_an_answer_that_breaks_its_schema_is_422_and_the_question_stays_open(node: Node) -> None:
    """The error says where."""
    operator, senior = await node.operator(), await node.operator(Role.SENIOR)
    _, worker = await node.worker(operator)
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    key = (await worker.post(f"{WORK}/questions", json={"question": "?", "answer_schema": schema})).json()["key"]

    refused = await senior.post(f"{SENIOR}/questions/{key}/answer", json={"value": {"n": "x"}})

    assert problem(refused, 422, "answer-invalid")["path"] == "$.n"
    assert (await senior.get(f"{SENIOR}/questions/{key}")).json()["status"] == "open"


async def test_a_paused_loop_is_503_with_retry_after(node: Node) -> None:
    """Nothing starts, and the reply says when to try again."""
    operator, senior = await node.operator(), await node.operator(Role.SENIOR)
    task = (await operator.post(f"{OP}/tasks", json={"agent": "a", "initial_directive": "d"})).json()["id"]
    assert (await senior.post(f"{SENIOR}/loop/pause")).json()["paused"] is True

    refused = await operator.post(f"{OP}/tasks/{task}/dispatch", json={"spawner": {"kind": "external"}})

    document = problem(refused, 503, "loop-paused")
    assert int(refused.headers["Retry-After"]) > 0
    assert document["since"].endswith("Z")
    assert (await senior.post(f"{SENIOR}/loop/resume")).json()["paused"] is False


@pytest.mark.one_node("each node counts failed attempts for itself")
async def test_guessing_is_429_while_good_credentials_are_served() -> None:
    """Different wrong credentials of one source run out of patience; a right one never does."""
    limits = AuthRateLimitSettings(burst_per_source=10, per_source_per_second=0.01)
    async with served(HttpSettings(auth_rate_limit=limits)) as node:
        operator = await node.operator()
        client = node.as_(None)

        async def guess(text: str) -> httpx.Response:
            return await client.get(f"{OP}/session", headers={"Authorization": f"Bearer {text}"})

        statuses = [(await guess(f"shk_{n:040}")).status_code for n in range(12)]
        refused = await guess("shk_one-more")

        assert statuses == [401] * 10 + [429] * 2
        problem(refused, 429, "too-many-guesses")
        assert int(refused.headers["Retry-After"]) > 0
        assert (await operator.get(f"{OP}/session")).status_code == 200
        assert (await client.get(f"{OP}/session")).status_code == 401


async def test_a_fault_of_the_server_shows_only_its_reference(node: Node) -> None:
    """An unexpected exception is logged under a reference; its text is not shown."""
    operator = await node.operator()
    await node.engine.with_state("break", lambda state: state.db.change("DROP TABLE resources", ()))

    reply = await operator.get(f"{OP}/resources/r")

    assert reply.status_code in (500, 503)
    assert "resources" not in reply.json()["detail"]
    if reply.status_code == 500:
        assert reply.json()["reference"] in reply.json()["detail"]


async def test_every_reply_names_its_request(node: Node) -> None:
    """The caller's own id is kept when it is a plain one."""
    client = node.as_(None)

    kept = await client.get("/healthz", headers={"X-Request-Id": "abc-1"})
    made = [
        await client.get(path, headers={"X-Request-Id": "x" * 500}) for path in ("/healthz", "/nope", f"{OP}/session")
    ]

    assert kept.headers["X-Request-Id"] == "abc-1"
    assert len({reply.headers["X-Request-Id"] for reply in made}) == 3
    assert all(reply.headers["X-Content-Type-Options"] == "nosniff" for reply in made)


async def test_what_is_left_empty_in_a_query_counts_as_left_out(node: Node) -> None:
    """As clients write parameters without a value; but nobody guesses whether a result is good."""
    operator = await node.operator()
    task_id, worker = await node.worker(operator)

    for path in (
        f"{OP}/tasks?status=&agent=&label=&parent=&session=&limit=&cursor=",
        f"{OP}/tasks/{task_id}/poll?since=&hold=0",
        "/v1/worker/prompt?task_id=",
    ):
        reply = await (worker if "worker" in path else operator).get(path)
        assert reply.status_code in (200, 202), reply.text
    problem(await worker.post(f"{WORK}/submit?ok=", content="done"), 400, "invalid-request")


async def test_a_compressed_body_is_415_with_the_accepted_encodings(node: Node) -> None:
    """On routes of both kinds, and for text and JSON alike."""
    operator = await node.operator()
    _, worker = await node.worker(operator)
    squeezed = gzip.compress(b'{"agent":"a","initial_directive":"d"}')
    for reply in (
        await operator.post(f"{OP}/tasks", content=squeezed, headers={"Content-Encoding": "gzip"}),
        await operator.post(f"{OP}/tokens", content=squeezed, headers={"Content-Encoding": "gzip"}),
        await worker.post(f"{WORK}/submit", content=squeezed, headers={"Content-Encoding": "gzip"}),
    ):
        problem(reply, 415, "unsupported-media-type")
        assert reply.headers["Accept-Encoding"] == "identity"
