"""The audit log as people use it: exported, verified, compared with the heads that the server logged."""

import json
import os
import re
from getpass import getuser
from pathlib import Path
from typing import Any

import apsw
import httpx
import pytest

from tests.conftest import StartServer
from tests.e2e.cli.conftest import Run
from tests.support.processes import ServerProcess


def _export(run: Run, data_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run("audit", "export", "--data-dir", data_dir).stdout.splitlines()]


def _heads(node: ServerProcess) -> list[str]:
    return re.findall(r"audit_head .*head=(\S+)", re.sub(r"\x1b\[[0-9;]*m", "", node.logs()))


def test_the_log_is_exported_and_a_change_is_found(start_server: StartServer, run: Run) -> None:
    """Exports and backups are rows themselves, by the running server; a cut tail is found by a logged head alone."""
    node = start_server()
    run("keys", "create", "one", "--role", "worker", "--data-dir", node.data_dir)
    backup = node.data_dir.with_name("b.tar")
    run("backup", backup, "--data-dir", node.data_dir)
    rows = _export(run, node.data_dir)
    assert [row["action"] for row in rows] == ["key_created", "key_created", "backup_made", "audit_exported"]
    assert [(row["door"], row["key_name"]) for row in rows] == [
        ("engine", None),
        ("rest", "root"),
        ("cli", "root"),
        ("cli", "root"),
    ]
    assert rows[2]["detail"] == {"file": str(backup), "user": getuser()}
    refusal = {"Authorization": "Bearer shk_wrong"}
    for _ in range(3):
        assert httpx.get(f"{node.url}/v1/admin/keys", headers=refusal, trust_env=False).status_code == 401
        assert httpx.get(f"{node.url}/v1/admin/keys", trust_env=False).status_code == 401
    node.stop()
    shown = run("audit", "export", "--after", "4", "--data-dir", node.data_dir).stdout.splitlines()
    *refused, exported = map(json.loads, shown)
    # A row for each minute in which there were some.
    assert {(row["action"], row["actor"], row["detail"]["kind"]) for row in refused} == {
        ("refused", "127.0.0.0/24", "unknown key")
    }
    assert sum(row["detail"]["count"] for row in refused) == 3
    assert exported["actor"] == f"command:{getuser()}"

    (head,) = _heads(node)
    last = 4 + len(refused)
    assert head.startswith(f"{last}:")
    found = json.loads(run("audit", "verify", "--json", "--head", head, "--data-dir", node.data_dir).stdout)
    assert (found["ok"], found["rows"], found["broken_at"]) == (True, last + 1, None)
    assert found["head"].startswith(f"{last + 1}:")
    database = apsw.Connection(str(node.data_dir / "swarmhold.db"))
    digest = next(iter(database.execute("SELECT digest FROM audit WHERE seq = 3")))[0]
    database.execute("DELETE FROM audit WHERE seq > 3")
    database.execute("UPDATE meta SET value = ? WHERE name = 'audit_head'", (f"3 {digest}",))
    assert "3 rows" in run("audit", "verify", "--data-dir", node.data_dir).stdout
    assert "row 4" in run("audit", "verify", "--head", head, "--data-dir", node.data_dir, status=1).stderr
    database.execute("UPDATE audit SET actor = 'nobody' WHERE seq = 1")
    database.close()
    assert "row 1" in run("audit", "verify", "--data-dir", node.data_dir, status=1).stderr
    assert "<seq>:<hex>" in run("audit", "verify", "--head", "5", "--data-dir", node.data_dir, status=2).stderr


def test_a_rotated_key_still_verifies(start_server: StartServer, run: Run) -> None:
    """A running server chains with the new key at once, and rows of every earlier one are whole."""
    node = start_server()
    for _ in range(4):
        run("keys", "rotate-signing", "--data-dir", node.data_dir)
    rows = _export(run, node.data_dir)

    assert [row["action"] for row in rows] == ["key_created", *["signing_key_rotated"] * 4, "audit_exported"]
    assert len({row["seal_key"] for row in rows}) == 5
    assert "6 rows" in run("audit", "verify", "--data-dir", node.data_dir).stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")
def test_a_copy_that_cannot_be_written_is_exported_without_a_row(data_dir: Path, tmp_path: Path, run: Run) -> None:
    """A database of another user, or one whose keys are elsewhere: the export says that it is no row."""
    run("keys", "create", "one", "--role", "worker", "--data-dir", data_dir)
    os.chown(data_dir, 12345, -1)
    foreign = run("audit", "export", "--data-dir", data_dir)
    os.chown(data_dir, 0, -1)
    (data_dir / "keys.json").rename(tmp_path / "keys.json")
    without_keys = run("audit", "export", "--data-dir", data_dir)

    for export in (foreign, without_keys):
        assert len(export.stdout.splitlines()) == 1
        assert "The audit log has no row about this" in export.stderr
    assert not (data_dir / "keys.json").exists()
    assert "no keys" in run("audit", "verify", "--data-dir", data_dir, status=2).stderr
