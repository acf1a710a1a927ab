"""The keys of nodes that share a PostgreSQL database: in the database, sealed, rotated and sealed anew."""

import json
from pathlib import Path
from typing import Any

import httpx
import jwt
import psycopg
import pytest

from app.bootstrap.keyring import open_keyring
from tests.conftest import StartServer
from tests.e2e.cli.conftest import Run
from tests.support.processes import ServerFailedError, ServerProcess
from tests.support.waiting import wait_until

ROOT, SEAL, OTHER = "shk_" + "r" * 40, "s" * 32, "o" * 32


def sealed(url: str) -> dict[str, Any]:
    """What the database has of the ring."""
    with psycopg.connect(url) as connection:
        ((text,),) = connection.execute("SELECT value FROM meta WHERE name = 'key_ring'").fetchall()
    return json.loads(text)


def attach(node: ServerProcess) -> str:
    """A session's token."""
    body = {"operator_id": "ann", "ttl": 600}
    reply = httpx.post(
        f"{node.url}/v1/operator/sessions", json=body, headers={"Authorization": f"Bearer {ROOT}"}, trust_env=False
    )
    assert reply.status_code == 201, reply.text
    return reply.json()["token"]


def is_good(node: ServerProcess, token: str) -> bool:
    """Whether a node accepts the token."""
    headers = {"Authorization": f"Bearer {token}"}
    reply = httpx.get(f"{node.url}/v1/operator/session", headers=headers, timeout=30, trust_env=False)
    assert reply.status_code in (200, 401), reply.text
    return reply.status_code == 200


def environ(url: str, **more: str) -> dict[str, str]:
    """The variables that nodes of a cluster have in common."""
    settings = {"DATABASE_URL": url, "ROOT_KEY": ROOT, **more}
    return {f"SWARMHOLD_{name}": value for name, value in settings.items()}


def kid_of(token: str) -> str:
    """The id of the key that signed a token."""
    return jwt.get_unverified_header(token)["kid"]


def test_the_ring_of_a_data_directory_is_taken_over(
    start_server: StartServer, tmp_path: Path, postgres_url: str, run: Run
) -> None:
    """Its tokens go on; then no data directory is needed, and a token signed before the move is good on any."""
    first = tmp_path / "first"
    first.mkdir(mode=0o700)
    ring = open_keyring(first / "keys.json")
    node = start_server(data_dir=first, settings=environ(postgres_url))
    token = attach(node)
    assert kid_of(token) == ring.signing[0].kid
    assert sealed(postgres_url)["by"] == "root"
    node.stop()
    second = start_server(settings=environ(postgres_url))
    assert is_good(second, token)
    assert not (second.data_dir / "keys.json").exists()


def test_a_database_whose_keys_are_elsewhere_is_not_given_new_ones(
    start_server: StartServer, postgres_url: str
) -> None:
    """They would end every token, handle and key."""
    node = start_server(settings=environ(postgres_url))
    node.stop()
    with psycopg.connect(postgres_url) as connection:
        connection.execute("DELETE FROM meta WHERE name = 'key_ring'")
    with pytest.raises(ServerFailedError, match="Copy that file there"):
        start_server(settings=environ(postgres_url))


def test_a_rotation_reaches_a_running_node(start_server: StartServer, postgres_url: str, run: Run) -> None:
    """Without a restart; what was signed before stays good, and the log has who did it."""
    node = start_server(settings=environ(postgres_url))
    before = attach(node)
    said = run("keys", "rotate-signing", **environ(postgres_url)).stdout
    new = said.split()[0]
    wait_until(lambda: kid_of(attach(node)) == new)
    assert is_good(node, before)
    assert "rows, each as it was written" in run("audit", "verify", **environ(postgres_url)).stdout


def test_the_seal_is_changed_with_the_one_before(start_server: StartServer, postgres_url: str, run: Run) -> None:
    """A wrong key refuses to start, and after `keys reseal` the one before is needed no more."""
    start_server(settings=environ(postgres_url, SEAL_KEY=SEAL)).stop()
    with pytest.raises(ServerFailedError, match="seal key does not open them"):
        start_server(settings=environ(postgres_url, SEAL_KEY=OTHER))
    changed = environ(postgres_url, SEAL_KEY=OTHER, SEAL_KEY_PREVIOUS=SEAL)
    node = start_server(settings=changed)
    token = attach(node)
    assert sealed(postgres_url)["by"] == "seal"
    assert "Sealed" in run("keys", "reseal", **changed).stdout
    assert is_good(node, token)
    node.stop()
    assert is_good(start_server(settings=environ(postgres_url, SEAL_KEY=OTHER)), token)


def test_sqlite_has_nothing_to_seal(data_dir: Path, run: Run) -> None:
    """Its keys are in a file."""
    assert "not sealed" in run("keys", "reseal", "--data-dir", data_dir, status=2).stderr
