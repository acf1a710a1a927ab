"""Keys, backup, audit, migration and the doctor, beside a running node and without one."""

import json
import re
import shutil
from pathlib import Path

import apsw
import httpx

from tests.conftest import StartServer
from tests.e2e.cli.conftest import Run
from tests.support.sources import ROOT


def test_keys_are_made_before_the_first_start_and_beside_a_running_node(
    start_server: StartServer, data_dir: Path, run: Run
) -> None:
    """A key made while nothing runs works when the node is up; one that is revoked works no more."""
    early = json.loads(run("keys", "create", "early", "--role", "worker", "--json", "--data-dir", data_dir).stdout)
    node = start_server(data_dir=data_dir)
    late = run("keys", "create", "late", "--role", "senior", "--ttl", "60", "--data-dir", data_dir).stdout.splitlines()
    listed = json.loads(run("keys", "list", "--json", "--data-dir", data_dir).stdout)

    assert [key["name"] for key in listed] == ["early", "root", "late"]
    assert late[1].startswith("shk_")
    assert _claim(node.url, early["key"]) == 204
    run("keys", "revoke", early["id"], "--data-dir", data_dir)
    assert _claim(node.url, early["key"]) == 401
    assert early["key"] not in json.dumps(listed)


def _claim(url: str, key: str) -> int:
    body, headers = {"queue": "q", "hold": 0}, {"Authorization": f"Bearer {key}"}
    return httpx.post(f"{url}/v1/worker/claim", json=body, headers=headers, trust_env=False).status_code


def test_a_backup_of_a_running_node_starts_elsewhere(start_server: StartServer, tmp_path: Path, run: Run) -> None:
    """Database, keys and root key come back; a second restore and a damaged file are refused."""
    node = start_server()
    file, other = tmp_path / "node.backup", tmp_path / "restored"
    run("keys", "create", "kept", "--role", "worker", "--data-dir", node.data_dir)
    run("backup", file, "--data-dir", node.data_dir)
    run("restore", file, "--data-dir", other)
    again = start_server(data_dir=other)

    assert file.stat().st_mode & 0o077 == 0
    assert again.root_key() == node.root_key()
    assert "kept" in run("keys", "list", "--data-dir", other).stdout
    assert "already" in run("backup", file, "--data-dir", node.data_dir, status=2).stderr
    assert "running" in run("restore", file, "--data-dir", other, status=1).stderr
    (tmp_path / "text").write_text("no backup")
    assert run("restore", tmp_path / "text", "--data-dir", tmp_path / "third", status=1).stderr.count("\n") == 1
    damaged = bytearray(file.read_bytes())
    at = damaged.index(b"SQLite format 3")
    damaged[at + 2000] ^= 1
    file.write_bytes(damaged)
    assert "damaged" in run("restore", file, "--data-dir", tmp_path / "third", status=1).stderr


def test_the_doctor_finds_what_is_wrong(start_server: StartServer, run: Run) -> None:
    """A healthy node has nothing wrong; open modes, missing programs and stranded rows are found, with a remedy."""
    node = start_server()
    good = json.loads(run("doctor", "--deep", "--json", "--data-dir", node.data_dir).stdout)
    assert good["ok"], good
    assert {"data directory", "database", "server", "waiting for nothing"} <= {one["about"] for one in good["findings"]}

    (node.data_dir / "root.key").chmod(0o644)
    node.stop()
    database = apsw.Connection(str(node.data_dir / "swarmhold.db"))
    columns = [row[1] for row in database.execute("PRAGMA table_info(tasks)") if row[3]]
    known = {"id": f"T-{'0' * 26}", "agent": "a", "directive": '"d"', "status": "suspended", "labels": "{}"}
    marks = ", ".join("?" * len(columns))
    row = [known.get(column, 1) for column in columns]
    database.execute(f"INSERT INTO tasks ({', '.join(columns)}) VALUES ({marks})", row)  # noqa: S608 - the table's own names
    database.close()
    programs = '{"gone": "/nonexistent/program"}'
    found = json.loads(
        run("doctor", "--json", "--data-dir", node.data_dir, status=1, SWARMHOLD_SPAWN__PROGRAMS=programs).stdout
    )

    wrong = {one["about"]: one["mend"] for one in found["findings"] if one["state"] == "wrong"}
    assert set(wrong) == {"root key", "program gone", "waiting for nothing"}
    assert wrong["root key"].startswith("chmod 600")


def test_migrate_says_what_it_did(data_dir: Path, run: Run) -> None:
    """An empty directory is brought to the newest version, and then it is there already."""
    assert "no" in run("migrate", "--check", "--data-dir", data_dir, status=1).stderr
    first = json.loads(run("migrate", "--json", "--data-dir", data_dir).stdout)

    assert (first["before"], first["after"]) == (
        None,
        json.loads(run("migrate", "--json", "--data-dir", data_dir).stdout)["before"],
    )
    run("migrate", "--check", "--data-dir", data_dir)


def test_the_committed_documents_are_fresh_and_staleness_is_found(tmp_path: Path, run: Run) -> None:
    """`openapi --check` fails where a document differs, and `openapi` writes it."""
    shutil.copytree(ROOT / "openapi", tmp_path / "openapi")
    (tmp_path / "openapi" / "frames.json").write_text("{}")
    assert "openapi/frames.json" in run("openapi", "--check", "--root", tmp_path, status=1).stderr
    assert "wrote openapi/frames.json" in run("openapi", "--root", tmp_path).stdout
    run("openapi", "--check", "--root", tmp_path)


def test_a_command_without_a_server_or_key_says_so(tmp_path: Path, run: Run) -> None:
    """What is missing is named, and how to give it."""
    assert "SWARMHOLD_KEY" in run("tasks", "ls", "--data-dir", tmp_path, status=2).stderr
    away = run("tasks", "ls", "--url", "http://127.0.0.1:9", "--data-dir", tmp_path, status=1, SWARMHOLD_KEY="shk_x")
    assert re.search(r"cannot be reached: no reply to POST http://127\.0\.0\.1:9/", away.stderr)
    assert "http://host:port" in run("tasks", "ls", "--url", "127.0.0.1:9", status=2, SWARMHOLD_KEY="shk_x").stderr


def test_nodes_are_listed_with_their_state(start_server: StartServer, data_dir: Path, run: Run) -> None:
    """The one that was killed is dead, and the one that was stopped in good order is no more."""
    start_server(data_dir=data_dir).kill()
    second = start_server(data_dir=data_dir)
    found = json.loads(run("nodes", "--json", "--data-dir", data_dir).stdout)
    assert [(node["alive"], node["draining"]) for node in found] == [(False, False), (True, False)]
    assert found[1]["url"] == second.url
    shown = run("nodes", "--data-dir", data_dir).stdout
    assert re.search(r"dead .*alive ", shown, re.DOTALL)
    second.stop()
    start_server(data_dir=data_dir)
    found = json.loads(run("nodes", "--json", "--data-dir", data_dir).stdout)
    assert [node["alive"] for node in found] == [False, True]
