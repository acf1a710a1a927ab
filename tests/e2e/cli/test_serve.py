"""`swarmhold serve` from its start to its end, as those who run it see it."""

import asyncio
import json
import re
import resource
import socket
import stat
import subprocess
from contextlib import ExitStack, suppress
from datetime import timedelta
from pathlib import Path

import httpx
import jwt
import pytest
from websockets.asyncio.client import connect

from app.bootstrap import descriptors
from swarmhold import SwarmholdClient
from swarmhold.models.enums import Role
from swarmhold.models.spawners import ExternalSpawner
from tests.conftest import StartServer
from tests.e2e.cli.conftest import SWARMHOLD
from tests.support.ports import LOOPBACK
from tests.support.processes import ServerProcess, own_variables
from tests.support.waiting import eventually, wait_until


def _serve(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Start a node that is expected to refuse; it gets 30 s to say why."""
    own = own_variables()
    return subprocess.run(
        [SWARMHOLD, "serve", *arguments], capture_output=True, text=True, timeout=100, env={**own, **settings}
    )


def test_a_first_start_makes_everything_private(start_server: StartServer) -> None:
    """The directory is its owner's alone, and so are keys, root key and database; the log says where the key is."""
    node = start_server(fresh=True)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in node.data_dir.iterdir()}

    assert stat.S_IMODE(node.data_dir.stat().st_mode) == 0o700
    assert {"keys.json", "root.key", "swarmhold.db"} <= set(modes)
    assert {name: oct(mode) for name, mode in modes.items() if mode != 0o600} == {}
    wait_until(lambda: str(node.data_dir / "root.key") in node.logs())
    assert node.root_key() not in node.logs()


@pytest.mark.skipif(not Path("/proc/self/limits").exists(), reason="the limits of another process are read from /proc")
def test_it_serves_more_connections_than_its_shell_would_let_it(start_server: StartServer) -> None:
    """Started with the small limit that shells have, it takes as many open files as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, hard), hard))
    try:
        node = start_server(fresh=True)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    (limit,) = re.findall(r"Max open files +(\d+)", Path(f"/proc/{node.pid}/limits").read_text())

    assert int(limit) == min(hard, descriptors.MAX_LIMIT)


@pytest.mark.parametrize("limit", [64, 128])
def test_strangers_cannot_take_every_descriptor(start_server: StartServer, limit: int) -> None:
    """Connections beyond the reserve are closed, logged and counted; a task, a child process too, goes as ever."""
    node = start_server(max_descriptors=limit, settings={"SWARMHOLD_SPAWN__PROGRAMS": '{"cat": "/bin/cat"}'})
    root = {"Authorization": f"Bearer {node.root_key()}"}
    with ExitStack() as stack:
        client = stack.enter_context(httpx.Client(base_url=node.url, trust_env=False, timeout=60))
        token = client.post("/v1/operator/sessions", json={"operator_id": "o", "ttl": 600}, headers=root).json()[
            "token"
        ]
        operator = {"Authorization": f"Bearer {token}"}
        for _ in range(limit):
            stack.enter_context(socket.create_connection((LOOPBACK, node.port), timeout=60))
        wait_until(lambda: _metric(client, root, "swarmhold_connections_refused_total") > 0)
        # The last one is closed without a reply; it would wait for the head of its request otherwise.
        with socket.create_connection((LOOPBACK, node.port), timeout=60) as refused, suppress(ConnectionResetError):
            assert refused.recv(1) == b""
        wait_until(lambda: "cause='descriptors'" in node.logs())
        body = {"agent": "a", "initial_directive": "said"}
        task = client.post("/v1/operator/tasks", json=body, headers=operator).json()["id"]
        path, spawner = f"/v1/operator/tasks/{task}", {"kind": "process", "program": "cat"}
        ended = client.post(f"{path}/dispatch?wait=50", json={"spawner": spawner}, headers=operator).json()
        assert (ended["outcome"], ended["value"]) == ("pass", "said")

    wait_until(lambda: _is_served(node), awaited="a new connection to be served")
    assert "Too many open files" not in node.logs()
    assert node.stop() == 0


def _metric(client: httpx.Client, root: dict[str, str], name: str) -> float:
    text = client.get("/metrics", headers=root).text
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name} "))


def _is_served(node: ServerProcess) -> bool:
    """Whether a new connection is served."""
    with suppress(httpx.TransportError):
        return httpx.get(f"{node.url}/readyz", trust_env=False, timeout=5).status_code == 200
    return False


def test_a_taken_port_and_a_taken_database_are_told(start_server: StartServer) -> None:
    """The second server says in one line what is in its way, and leaves the first alone."""
    node = start_server(fresh=True)
    port = _serve("--port", str(node.port), "--data-dir", f"{node.data_dir}-other")
    data = _serve("--port", "0", "--data-dir", str(node.data_dir))

    assert (port.returncode, data.returncode) == (1, 1)
    assert "address already in use" in port.stderr
    assert f"process {node.pid} is using this database" in data.stderr
    assert "Traceback" not in port.stderr + data.stderr
    assert node.running


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"SWARMHOLD_PROT": "1"}, "Did you mean SWARMHOLD_PORT?"),
        ({"SWARMHOLD_HOST": "0.0.0.0", "SWARMHOLD_HANDLE_LENGTH": "8"}, "SWARMHOLD_HANDLE_LENGTH: handles of 8"),
        ({"SWARMHOLD_ROOT_KEY_FILE": "/nonexistent/key"}, "/nonexistent/key does not exist"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, settings: dict[str, str], told: str) -> None:
    """A setting that is unknown, unsafe or points nowhere stops the start, with its name and without a traceback."""
    done = _serve("--port", "0", "--data-dir", str(tmp_path / "data"), **settings)

    assert done.returncode != 0
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_a_config_file_is_read_and_the_environment_wins(start_server: StartServer, tmp_path: Path) -> None:
    """What the file says holds unless a variable says otherwise; the log is JSON then, one object a line."""
    file = tmp_path / "swarmhold.toml"
    file.write_text('log_format = "console"\n[http]\nmetrics_open = true\n')
    node = start_server(fresh=True, settings={"SWARMHOLD_LOG_FORMAT": "json"}, arguments=("--config", str(file)))

    assert httpx.get(f"{node.url}/metrics", trust_env=False).status_code == 200
    # It is ready a little before it says so, and a thread writes what it says.
    wait_until(lambda: [json.loads(line)["event"] for line in node.logs().splitlines()][-1:] == ["listening"])


async def test_sigterm_lets_go_of_what_waits(start_server: StartServer) -> None:
    """Parked polls are answered, sockets are closed with a reason, and the process ends with 0, soon."""
    node = start_server(fresh=True)
    async with SwarmholdClient(node.url) as server, httpx.AsyncClient(trust_env=False, base_url=node.url) as http:
        attached = await server.attach(node.root_key(), "test", ttl=timedelta(hours=1))
        operator = server.operator(attached.token)
        task = await operator.start_task("a", "Wait.")
        await operator.dispatch(task.id, ExternalSpawner())
        polling = asyncio.ensure_future(
            http.get(
                f"/v1/operator/tasks/{task.id}/poll?hold=600",
                headers={"Authorization": f"Bearer {attached.token}"},
                timeout=60,
            )
        )
        key = node.root_key()

        async def parked() -> bool:
            reply = await http.get("/metrics", headers={"Authorization": f"Bearer {attached.token}"})
            return re.search(r"^swarmhold_http_parked 1\.0$", reply.text, re.MULTILINE) is not None

        await eventually(parked)
        senior = await server.attach(node.root_key(), "senior", role=Role.SENIOR, ttl=timedelta(hours=1))
        headers = {"Authorization": f"Bearer {senior.token}"}
        path = f"{node.websocket_url}/v1/senior/bridges/desk/ws"
        async with connect(path, additional_headers=headers, proxy=None) as socket:
            await socket.recv()
            status = await asyncio.to_thread(node.stop)
            await socket.wait_closed()
        reply = await polling

    assert (status, reply.status_code) == (0, 202)
    assert (socket.close_code, socket.close_reason) == (1012, "the server stops")
    assert key not in node.logs()
    assert not (node.data_dir / "server.json").exists()


def test_tokens_survive_a_rotation_and_restarts(start_server: StartServer) -> None:
    """A token that was signed before the rotation is good while the server runs, and after its next start."""
    node = start_server(fresh=True)
    token = _attach(node.url, node.root_key())
    rotated = subprocess.run(
        [SWARMHOLD, "keys", "rotate-signing", "--data-dir", str(node.data_dir)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    kid = rotated.stdout.split(" ", 1)[0]
    newer = wait_until(lambda: _token_of(kid, node.url, node.root_key()))
    node.stop()
    node.start()

    assert [_session_status(node.url, str(one)) for one in (token, newer)] == [200, 200]


def test_the_root_key_of_the_settings_replaces_the_other(start_server: StartServer) -> None:
    """A key from the environment counts from the next start on, and the one before it no more."""
    node = start_server(fresh=True)
    before = node.root_key()
    node.stop()
    node.settings = {"SWARMHOLD_ROOT_KEY": "shk_" + "k" * 40}
    node.start()

    assert _attach(node.url, "shk_" + "k" * 40)
    assert _post_session(node.url, before).status_code == 401


def _post_session(url: str, key: str) -> httpx.Response:
    return httpx.post(
        f"{url}/v1/operator/sessions",
        json={"operator_id": "test", "ttl": 3600},
        headers={"Authorization": f"Bearer {key}"},
        trust_env=False,
    )


def _attach(url: str, key: str) -> str:
    return str(_post_session(url, key).raise_for_status().json()["token"])


def _token_of(kid: str, url: str, key: str) -> str | None:
    """A new token if it is signed with this key, else None."""
    token = _attach(url, key)
    return token if jwt.get_unverified_header(token)["kid"] == kid else None


def _session_status(url: str, token: str) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.get(f"{url}/v1/operator/session", headers=headers, trust_env=False).status_code
