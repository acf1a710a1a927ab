"""`swarmhold skills`: agents behind queues that MCP clients know as tools. Needs the root key."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from app.cli.endpoint import AsJson, Endpoint, calls_server
from app.cli.exits import CommandFailed
from app.cli.output import add_row, console, print_json, short, table
from app.cli.sessions import admin_calls, call_in
from swarmhold.models.admin import SkillRequest

skills = typer.Typer(
    help="Publish agents behind queues as MCP tools: make, list and delete them.", no_args_is_help=True
)

File = Annotated[str, typer.Argument(metavar="FILE", help="The skill as JSON: a file, or - for standard input.")]
SkillId = Annotated[str, typer.Argument(help="The skill's id, P-…; `list` shows it.")]


@skills.command()
@calls_server()
def create(endpoint: Endpoint, file: File, as_json: AsJson = False) -> None:
    """Publish a skill: name, description, agent, queue, input_schema and more, as the API takes it."""
    asked = _asked(file)
    if endpoint.namespace is not None:
        asked = asked.model_copy(update={"namespace": endpoint.namespace})
    made = call_in(admin_calls(endpoint), lambda admin: admin.create_skill(asked))
    if as_json:
        print_json(made.as_json())
    else:
        print(f"{made.id}  {made.name}")


def _asked(file: str) -> SkillRequest:
    """Return the skill that a file describes. Raises CommandFailed."""
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")
        return SkillRequest.model_validate_json(text)
    except (OSError, UnicodeDecodeError) as error:
        raise CommandFailed(f"{file} cannot be read: {error}.") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "it"
        raise CommandFailed(f"{file} is no skill: {where}: {first['msg']}.") from error


@skills.command("list")
@calls_server()
def list_skills(endpoint: Endpoint, as_json: AsJson = False) -> None:
    """List published skills, oldest first."""
    found = call_in(admin_calls(endpoint), lambda admin: admin.skills(namespace=endpoint.namespace))
    if as_json:
        print_json([one.as_json() for one in found])
        return
    shown = table("id", "name", "namespace", "agent", "queue", "approval", "description")
    for one in found:
        cells = (one.id, one.name, one.namespace or "", one.agent, one.queue, one.approval, short(one.description))
        add_row(shown, cells)
    console.print(shown)


@skills.command()
@calls_server(namespace=False)
def delete(endpoint: Endpoint, skill_id: SkillId, as_json: AsJson = False) -> None:
    """Delete a skill. What its calls started goes on."""
    call_in(admin_calls(endpoint), lambda one: one.delete_skill(skill_id))
    if as_json:
        print_json({"deleted": skill_id})
    else:
        print(f"deleted {skill_id}")
