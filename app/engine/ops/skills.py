"""Published skills: create, find and delete them, and keep those of the settings as the settings say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from app.domain.errors import InvalidRequest, NameTaken, SkillNotFound
from app.domain.json import Json
from app.domain.namespaces import DEFAULT_ID
from app.domain.skills import Skill, SkillSpec
from app.domain.tokens import ApiKey
from app.engine.ops import audit, namespaces
from app.state import schema
from app.state.rows import changed
from app.state.state import State
from app.state.tables import NAMESPACES, SKILLS

MOST = 100
"""Skills of a namespace."""

_P = schema.skills.c
_OF = SKILLS.search(_P.namespace == sa.bindparam("of_namespace"), order=(_P.name,))
_NAMED = SKILLS.search(_P.namespace == sa.bindparam("of_namespace"), _P.name == sa.bindparam("of_name"))
_OF_SETTINGS = SKILLS.search(_P.of_settings == sa.text("1"), order=(_P.id,))

Published = tuple[str, SkillSpec]
"""The name of a namespace, and what the settings publish in it."""


def of_namespace(state: State, namespace: int) -> list[Skill]:
    """Return the skills of a namespace, by name."""
    return _OF.all(state.db, of_namespace=namespace)


def named(state: State, namespace: int, name: str) -> Skill | None:
    """Return the skill of this name, None without one."""
    return _NAMED.first(state.db, of_namespace=namespace, of_name=name)


def find(state: State, skill_id: str) -> Skill:
    """Return one skill. Raises SkillNotFound."""
    row = SKILLS.get(state.db, skill_id)
    if row is None:
        raise SkillNotFound(skill_id)
    return row


def create(state: State, spec: SkillSpec, *, namespace: int, by: ApiKey | str) -> Skill:
    """Publish a skill, which was checked. Raises NameTaken, and InvalidRequest when there are too many."""
    NAMESPACES.lock(state.db, namespace)  # one after the other, since names are unique
    if named(state, namespace, spec.name) is not None:
        raise NameTaken(spec.name, "skill", "delete that skill")
    if len(of_namespace(state, namespace)) >= MOST:
        raise InvalidRequest(f"a namespace has at most {MOST} skills; delete one", "name")
    row = Skill(
        id=state.ids.new("P"),
        namespace=namespace,
        of_settings=not isinstance(by, ApiKey),
        created_at=state.now,
        created_by=audit.name_of(by),
        **_said(spec),
    )
    SKILLS.insert(state.db, row)
    _recorded(state, "skill_created", row, by=by)
    return row


def delete(state: State, skill_id: str, *, by: ApiKey | str) -> None:
    """Delete a skill; what its calls started goes on. Raises SkillNotFound, InvalidRequest for one of the settings."""
    row = find(state, skill_id)
    if row.of_settings and isinstance(by, ApiKey):
        raise InvalidRequest("the settings publish this skill; remove it from them and restart the server", "id")
    SKILLS.delete(state.db, row.id)
    _recorded(state, "skill_deleted", row, by=by)


def keep(state: State, published: Sequence[Published]) -> None:
    """Let the skills of the settings be these: new ones are created, others changed or deleted.

    Raises NameTaken for a name that a skill has which was created by a call.
    """
    NAMESPACES.lock(state.db, DEFAULT_ID)  # one server after the other
    wanted = {(namespaces.use(state, name, by="server"), spec.name): spec for name, spec in published}
    for row in _OF_SETTINGS.all(state.db):
        spec = wanted.get((row.namespace, row.name))
        if spec is None:
            delete(state, row.id, by="server")
            continue
        del wanted[row.namespace, row.name]
        after = changed(row, **_said(spec))
        if after != row:
            SKILLS.update(state.db, row.id, **_said(spec))
            _recorded(state, "skill_changed", after, by="server")
    for (namespace, _), spec in wanted.items():
        create(state, spec, namespace=namespace, by="server")


def _said(spec: SkillSpec) -> dict[str, Any]:
    """Return the columns that a request sets."""
    return {
        "name": spec.name,
        "description": spec.description,
        "agent": spec.agent,
        "queue": spec.queue,
        "input_schema": spec.input_schema,
        "output_schema": spec.output_schema,
        "tags": Json.of(list(spec.tags)),
        "approval": spec.approval,
        "roles": " ".join(sorted(set(spec.roles))),
        "task": spec.task,
    }


def _recorded(state: State, action: str, row: Skill, *, by: ApiKey | str) -> None:
    said: dict[str, Any] = {"name": row.name, "agent": row.agent, "queue": row.queue, "approval": row.approval.value}
    audit.record(state, by, action, target=row.id, namespace=row.namespace, **said)
