"""A record of every request that clients sent and of every reply, and what a server that keeps its word never makes.

Times order calls: one that began after another had its whole reply must see what that one did or saw.
"""

import asyncio
import json
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

_CURSOR = re.compile(rb"^id: ?(\d+)", re.MULTILINE)
_TASK = re.compile(r"/v1/(?:operator|worker)/tasks/([^/]+)(?:/poll)?")
_CANCEL = re.compile(r"/v1/operator/tasks/([^/]+)/cancel")
_QUESTION = re.compile(r"/v1/(?:operator|worker|senior)/questions/([^/]+)")
_ANSWER = re.compile(r"/v1/senior/questions/([^/]+)/answer")
_NAMES = ("id", "task_id", "attempt", "key", "jti")


@dataclass(slots=True)
class Call:
    """One request. Without `ended_at` its reply did not come, or not whole, and it may have done anything."""

    begun_at: float
    method: str
    path: str
    credential: str
    body: bytes = b""
    after: str | None = None
    """The cursor that an SSE reader goes on from."""
    idempotency_key: str | None = None
    status: int | None = None
    reply: bytearray = field(default_factory=bytearray)
    ended_at: float | None = None

    @property
    def acknowledged(self) -> bool:
        """Whether the whole reply came, and it is a good one."""
        return self.ended_at is not None and self.status is not None and 200 <= self.status < 300

    def value(self) -> Any:
        """The JSON of its reply; None for another reply."""
        return _decoded(bytes(self.reply))

    def sent(self) -> Any:
        """The JSON of its body, or the text."""
        return _decoded(self.body)


@dataclass(slots=True)
class History:
    """The calls of one run, in the order in which they began."""

    calls: list[Call] = field(default_factory=list[Call])

    def client(self, url: str) -> httpx.AsyncClient:
        """A client whose calls are recorded. Its user closes it."""
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=100, keepalive_expiry=3.0)
        transport = _Recording(httpx.AsyncHTTPTransport(limits=limits), self)
        return httpx.AsyncClient(base_url=url, transport=transport)

    def write(self, path: Path) -> None:
        """Write one line of JSON for each call, to look for what went wrong."""
        with path.open("w") as lines:
            for call in self.calls:
                shown = {name: getattr(call, name) for name in ("begun_at", "ended_at", "method", "path", "status")}
                shown |= {"body": call.body.decode(errors="replace"), "reply": call.reply.decode(errors="replace")}
                lines.write(json.dumps(shown | {"idempotency_key": call.idempotency_key}) + "\n")


class _Recording(httpx.AsyncBaseTransport):
    def __init__(self, inner: httpx.AsyncBaseTransport, history: History) -> None:
        self._inner = inner
        self._history = history

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        call = Call(
            _now(),
            request.method,
            request.url.path,
            request.headers.get("authorization", ""),
            await request.aread(),
            request.headers.get("last-event-id"),
            request.headers.get("idempotency-key"),
        )
        self._history.calls.append(call)
        response = await self._inner.handle_async_request(request)
        call.status = response.status_code
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _Recorded(response.stream, call)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Recorded(httpx.AsyncByteStream):
    def __init__(self, inner: httpx.AsyncByteStream, call: Call) -> None:
        self._inner = inner
        self._call = call

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._inner:
            self._call.reply += chunk
            yield chunk
        self._call.ended_at = _now()

    async def aclose(self) -> None:
        await self._inner.aclose()


def contradictions(calls: list[Call]) -> list[str]:
    """What two or more of these calls show together and no server may show, in words."""
    done = [call for call in calls if call.acknowledged]
    tasks, questions = _reads(done, _TASK), _reads(done, _QUESTION)
    return [
        *_repeats(done),
        *_claims(done),
        *_finals(done, tasks),
        *_answers(done, questions),
        *_cancels(done, tasks),
        *_versions(tasks),
        *_streams(calls),
    ]


Reads = dict[str, list[tuple[Call, dict[str, Any]]]]
"""What was read of each task or question, by which call."""


def _reads(done: list[Call], paths: re.Pattern[str]) -> Reads:
    reads = defaultdict[str, list[tuple[Call, dict[str, Any]]]](list)
    for call in done:
        if call.method == "GET" and (found := paths.fullmatch(call.path)):
            reads[found[1]].append((call, call.value()))
    return reads


def _unseen(reads: Reads, id: str, change: Call, wanted: dict[str, Any], name: str) -> Iterator[str]:
    """Yield what was read after a change was acknowledged, and does not show it."""
    for call, value in reads.get(id, ()):
        if call.begun_at > _end(change) and not wanted.items() <= value.items():
            yield f"{name}: {id} was {wanted}, then {call.path} showed {value}"


def _repeats(done: list[Call]) -> Iterator[str]:
    """Yield calls with one idempotency key that did different things."""
    made = defaultdict[tuple[str, ...], set[str]](set)
    for call in done:
        if call.idempotency_key is not None and isinstance(value := call.value(), dict):
            named = {name: value[name] for name in _NAMES if name in value}
            made[call.credential, call.method, call.path, call.idempotency_key].add(json.dumps(named))
    for (_, method, path, key), names in made.items():
        if len(names) > 1:
            yield f"doubled: {method} {path} with the key {key} made {sorted(names)}"


def _claims(done: list[Call]) -> Iterator[str]:
    """Yield attempts that two claims got."""
    claims = defaultdict[tuple[str, int], set[str | None]](set)
    for call in done:
        if call.path == "/v1/worker/claim" and (job := call.value()) is not None:
            claims[job["task_id"], job["attempt"]].add(call.idempotency_key)
    for attempt, keys in claims.items():
        if len(keys) > 1:
            yield f"doubled claim: {attempt} was given out {len(keys)} times"


def _finals(done: list[Call], tasks: Reads) -> Iterator[str]:
    """Yield accepted results of a worker that differ, or that a later reader of the task did not find."""
    given = (call.value() for call in done if call.method == "POST")
    handles = {
        f"Bearer {value['worker_handle']}": value["task_id"]
        for value in given
        if isinstance(value, dict) and value.get("worker_handle")
    }
    accepted = dict[str, Call]()
    for call in done:
        if call.path == "/v1/worker/submit":
            first = accepted.setdefault(handles[call.credential], call)
            if first.sent() != call.sent():
                yield f"doubled Final: {handles[call.credential]} took {first.sent()} and {call.sent()}"
    for task, call in accepted.items():
        yield from _unseen(tasks, task, call, {"status": "pass", "last_result": call.sent()}, "lost Final")


def _answers(done: list[Call], questions: Reads) -> Iterator[str]:
    """Yield questions with two answers, and answers that a later reader did not find."""
    accepted = dict[str, Call]()
    for call in done:
        if found := _ANSWER.fullmatch(call.path):
            first = accepted.setdefault(found[1], call)
            if first.sent() != call.sent():
                yield f"doubled answer: {found[1]} took {first.sent()} and {call.sent()}"
    for key, call in accepted.items():
        wanted = {"status": "answered", "answer": call.sent()["value"]}
        yield from _unseen(questions, key, call, wanted, "lost answer")


def _cancels(done: list[Call], tasks: Reads) -> Iterator[str]:
    """Yield tasks that were cancelled and not seen as cancelled later."""
    for call in done:
        if found := _CANCEL.fullmatch(call.path):
            yield from _unseen(tasks, found[1], call, {"status": "cancelled"}, "lost cancel")


def _versions(tasks: Reads) -> Iterator[str]:
    """Yield tasks that a later reader saw in an earlier version."""
    for task, reads in tasks.items():
        seen = [(call.begun_at, _end(call), int(value["version"])) for call, value in reads]
        ended, newest, at = sorted(seen, key=lambda read: read[1]), 0, 0
        for begun_at, _, version in sorted(seen):
            while ended[at][1] < begun_at:
                newest, at = max(newest, ended[at][2]), at + 1
            if version < newest:
                yield f"back in time: {task} was seen in version {newest}, and then in {version}"


def _streams(calls: list[Call]) -> Iterator[str]:
    """Yield streams of events whose cursors do not grow, from the one that they go on from."""
    for call in calls:
        if call.path.endswith("/events") and call.status == 200:
            cursors = [int(call.after or 0), *map(int, _CURSOR.findall(call.reply))]
            if cursors != sorted(set(cursors)):
                yield f"out of order: a stream after {call.after} had the cursors {cursors}"


def _end(call: Call) -> float:
    assert call.ended_at is not None
    return call.ended_at


def _decoded(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text.decode(errors="replace") or None


def _now() -> float:
    return asyncio.get_running_loop().time()
