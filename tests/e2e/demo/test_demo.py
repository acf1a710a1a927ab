"""`swarmhold demo` as its users start it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.sources import ROOT
from tests.support.terminal import Terminal

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

# Other tests use the same machine meanwhile.
PATIENT = ("--deadline", "600")
CLIENT = ROOT / "clients" / "python" / "swarmhold"
DEMO = [str(Path(sys.executable).with_name("swarmhold")), "demo", *PATIENT]


def test_the_demo_comes_out_right_on_a_terminal() -> None:
    """The progress is shown while the swarm works, then the tables, and the command ends well."""
    with Terminal(DEMO) as terminal:
        terminal.see("server killed with SIGKILL", within=600)
        terminal.see("Whether it came out right", within=600)
        status = terminal.wait(within=60)

    assert "WRONG" not in terminal.text
    assert (status, terminal.text.rstrip().endswith("everything came out right.")) == (0, True)


def test_the_demo_needs_no_checkout(tmp_path: Path) -> None:
    """Installed alone, the package reads its own texts and sources, and reports in JSON; nothing is left behind."""
    shutil.copytree(ROOT / "app", tmp_path / "app", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(CLIENT, tmp_path / "swarmhold", ignore=shutil.ignore_patterns("__pycache__"))
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "TMPDIR": str(temporary)}

    done = subprocess.run(
        [sys.executable, "-m", "app.cli", "demo", "--json", *PATIENT],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        timeout=700,
    )

    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    agents = {row["agent"]: row for row in report["agents"]}
    assert [check for check in report["checks"] if not check["ok"]] == []
    assert agents["stumbler"]["attempts"] >= 2
    assert 0 < report["passed_before_kill"] < report["tasks"]
    assert list(temporary.iterdir()) == []
