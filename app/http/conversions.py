"""Conversions from the request bodies of the API's models to the values that the engine takes."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from datetime import datetime
from typing import Any

from app.domain.access import Role
from app.domain.choices import read_choices
from app.domain.clock import EPOCH, MILLISECOND
from app.domain.json import Json
from app.domain.notices import Content
from app.domain.questions import Ask, OnDeadline
from app.domain.sessions import OperatorKind, SessionOptions
from app.domain.skills import SkillApproval, SkillSpec
from app.domain.tasks import RetryPolicy, Status, TaskSpec
from app.domain.webhooks import WebhookFormat, WebhookSign, WebhookSpec
from app.engine.ops.task_filters import TaskFilter
from swarmhold.models.admin import SkillRequest, WebhookRequest
from swarmhold.models.attempts import Retry
from swarmhold.models.enums import OperatorKind as KindName
from swarmhold.models.questions import Action, QuestionRequest
from swarmhold.models.sessions import AttachRequest
from swarmhold.models.spawners import Spawner
from swarmhold.models.tasks import StartTaskRequest, TaskSelection


def task_spec(body: StartTaskRequest) -> TaskSpec:
    """Return the specification of a new task."""
    timeout = body.attempt_timeout
    return TaskSpec(
        agent=body.agent,
        initial_directive=body.initial_directive,
        labels=body.labels or None,
        retry=retry_policy(body.retry) if body.retry is not None else None,
        attempt_timeout_ms=None if timeout is None else max(1, round(timeout * 1000)),
    )


def spawner_spec(spawner: Spawner) -> dict[str, Any]:
    """Return the spec of a spawner, with the further fields of a custom one as they were sent."""
    # A remembered model stays as it is, whatever a package does to the spec of its spawner.
    spec: dict[str, Any] = {**vars(spawner), **(deepcopy(spawner.model_extra) or {})}
    return {name: [*value] if isinstance(value, tuple) else value for name, value in spec.items()}


def retry_policy(retry: Retry) -> RetryPolicy:
    """Return a task's retry policy."""
    return RetryPolicy(
        max_attempts=retry.max_attempts,
        backoff=retry.backoff,
        multiplier=retry.multiplier,
        max_backoff=retry.max_backoff,
        jitter=retry.jitter,
        on=tuple(cause.value for cause in retry.on),
    )


def question(body: QuestionRequest) -> Ask:
    """Return a question to be asked. A default of null stays apart from no default. Raises InvalidRequest."""
    choices, words = (None, None) if body.choices is None else read_choices(body.choices)
    return Ask(
        question=Json.of(body.question),
        answer_schema=None if body.answer_schema is None else Json.of(body.answer_schema),
        choices=choices,
        choice_words=words,
        title=body.title,
        takes_comment=bool(body.comment),
        bridge_id=body.bridge_id,
        deadline=None if body.deadline is None else (body.deadline - EPOCH) // MILLISECOND,
        on_deadline=OnDeadline(body.on_deadline.value),
        default_answer=Json.of(body.default) if body.has("default") else None,
        escalate_to=body.escalate_to,
        action=None if body.action is None else Json.of(action(body.action)),
        allowed=None if body.allowed is None else tuple(one.value for one in body.allowed),
        approval_ttl_ms=None if body.approval_ttl is None else round(body.approval_ttl * 1000),
        doors=None if body.doors is None else tuple(body.doors),
        require=body.require,
    )


def action(body: Action) -> dict[str, Any]:
    """Return an action without what it does not say."""
    server = {} if body.server is None else {"server": body.server}
    return {"name": body.name, "arguments": body.arguments, **server}


def session_options(body: AttachRequest) -> SessionOptions:
    """Return the options of a new session."""
    return SessionOptions(
        kind=_kind(body.kind),
        bridge_id=body.bridge_id,
        hook_id=body.hook_id,
        operator_backend_id=body.operator_backend_id,
        operator_kind_overrides=_kinds(body.operator_kind_overrides),
        bp_agent_kinds=_kinds(body.bp_agent_kinds),
        bp_global_kind=_kind(body.bp_global_kind),
        quiet=body.quiet,
    )


def task_filter(body: TaskSelection) -> TaskFilter:
    """Return the filter that a body spells."""
    return TaskFilter(
        query=body.q,
        status=None if body.status is None else Status(body.status.value),
        agent=body.agent,
        labels=tuple(body.labels.items()),
        parent=body.parent,
        session=body.session,
        created_from=instant(body.created_from),
        created_until=instant(body.created_until),
        ids=tuple(body.ids),
    )


def instant(at: datetime | None) -> int | None:
    """Return an instant in milliseconds."""
    return None if at is None else round(at.timestamp() * 1000)


def _kind(kind: KindName | None) -> OperatorKind | None:
    return None if kind is None else OperatorKind(kind.value)


def _kinds(kinds: Mapping[str, KindName]) -> dict[str, OperatorKind]:
    return {agent: OperatorKind(kind.value) for agent, kind in kinds.items()}


def skill_spec(body: SkillRequest) -> SkillSpec:
    """Return the specification of a new skill."""
    return SkillSpec(
        name=body.name,
        description=body.description,
        agent=body.agent,
        queue=body.queue,
        input_schema=Json.of(body.input_schema),
        output_schema=None if body.output_schema is None else Json.of(body.output_schema),
        tags=body.tags,
        approval=SkillApproval(body.approval),
        roles=tuple(Role(role.value) for role in body.roles),
        task=body.task,
    )


def webhook_spec(body: WebhookRequest) -> WebhookSpec:
    """Return the specification of a new webhook."""
    return WebhookSpec(
        name=body.name,
        url=body.url,
        kinds=None if body.events is None else tuple(body.events),
        after=body.after,
        format=WebhookFormat(body.format.value),
        content=None if body.content is None else Content(body.content.value),
        template=body.template,
        links=body.links,
        sign=WebhookSign(body.sign.value),
    )
