"""Published skills by command, against a real node whose settings publish one as well."""

import json
from pathlib import Path

from tests.conftest import StartServer
from tests.e2e.cli.conftest import Run

SKILL = {
    "name": "deploy",
    "description": "Deploy a version.",
    "agent": "deployer",
    "queue": "deploys",
    "input_schema": {"type": "object"},
}


def test_a_skill_is_published_from_the_shell(start_server: StartServer, run: Run, tmp_path: Path) -> None:
    """Made from a file, listed beside that of the settings, which no command deletes, and deleted."""
    node = start_server(settings={"SWARMHOLD_SKILLS": json.dumps([{**SKILL, "name": "of_settings"}])})
    here = ("--data-dir", node.data_dir)
    file = tmp_path / "skill.json"
    file.write_text(json.dumps(SKILL))
    made = json.loads(run("skills", "create", file, "--json", *here).stdout)
    assert (made["name"], made["approval"]) == ("deploy", "never")
    assert "deploy" in run("skills", "create", file, *here, status=1).stderr
    listed = {one["name"]: one for one in json.loads(run("skills", "list", "--json", *here).stdout)}
    assert listed.keys() == {"deploy", "of_settings"}
    assert "deployer" in run("skills", "list", *here).stdout
    assert "settings" in run("skills", "delete", listed["of_settings"]["id"], *here, status=1).stderr
    assert json.loads(run("skills", "delete", made["id"], "--json", *here).stdout) == {"deleted": made["id"]}
    file.write_text('{"name": "deploy"}')
    assert "description" in run("skills", "create", file, *here, status=1).stderr
