"""Published skills by command, against a real node whose settings publish one as well."""

import json
from functools import partial
from pathlib import Path

from tests.e2e.cli.conftest import Run, Serve, place

SKILL = {
    "name": "deploy",
    "description": "Deploy a version.",
    "agent": "deployer",
    "queue": "deploys",
    "input_schema": {"type": "object"},
}


def test_a_skill_is_published_from_the_shell(serve: Serve, run: Run, tmp_path: Path) -> None:
    """Made from a file, listed beside that of the settings, which no command deletes, and deleted."""
    node = serve({"SWARMHOLD_SKILLS": json.dumps([{**SKILL, "name": "of_settings"}])})
    here = partial(run, **place(node))
    file = tmp_path / "skill.json"
    file.write_text(json.dumps(SKILL))
    made = json.loads(here("skills", "create", file, "--json").stdout)
    assert (made["name"], made["approval"]) == ("deploy", "never")
    assert "deploy" in here("skills", "create", file, status=1).stderr
    listed = {one["name"]: one for one in json.loads(here("skills", "list", "--json").stdout)}
    assert listed.keys() == {"deploy", "of_settings"}
    assert "deployer" in here("skills", "list").stdout
    assert "settings" in here("skills", "delete", listed["of_settings"]["id"], status=1).stderr
    assert json.loads(here("skills", "delete", made["id"], "--json").stdout) == {"deleted": made["id"]}
    file.write_text('{"name": "deploy"}')
    assert "description" in here("skills", "create", file, status=1).stderr
