"""Published skills: agents behind queues, each as a tool of its own that callers know by name and schema."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from app.domain.access import Role
from app.domain.answer_schemas import check_schema
from app.domain.clock import Instant
from app.domain.errors import InvalidRequest, PayloadTooLarge
from app.domain.json import Json
from app.domain.names import check_name

CALLERS = (Role.OPERATOR, Role.WORKER)
"""The roles that may call skills: those that start tasks."""
LABEL = "skill"
"""The label of tasks that calls of a skill made; its value is the skill's name."""
LONGEST_DESCRIPTION = 4_096
MOST_TAGS = 20

TOOL_NAMES = frozenset(
    {
        *("ask_human", "get_answer", "withdraw_question", "approve"),
        *("start_task", "get_task", "why", "list_tasks", "cancel_task"),
        *("claim_assignment", "get_assignment", "report_progress", "submit_result"),
        *("list_questions", "review", "answer_question"),
        *("override_verdict", "inject_directive", "pause_loop", "resume_loop"),
    }
)
"""Names of the server's own tools, which no skill may have."""

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class SkillApproval(StrEnum):
    """Whether a senior has to approve each call before it is carried out."""

    NEVER = "never"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillSpec:
    """The request for a skill. `task`: whether a call may become a task that its caller follows."""

    name: str
    description: str
    agent: str
    queue: str
    input_schema: Json
    output_schema: Json | None = None
    tags: tuple[str, ...] = ()
    approval: SkillApproval = SkillApproval.NEVER
    roles: tuple[Role, ...] = CALLERS
    task: bool = True

    def check(self, schema_bytes: int) -> None:
        """Raise InvalidRequest or InvalidName for what cannot be published, PayloadTooLarge for a large schema."""
        if not _NAME.fullmatch(self.name):
            raise InvalidRequest("give 1 to 64 letters, digits, '_', '-' or '.'", "name")
        if self.name in TOOL_NAMES:
            raise InvalidRequest(f"{self.name} is a tool of the server; give another name", "name")
        if not 0 < len(self.description) <= LONGEST_DESCRIPTION:
            raise InvalidRequest(f"give 1 to {LONGEST_DESCRIPTION} characters", "description")
        check_name(self.agent, "agent")
        check_name(self.queue, "queue")
        if len(self.tags) > MOST_TAGS:
            raise InvalidRequest(f"give at most {MOST_TAGS} tags", "tags")
        for tag in self.tags:
            check_name(tag, "tags")
        if not self.roles or set(self.roles) - set(CALLERS):
            raise InvalidRequest("give operator, worker or both", "roles")
        for field, schema in (("input_schema", self.input_schema), ("output_schema", self.output_schema)):
            if schema is not None:
                _check_object(schema, field, schema_bytes)


def _check_object(schema: Json, field: str, limit: int) -> None:
    if len(schema.text.encode()) > limit:
        raise PayloadTooLarge("question", limit, subject=f"The {field}")
    try:
        check_schema(schema)
    except InvalidRequest as error:
        raise InvalidRequest(error.reason, field) from error
    if schema.value.get("type") != "object":
        raise InvalidRequest('give a JSON Schema with "type": "object"', field)


class Skill(NamedTuple):
    """One row of `skills`. `of_settings`: the settings publish it, and a start of the server keeps it as they say."""

    id: str
    namespace: int
    name: str
    description: str
    agent: str
    queue: str
    input_schema: Json
    output_schema: Json | None
    tags: Json
    approval: SkillApproval
    roles: str
    task: bool
    of_settings: bool
    created_at: Instant
    created_by: str

    @property
    def role_set(self) -> frozenset[Role]:
        """The roles that may call it."""
        return frozenset(Role(role) for role in self.roles.split())
