"""The skill for coding agents: its calls work as they stand, and it is installed where agents find skills."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.adapters.conftest import DEADLINE_S, Asking
from tests.e2e.cli.conftest import SWARMHOLD, surroundings
from tests.support.sources import ROOT
from tests.support.waiting import wait_until

SKILL = ROOT / "clients" / "python" / "swarmhold" / "skills" / "swarmhold-worker" / "SKILL.md"
SHELL = re.findall(r"```bash\n(.*?)```", SKILL.read_text(), re.DOTALL)


def test_a_worker_does_as_the_skill_says(asking: Asking) -> None:
    """Prompt, question and answer, a killed wait, and one result; nothing shows the handle."""
    calls, begin, ask, action, consume, end = SHELL
    task_id, handle = asking.swarm.worker("Deploy 1.2.")
    environment = surroundings(asking.node, SWARMHOLD_BASE_URL=asking.node.url, SWARMHOLD_HANDLE=handle)

    def start(*parts: str) -> subprocess.Popen[str]:
        script = "\n".join((calls, *parts))
        started = subprocess.Popen(
            ["bash", "-c", script], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        asking.running.append(started)
        return started

    prompt: dict[str, Any] = json.loads(start(begin).communicate(timeout=DEADLINE_S)[0])
    assert (prompt["prompt"], prompt["answers"]) == ("Deploy 1.2.", [])
    waiting = start(ask)
    wait_until(lambda: len(asking.open()) == 1)
    seen = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if os.access(path, os.R_OK)]
    assert not [line for line in seen if handle[3:].encode() in line]
    waiting.kill()
    [question] = asking.open()
    asking.swarm.answer(question["key"], "yes")
    assert start(ask).communicate(timeout=DEADLINE_S)[0] == "yes\n"
    assert asking.open() == []
    beat: dict[str, Any] = json.loads(start("call POST /heartbeat").communicate(timeout=DEADLINE_S)[0])
    assert beat["cancelled"] is False
    assert f"{{{', '.join(beat)}}}" in SKILL.read_text()

    asked: dict[str, Any] = json.loads(
        start(action, 'call POST /questions "$ask" ask-2').communicate(timeout=DEADLINE_S)[0]
    )
    asking.swarm.answer(asked["key"], {"decision": "approve"})
    found = f"key={asked['key']}\nfound=$(call GET /questions/$key?hold=0)"
    consumed = json.loads(start(found, consume).communicate(timeout=DEADLINE_S)[0])
    assert consumed["action"]["arguments"] == {"command": "make deploy"}
    assert start(end).wait(DEADLINE_S) == 0
    assert asking.swarm.task(task_id)["last_result"] == {"summary": "Deployed 1.2 to all regions."}


@pytest.mark.parametrize(("agent", "folder"), [("claude", ".claude"), ("codex", ".codex")])
def test_it_is_installed_and_never_overwritten(agent: str, folder: str, tmp_path: Path) -> None:
    """For the user and for a project; again nothing changes, and what somebody changed stays without --force."""
    assert len(SKILL.read_text().splitlines()) <= 120

    def install(*more: str, status: int = 0) -> str:
        command = [SWARMHOLD, "skill", "install", agent, *more]
        done = subprocess.run(
            command, env={**os.environ, "HOME": str(tmp_path)}, cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == status, done.stderr
        return done.stdout + done.stderr

    path = tmp_path / folder / "skills" / "swarmhold-worker" / "SKILL.md"
    assert str(path) in install()
    assert path.read_text() == SKILL.read_text()
    assert "nothing was changed" in install("--project")
    path.write_text("mine")
    assert "--force" in install(status=1)
    assert path.read_text() == "mine"
    assert json.loads(install("--force", "--json"))["file"] == str(path)
    assert path.read_text() == SKILL.read_text()
