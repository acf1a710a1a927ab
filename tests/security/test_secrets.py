"""A run with a credential of every kind, and then a search for each of them in everything that the run wrote."""

import asyncio
import base64
import json
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import websockets

from tests.conftest import StartServer
from tests.e2e.cli.conftest import SWARMHOLD, surroundings
from tests.support.processes import ServerProcess
from tests.support.receiver import receiving
from tests.support.waiting import eventually

OP, WORK, SENIOR, ADMIN = "/v1/operator", "/v1/worker", "/v1/senior", "/v1/admin"
KEPT = frozenset({"root.key", "keys.json"})
"""The two files whose very purpose is to hold secrets; both are their owner's alone."""
CREDENTIALS = ("shk_", "wh-", "eyJ", "al_")
"""How those begin that are sent by clients, wherever to."""
CALLS_ARE_SIGNED_WITH = "s1gning-of-calls-" * 3
INHERITED = "an-unrelated-secret-of-the-servers-own-environment"
PEEK = """
import json, os
print(json.dumps({
    "environment": {name: value for name, value in os.environ.items() if name != "SWARMHOLD_HANDLE"},
    "arguments": [open(f"/proc/{pid}/cmdline").read() for pid in (os.getpid(), os.getppid())],
}))
"""


@dataclass(slots=True)
class Run:
    """What a run made (`secrets`, by what they are) and what it wrote (`written`, by where)."""

    server: ServerProcess
    secrets: dict[str, str] = field(default_factory=dict[str, str])
    written: dict[str, bytes] = field(default_factory=dict[str, bytes])

    def keep(self, what: str, secret: str) -> str:
        """Note a secret, and return it."""
        self.secrets[what] = secret
        return secret

    def leaks(self) -> list[tuple[str, str]]:
        """Which secret stands where it should not, whole or by the part that nobody could guess."""
        return [
            (what, where)
            for what, secret in self.secrets.items()
            for needle in _needles(secret)
            for where, content in self.written.items()
            if needle in content.lower()
        ]


def _needles(secret: str) -> Iterator[bytes]:
    """How a secret may be spelled. Of a token the signature, of keys and handles what follows the prefix."""
    yield secret.lower().encode()
    tail = secret.rpartition(".")[2] if secret.startswith("eyJ") else secret.partition("_")[2] or secret[3:]
    yield tail.lower().encode()
    yield base64.b64encode(secret.encode()).lower()


class Caller:
    """A client that shows one credential, and keeps what it is answered."""

    def __init__(self, run: Run, client: httpx.AsyncClient, credential: str) -> None:
        self._run = run
        self._client = client
        self._headers = {"Authorization": f"Bearer {credential}"}

    async def call(self, method: str, path: str, *, status: int | None = None, **options: Any) -> Any:
        """One call that goes well, or as `status` says."""
        reply = await self._client.request(
            method, path, headers={**self._headers, **options.pop("more", {})}, **options
        )
        assert reply.is_success if status is None else reply.status_code == status, (path, reply.text)
        return reply.json() if reply.content and "json" in reply.headers["content-type"] else reply.text

    async def note(self, path: str) -> None:
        """A call whose reply must hold no secret."""
        reply = await self._client.get(path, headers=self._headers)
        assert reply.is_success, (path, reply.text)
        self._run.written[path] = reply.content


@asynccontextmanager
async def begun(start_server: StartServer, tmp_path: Path) -> AsyncIterator[tuple[Run, httpx.AsyncClient, str]]:
    """A server with verbose logs and webhooks, an address that it may call, and the first key's maker."""
    program = {"path": sys.executable, "args": ["-c", PEEK]}
    async with receiving() as receiver:
        settings = {
            "SWARMHOLD_LOG_LEVEL": "debug",
            "SWARMHOLD_HTTP__ACCESS_LOG": "true",
            "SWARMHOLD_SPAWN__PROGRAMS": json.dumps({"peek": program}),
            "SWARMHOLD_SPAWN__HTTP_ALLOW": receiver.url,
            "SWARMHOLD_SPAWN__HTTP_SECRETS": CALLS_ARE_SIGNED_WITH,
            "SWARMHOLD_WEBHOOKS__ALLOW": receiver.url,
            "OPENAI_API_KEY": INHERITED,
        }
        server = await asyncio.to_thread(
            lambda: start_server(data_dir=tmp_path / "data", settings=settings, fresh=True)
        )
        run = Run(server)
        run.keep("root key", server.root_key())
        run.keep("secret of calls", CALLS_ARE_SIGNED_WITH)
        run.keep("secret of the environment", INHERITED)
        ring = json.loads((server.data_dir / "keys.json").read_bytes())
        for name, secret in (("digests", ring["digests"]), ("http", ring["http"]), ("signing", ring["signing"][0])):
            run.keep(f"ring: {name}", secret if isinstance(secret, str) else secret["secret"])
        async with httpx.AsyncClient(base_url=server.url, timeout=60, trust_env=False) as client:
            yield run, client, receiver.url
            # What the server sent is a worker's own; all else of it is looked through.
            sent = [
                {**body, "handle": run.keep("http handle", body["handle"])}
                for body in receiver.bodies
                if "handle" in body
            ]
            assert sent
            told = [body for body in receiver.bodies if "handle" not in body]
            assert told
            run.written["what webhooks were told"] = json.dumps(told).encode()


async def _credentials(run: Run, client: httpx.AsyncClient, url: str) -> dict[str, Caller]:
    """A key, a session of each role, tokens, a webhook: everything that is shown once."""
    root = Caller(run, client, run.secrets["root key"])
    hook = await root.call("POST", f"{ADMIN}/webhooks", json={"url": url, "name": "all"})
    run.keep("webhook secret", hook["secret"])
    made: dict[str, Caller] = {"root": root}
    for name, role in (("key", "worker"), ("revoked key", "operator")):
        key = await root.call(
            "POST", f"{ADMIN}/keys", json={"name": name, "roles": [role]}, more={"Idempotency-Key": name}
        )
        made[name] = Caller(run, client, run.keep(name, key["key"]))
    await root.call("DELETE", f"{ADMIN}/keys/{key['id']}")
    for role in ("operator", "observer", "senior"):
        body = {"operator_id": role, "role": role, "ttl": 600}
        session = await root.call("POST", f"{OP}/sessions", json=body, more={"Idempotency-Key": role})
        made[role] = Caller(run, client, run.keep(f"{role} token", session["token"]))
    return made


async def _attempts(run: Run, by: dict[str, Caller], url: str) -> list[str]:
    """A task for each way to start a worker; the ids, when each worker has got its handle or has done its work."""
    operator = by["operator"]
    spawners = {
        "external": {"kind": "external"},
        "queue": {"kind": "queue", "queue": "q"},
        "process": {"kind": "process", "program": "peek"},
        "http": {"kind": "http", "url": url},
        "operator": {"kind": "operator", "backend_id": "desk"},
    }
    ids: list[str] = []
    address = f"{run.server.websocket_url}{OP}/backends/desk/ws"
    offered = ["swarmhold.v1", f"swarmhold.bearer.{run.secrets['operator token']}"]
    async with websockets.connect(address, subprotocols=offered, proxy=None) as socket:  # type: ignore[arg-type]
        for kind, spawner in spawners.items():
            ids.append(
                (await operator.call("POST", f"{OP}/tasks", json={"agent": kind, "initial_directive": "go"}))["id"]
            )
            reply = await operator.call("POST", f"{OP}/tasks/{ids[-1]}/dispatch", json={"spawner": spawner})
            if kind == "external":
                run.keep("external handle", reply["worker_handle"])
        claimed = await by["key"].call("POST", f"{WORK}/claim", json={"queue": "q", "hold": 10})
        run.keep("claimed handle", claimed["worker_handle"])
        async with asyncio.timeout(60):
            while (frame := json.loads(await socket.recv()))["type"] != "spawn":
                pass
        run.keep("backend handle", frame["worker_handle"])
    token = await operator.call(
        "POST", f"{OP}/tokens", json={"agent_id": "w", "role": "worker", "ttl": 60, "task_id": ids[0]}
    )
    run.keep("minted token", token["token"])

    async def peeked() -> bool:
        return (await operator.call("GET", f"{OP}/tasks/{ids[2]}"))["status"] == "pass"

    await eventually(peeked)
    return ids


async def _mistakes(run: Run, client: httpx.AsyncClient) -> None:
    """Every credential, in every place where one might end up by mistake."""
    for what, secret in [row for row in run.secrets.items() if row[1].startswith(CREDENTIALS)]:
        stranger = Caller(run, client, secret)
        for method, path, body in (
            ("GET", f"{OP}/tasks/{secret}", None),
            ("GET", f"/{secret}", None),
            ("GET", f"{OP}/tasks?cursor={secret}", None),
            ("POST", f"{OP}/tokens/verify", {"token": secret, "verb": "nothing"}),
            ("POST", f"{OP}/sessions", {"operator_id": 1, "role": "operator", "ttl": 1}),
            ("POST", f"{WORK}/heartbeat", None),
        ):
            reply = await client.request(method, path, json=body, headers={"Authorization": f"Bearer {secret}x"})
            assert reply.status_code < 500, (what, path)
        await stranger.call("GET", "/nowhere", status=404)


async def _questions(run: Run, client: httpx.AsyncClient, by: dict[str, Caller]) -> None:
    """A worker asks and a senior answers, each with its own credential."""
    worker = Caller(run, client, run.secrets["external handle"])
    asked = await worker.call("POST", f"{WORK}/questions", json={"question": "?"})
    await by["senior"].call("POST", f"{SENIOR}/questions/{asked['key']}/answer", json={"value": "!"})
    await worker.call("POST", f"{WORK}/output", json={"type": "progress", "stage": "s"})
    person = await by["root"].call("POST", f"{ADMIN}/keys", json={"name": "pat", "roles": ["senior"], "person": True})
    run.keep("person's key", person["key"])
    asked = await by["operator"].call("POST", f"{OP}/questions", json={"question": "?"})
    links = f"{SENIOR}/questions/{asked['key']}/links"
    made = await by["senior"].call("POST", links, json={"person": "pat", "ttl": 60})
    link = run.keep("answer link", made["url"].partition("#")[2])
    await client.get(made["url"])
    for path, body in (("open", {}), ("answer", {"value": "!"}), ("open", {})):
        await client.post(f"/v1/links/{path}", json={"link": link, **body})


async def _everything_shown(run: Run, client: httpx.AsyncClient, by: dict[str, Caller], ids: list[str]) -> None:
    """What the server shows to those who may look."""
    for path in ("sessions", "registry", "stats", "tasks", "session"):
        await by["operator"].note(f"{OP}/{path}")
    for task_id in ids:
        for rest in ("", "/why", "/attempts", "/attempts/1", "/attempts/1/output", "/attempts/1/late"):
            await by["operator"].note(f"{OP}/tasks/{task_id}{rest}")
    await by["senior"].note(f"{SENIOR}/questions?status=answered")
    await by["observer"].note("/metrics")
    await by["root"].note(f"{ADMIN}/keys")
    await by["root"].note(f"{ADMIN}/webhooks")
    last = (await by["operator"].call("POST", f"{OP}/tasks", json={"agent": "last", "initial_directive": ""}))["id"]
    headers = {"Authorization": f"Bearer {run.secrets['observer token']}"}
    async with asyncio.timeout(60), client.stream("GET", f"{OP}/events?after=0", headers=headers) as stream:
        lines: list[str] = []
        async for line in stream.aiter_lines():
            lines.append(line)
            if last in line:
                break
    run.written["events"] = "\n".join(lines).encode()


def _everything_kept(run: Run, folder: Path) -> None:
    """What a server leaves behind that is killed at once: its log, its files, the audit log, a backup."""
    server = run.server
    run.written["arguments"] = Path(f"/proc/{server.pid}/cmdline").read_bytes()
    for command in (
        ("audit", "export"),
        ("backup", str(folder / "b.tar")),
        ("doctor", "--json"),
        ("keys", "list", "--json"),
    ):
        done = subprocess.run([SWARMHOLD, *command], capture_output=True, timeout=100, env=surroundings(server))
        run.written[f"swarmhold {command[0]}"] = done.stdout + done.stderr
        assert done.stdout, done.stderr
    server.kill()
    run.written["log"] = server.logs().encode()
    for path in server.data_dir.rglob("*"):
        if path.is_file() and path.name not in KEPT:
            run.written[path.name] = path.read_bytes()
    with tarfile.open(folder / "b.tar") as archive:
        for member in archive:
            content = archive.extractfile(member)
            if content is not None and member.name not in KEPT:
                run.written[f"backup: {member.name}"] = content.read()


async def test_no_secret_is_written_anywhere(start_server: StartServer, tmp_path: Path) -> None:
    """Keys, tokens, handles and the server's own secrets are shown once and kept as digests, whatever goes wrong."""
    async with begun(start_server, tmp_path) as (run, client, url):
        by = await _credentials(run, client, url)
        ids = await _attempts(run, by, url)
        await _questions(run, client, by)
        await _mistakes(run, client)
        await _everything_shown(run, client, by, ids)
        peeked = await by["operator"].call("GET", f"{OP}/tasks/{ids[2]}")
        assert peeked["last_result"]["environment"]["SWARMHOLD_AGENT"] == "process"
        await asyncio.to_thread(_everything_kept, run, tmp_path)

    assert len(run.secrets) == 19
    assert {"log", "events", "swarmhold audit", "swarmhold.db", "swarmhold.db-wal", "/metrics"} <= run.written.keys()
    assert all(run.written[name] for name in ("log", "events", "swarmhold.db-wal", "backup: swarmhold.db"))
    assert b"[redacted]" in run.written["log"], "no secret ever came near the log"
    assert run.leaks() == []
