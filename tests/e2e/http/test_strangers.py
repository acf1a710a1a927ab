"""Requests that miss the API: foreign hosts, unfilled placeholders, unknown parameters, HEAD, refused handshakes."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import httpx
import orjson
import pytest
import websockets
from starlette.routing import WebSocketRoute

from app.domain.access import Role
from app.http.hosts import names_of
from app.http.routers import all_routes
from app.http.routes import ModelRoute, PlainRoute
from app.http.settings import HttpSettings
from app.ws.sockets import Sockets
from swarmhold.models.frames import CloseCode
from tests.support.ports import LOOPBACK
from tests.support.serving import Node, served
from tests.support.speaking import speaking

OP, WORK, SENIOR = "/v1/operator", "/v1/worker", "/v1/senior"
PROBLEM = "application/problem+json"
DEADLINE_S = 60.0


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    """A node that knows itself as a public name as well."""
    hosts = names_of("127.0.0.1", "https://Hive.example:8443/base", (), loopback=True)
    async with served(HttpSettings(allowed_hosts=hosts)) as node:
        yield node


async def exchanged(node: Node, *lines: str) -> tuple[int, dict[str, str], bytes]:
    """Status, header fields and body of the reply to a request that is written as given."""
    async with asyncio.timeout(DEADLINE_S):
        reader, writer = await asyncio.open_connection(LOOPBACK, node.port)
        writer.write("\r\n".join((*lines, "Connection: close", "", "")).encode("latin-1"))
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
    first, *fields = head.decode("latin-1").split("\r\n")
    return int(first.split()[1]), {name.lower(): text for name, _, text in (f.partition(": ") for f in fields)}, body


@pytest.mark.parametrize("hosts", [(), ("Host: 127.0.0.1", "Host: 127.0.0.1"), ("Host: localhost", "host: x")])
async def test_http_1_1_takes_exactly_one_host(node: Node, hosts: tuple[str, ...]) -> None:
    """None or two are malformed, as RFC 9112 demands, and the connection is closed."""
    status, headers, body = await exchanged(node, "GET /healthz HTTP/1.1", *hosts)

    assert (status, orjson.loads(body)["code"]) == (400, "malformed-request")
    assert (headers["content-type"], headers["connection"]) == (PROBLEM, "close")
    assert "Host" in orjson.loads(body)["detail"]


async def test_http_1_0_needs_no_host(node: Node) -> None:
    """Old clients and load balancers send none; two are too many for them as well."""
    assert (await exchanged(node, "GET /healthz HTTP/1.0"))[0] == 200
    assert (await exchanged(node, "GET /healthz HTTP/1.0", "Host: localhost", "Host: localhost"))[0] == 400


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "127.0.0.1:7777", "[::1]", "[::1]:80", "hive.example", "hive.EXAMPLE.:99"]
)
async def test_own_names_are_accepted_with_any_port(node: Node, host: str) -> None:
    """Loopback and the public name."""
    assert (await exchanged(node, "GET /healthz HTTP/1.1", f"Host: {host}"))[0] == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:7777", "127.0.0.1.evil.example", "10.0.0.1", "[::2]", ""]
)
async def test_a_name_that_was_made_to_resolve_here_is_refused(node: Node, host: str) -> None:
    """Also on routes without a credential, and the reply says what to do."""
    for path in ("/healthz", "/console", f"{OP}/tasks", "/nowhere"):
        status, headers, body = await exchanged(node, f"GET {path} HTTP/1.1", f"Host: {host}")

        assert (status, headers["content-type"]) == (421, PROBLEM)
        assert orjson.loads(body)["code"] == "host-not-allowed"
        assert "http.allowed_hosts" in orjson.loads(body)["detail"]


def test_the_names_of_a_server_follow_from_where_it_listens() -> None:
    """On loopback its own, elsewhere all until some are named; loopback names always work."""
    assert names_of("127.0.0.1", None, (), loopback=True) == ("localhost", "127.0.0.1", "[::1]")
    assert names_of("::1", None, (), loopback=True) == ("localhost", "127.0.0.1", "[::1]")
    assert names_of("0.0.0.0", "http://a.example", (), loopback=False) == ()
    assert names_of("10.0.0.1", "http://a.example:1/", ("b.example",), loopback=False)[3:] == ("a.example", "b.example")
    assert names_of("127.0.0.1", None, ("*",), loopback=True) == ()


def placeholder_calls() -> Iterator[tuple[str, str]]:
    """Every method and path of the API that has a parameter in its path, as its documentation shows it."""
    for route in all_routes():
        if isinstance(route, ModelRoute | PlainRoute) and "{" in route.path:
            for method in sorted(route.methods or ()):
                yield method, route.path.replace(":path}", "}")


async def test_placeholders_in_a_path_are_refused_on_every_route(node: Node) -> None:
    """With a credential, without one, encoded or not; the reply names the placeholder."""
    operator = await node.operator()
    calls = list(placeholder_calls())

    assert len(calls) > 20
    for method, path in calls:
        for client, target in ((operator, path), (node.as_(None), path), (operator, path.replace("{", "%7B"))):
            reply = await client.request(method, target)

            assert (reply.status_code, reply.json()["code"]) == (400, "invalid-request"), (method, path, reply.text)
            assert f"{{{path.partition('{')[2].partition('}')[0]}}}" in reply.json()["detail"]
    raw = await exchanged(node, f"GET {OP}/tasks/{{task_id}} HTTP/1.1", "Host: localhost")
    assert raw[0] == 400


async def test_an_unknown_query_parameter_is_refused_with_the_nearest_name(node: Node) -> None:
    """On both kinds of routes, also when its value is empty; those that are known go on working."""
    operator = await node.operator()
    task_id, worker = await node.worker(operator)

    async def detail(client: httpx.AsyncClient, target: str, method: str = "GET") -> str:
        reply = await client.request(method, target)
        assert (reply.status_code, reply.json()["code"]) == (400, "invalid-request"), reply.text
        return reply.json()["detail"]

    assert await detail(operator, f"{OP}/tasks?limt=3") == "unknown query parameter 'limt'; did you mean 'limit'?"
    assert "did you mean 'limit'?" in await detail(operator, f"{OP}/tasks?limit=3&l%69mt=")
    assert "did you mean 'hold'?" in await detail(operator, f"{OP}/tasks/{task_id}/poll?holt=0")
    assert "takes hold, since" in await detail(operator, f"{OP}/tasks/{task_id}/poll?zzz=0")
    assert "takes none" in await detail(operator, f"{OP}/tasks/{task_id}?hold=0")
    assert "takes none" in await detail(operator, f"{OP}/session/heartbeat?x", "POST")
    assert "did you mean 'ok'?" in await detail(worker, f"{WORK}/submit?okk=true", "POST")
    assert "takes none" in await detail(node.as_(None), "/healthz?verbose=1")
    assert (await operator.get(f"{OP}/tasks/{task_id}/poll?h%6Fld=0&since=&")).status_code == 202
    assert (await operator.get(f"{OP}/tasks?limit=3&status=&")).status_code == 200


async def test_a_stranger_learns_nothing_of_parameters(node: Node) -> None:
    """Without a valid credential the credential is what is refused."""
    assert (await node.as_("shk_nonsense").get(f"{OP}/tasks?limt=3")).status_code == 401


async def test_every_route_takes_unknown_parameters_for_mistakes(node: Node) -> None:
    """No route ignores what it does not know."""
    clients = {role: await node.operator(role) for role in (Role.OPERATOR, Role.SENIOR)}
    ids = {"{task_id}": "T-0" + "0" * 25, "{key}": "R-0" + "0" * 25, "{number}": "1", "{index}": "0"}
    for route in all_routes():
        if not isinstance(route, ModelRoute | PlainRoute):
            continue
        path = route.path.replace(":path}", "}")
        for placeholder, text in ids.items():
            path = path.replace(placeholder, text)
        path = path.replace("{session_id}", "S-0" + "0" * 25).replace("{", "").replace("}", "")
        client = clients[Role.SENIOR if path.startswith(SENIOR) else Role.OPERATOR]
        reply = await client.request(next(iter(route.methods or ())), f"{path}?qqq=1")

        # Handles and keys are other credentials, which are looked at before.
        assert reply.status_code in (400, 401, 403), (path, reply.text)
        assert reply.status_code != 400 or "qqq" in reply.text


async def test_head_works_where_get_does(node: Node) -> None:
    """The header fields of the GET, without its body; elsewhere 405 as for GET, without a server error."""
    operator = await node.operator()
    task_id, worker = await node.worker(operator)
    paths = ("/healthz", f"{OP}/tasks", f"{OP}/tasks/{task_id}", f"{OP}/tasks/{task_id}/poll?hold=0", "/metrics")
    for path in (*paths, f"{OP}/session", f"{OP}/tasks/{task_id}/why", "/openapi.json"):
        got, head = await operator.get(path), await operator.head(path)

        assert head.status_code == got.status_code, path
        assert head.content == b""
        if path != "/metrics":
            assert head.headers["Content-Length"] == got.headers["Content-Length"]
    assert (await worker.head(f"{WORK}/prompt")).status_code == 200
    assert (await node.as_(None).head(f"{OP}/tasks")).status_code == 401
    refused = await operator.head(f"{WORK}/submit")
    assert refused.status_code == 405
    assert refused.headers["Allow"] == "POST"
    assert (await operator.request("PATCH", f"{OP}/tasks")).headers["Allow"] == "GET, HEAD, POST"


async def test_head_of_an_event_stream_ends(node: Node) -> None:
    """It says what a GET would get, and does not go on."""
    head = await (await node.operator()).head(f"{OP}/events")

    assert head.status_code == 200
    assert head.headers["Content-Type"].startswith("text/event-stream")


HANDSHAKE = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: " + "A" * 22 + "==",
)


@pytest.mark.parametrize(
    ("path", "fields", "status", "code"),
    [
        (f"{SENIOR}/bridges/desk/ws", ("Host: localhost", "Origin: https://evil.example"), 403, "origin-not-allowed"),
        (f"{SENIOR}/bridges/desk/ws", ("Host: evil.example",), 421, "host-not-allowed"),
        (f"{SENIOR}/bridges/desk/ws", ("Host: localhost", "Host: localhost"), 400, "malformed-request"),
        (f"{SENIOR}/bridges/desk/ws?token=x", ("Host: localhost",), 400, "invalid-request"),
        (f"{SENIOR}/bridges/{{bridge_id}}/ws", ("Host: localhost",), 400, "invalid-request"),
        (f"{SENIOR}/bridges/a%00b/ws", ("Host: localhost",), 422, "invalid-name"),
        (f"{OP}/backends/{'x' * 201}/ws", ("Host: localhost",), 422, "invalid-name"),
        ("/v1/nowhere/ws", ("Host: localhost",), 404, "not-found"),
    ],
)
async def test_a_refused_handshake_is_a_problem_document(
    node: Node, path: str, fields: tuple[str, ...], status: int, code: str
) -> None:
    """Like the refusal of any other request."""
    async with asyncio.timeout(DEADLINE_S):
        reader, writer = await asyncio.open_connection(LOOPBACK, node.port)
        writer.write("\r\n".join((f"GET {path} HTTP/1.1", *fields, *HANDSHAKE, "", "")).encode())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()

    assert int(head.split()[1]) == status
    assert b"content-type: application/problem+json" in head.lower()
    assert (orjson.loads(body)["status"], orjson.loads(body)["code"]) == (status, code)


@pytest.mark.parametrize("id", ["a/b", "/", "team/desk/ws", "a//b", "ä/ö", "50%", "q?x#y"])
async def test_ids_of_bridges_and_backends_may_hold_slashes(node: Node, id: str) -> None:
    """An id that can be attached with and addressed can be connected as."""
    quoted = httpx.URL(f"http://x/{''.join(f'%{byte:02X}' for byte in id.encode())}").raw_path[1:].decode()
    async with speaking(node, f"{SENIOR}/bridges/{quoted}/ws", await node.attach(Role.SENIOR)) as desk:
        assert (await desk.receive())["bridge_id"] == id
    async with speaking(node, f"{OP}/backends/{quoted}/ws", await node.attach()) as backend:
        assert (await backend.receive())["bridge_id"] == id


async def test_a_missing_credential_still_closes_with_a_code_that_pages_can_read(node: Node) -> None:
    """Browsers show a page the code of a close, and nothing of a refused handshake."""
    with pytest.raises(websockets.ConnectionClosed) as closed:
        async with websockets.connect(f"{node.websocket_url}{SENIOR}/bridges/desk/ws") as socket:
            await socket.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == CloseCode.UNAUTHENTICATED
    assert all(isinstance(route, WebSocketRoute) for route in Sockets().routes())
