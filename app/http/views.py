"""Replies: the one rendering of each value that the API shows, as the models in `swarmhold.models` describe it.

Plain dicts for orjson, JSON columns embedded as they are stored. An optional field without a value is left out; one
whose absence means something is null.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

import orjson

from app.domain import traces
from app.domain.attempts import Attempt, Dispatched, DispatchOutcome, WorkerPayload
from app.domain.clock import to_rfc3339 as at
from app.domain.json import Json
from app.domain.nodes import NodeState
from app.domain.outputs import LateResult, Output
from app.domain.sessions import Session
from app.domain.skills import Skill
from app.domain.tasks import TaskState
from app.domain.tokens import ApiKey
from app.domain.usage import Usage, UsageRow
from app.domain.webhooks import Webhook
from app.engine.credentials import Inspection, Minted
from app.engine.ops.loop import LoopState, Switches
from app.engine.ops.namespaces import NamespaceSummary
from app.engine.ops.outputs import LongOutput
from app.engine.ops.pages import Page
from app.engine.ops.queues import Claim
from app.engine.ops.reports import Stats, Why, WhyLink
from app.engine.ops.usage import TreeUsage
from app.engine.sessions import Attached
from app.engine.workers import WorkerPulse

View = dict[str, Any]
Names = Callable[[int], str | None]
"""Returns the name of a namespace, None for all of them."""
T = TypeVar("T")


def at_or_none(instant: int | None) -> str | None:
    """Return the RFC 3339 text of an instant, or None."""
    return None if instant is None else at(instant)


def fragment(value: Json | None) -> orjson.Fragment | None:
    """Embed a JSON column, null when it is empty."""
    return None if value is None else value.fragment


def present(**fields: Any) -> View:
    """Return the fields that have a value."""
    return {name: value for name, value in fields.items() if value is not None}


def with_cut(view: View, cut: Sequence[str]) -> View:
    """Add the names of the fields that hold a preview, if there are any."""
    return {**view, "cut": cut} if cut else view


def task(names: Names, state: TaskState, cut: Sequence[str] = ()) -> View:
    """Render a task. `cut` names the fields of which a list shows a preview."""
    row = state.task
    shown: View = {
        "id": row.id,
        "namespace": names(row.namespace),
        "spec": {"agent": row.agent, "initial_directive": row.directive.fragment},
        "status": str(row.status),
        "attempt": row.attempt,
        "suspended_on": state.suspended_on,
        "last_result": fragment(row.last_result),
        "spawn_depth": row.spawn_depth,
        "parent_task_id": row.parent_task_id,
        "session_id": row.session_id,
        "labels": row.labels.fragment,
        "retry": fragment(row.retry),
        "version": row.version,
        "created_at": at(row.created_at),
        "updated_at": at(row.updated_at),
        **present(settled_at=at_or_none(row.settled_at), started_at=at_or_none(state.started_at)),
    }
    if state.usage is not None:
        shown["usage"] = usage(state.usage)
    return with_cut(shown, cut)


def usage(used: Usage) -> View:
    """Render what was used. Costs are rounded to where sums of floats are exact."""
    cost = None if used.cost is None else round(used.cost, 9)
    return present(input_tokens=used.input_tokens, output_tokens=used.output_tokens, cost=cost)


def attempt_usage(rows: Sequence[UsageRow]) -> View:
    """Render what an attempt used: in all, and of each model."""
    total = Usage()
    for row in rows:
        total = total.plus(row.usage)
    return {**usage(total), "models": [{**present(model=row.model or None), **usage(row.usage)} for row in rows]}


def task_usage(found: TreeUsage) -> View:
    """Render what a task used, and with it the tasks below it."""
    return {
        "task_id": found.task_id,
        "own": usage(found.own),
        "total": usage(found.total),
        "tasks": found.tasks,
        "complete": found.complete,
    }


def etag(state: TaskState) -> str:
    """Return the task's version as an entity tag (RFC 9110, section 8.8.3)."""
    return f'"{state.task.version}"'


def dispatched(row: Dispatched) -> View:
    """Render a started attempt, with its handle where the caller passes it to a worker."""
    return {
        "task_id": row.task_id,
        "attempt": row.attempt,
        **present(worker_handle=row.handle, expires_at=at_or_none(row.expires_at)),
    }


def outcome(row: DispatchOutcome) -> View:
    """Render how a dispatch ended."""
    return {"outcome": row.outcome.value, **present(value=fragment(row.value), key=row.key, reason=row.reason)}


def output(row: Output) -> orjson.Fragment:
    """Render one output of an attempt, whole; its body is not decoded."""
    place = f'"type":"{row.type.value}","seq":{row.seq},"at":"{at(row.at)}"}}'
    return orjson.Fragment(_with_fields(row.body.text, place))


def _with_fields(body: str, fields: str) -> str:
    """Return the text of a JSON object with more fields at its end."""
    return body[:-1] + ("" if body == "{}" else ",") + fields


def long_output(row: LongOutput) -> View:
    """Render an output that is too long for a list: its value is the address at which it is read whole."""
    at_task = f"/v1/operator/tasks/{row.row.task_id}/attempts/{row.row.attempt}"
    ref = {"kind": "ref", "href": f"{at_task}/output/{row.row.seq}", "bytes": row.bytes}
    return {
        **{name: value.fragment for name, value in row.fields.items()},
        **{name: ref for name in row.cut if name in ("chunk", "content")},
        "type": row.row.type.value,
        "seq": row.row.seq,
        "at": at(row.row.at),
        "cut": row.cut,
    }


def listed_output(row: Output | LongOutput) -> View | orjson.Fragment:
    """Render an item of a list of outputs."""
    return output(row) if isinstance(row, Output) else long_output(row)


def attempt(used: Mapping[int, Sequence[UsageRow]], row: Attempt, cut: Sequence[str] = ()) -> View:
    """Render one attempt of a task; `used` has what attempts of it used."""
    ended: View = {}
    if row.attempt in used:
        ended["usage"] = attempt_usage(used[row.attempt])
    if row.final is not None:
        ended["final"] = {"value": row.final.fragment, "ok": row.final_ok}
    shown: View = {
        "task_id": row.task_id,
        "attempt": row.attempt,
        "status": "live" if row.is_live else "ended",
        "phase": row.phase.value,
        "agent": row.agent,
        "spawner": row.spawner.fragment,
        "layers": row.layers.fragment,
        "prompt": fragment(row.prompt),
        "started_at": at(row.started_at),
        "outputs": row.outputs,
        "late_results": row.late,
        **present(
            outcome=row.outcome,
            reason=row.reason,
            detail=row.detail,
            worker_id=row.worker_id,
            system=fragment(row.system),
            ended_at=at_or_none(row.ended_at),
            lease_expires_at=at_or_none(row.lease_expires_at),
            timeout_at=at_or_none(row.timeout_at),
            last_seen_at=at_or_none(row.last_seen_at),
            owner=row.owner,
            session_id=row.session_id,
        ),
        **ended,
    }
    return with_cut(shown, cut)


def late(row: LateResult, cut: Sequence[str] = ()) -> View:
    """Render a result that came too late."""
    shown: View = {
        "index": row.index,
        "task_id": row.task_id,
        "attempt": row.attempt,
        "value": row.value.fragment,
        "ok": row.ok,
        "reason": row.reason,
        "received_at": at(row.at),
        **present(adopted_at=at_or_none(row.adopted_at), adopted_by=row.adopted_by),
    }
    return with_cut(shown, cut)


def session(names: Names, row: Session) -> View:
    """Render a session, without its token."""
    return {
        "id": row.id,
        "namespace": names(row.namespace),
        "operator_id": row.operator_id,
        "role": row.role.value,
        "kind": row.kind,
        "attached": row.attached,
        "attached_at": at(row.attached_at),
        "last_seen": at(row.last_seen),
        "bridge_id": row.bridge_id,
        "hook_id": row.hook_id,
        "operator_backend_id": row.operator_backend_id,
        "operator_kind_overrides": row.operator_kind_overrides.fragment,
        "bp_agent_kinds": row.bp_agent_kinds.fragment,
        "bp_global_kind": row.bp_global_kind,
        "rebuildable": row.rebuildable,
        "quiet": row.quiet,
        "detached_at": at_or_none(row.detached_at),
        "expires_at": at(row.expires_at),
    }


def api_key(names: Names, row: ApiKey) -> View:
    """Render an API key, without its secret."""
    return {
        "id": row.id,
        "name": row.name,
        "namespace": names(row.namespace),
        "roles": row.roles.split(),
        "root": row.root,
        "person": row.person,
        "created_at": at(row.created_at),
        **present(email=row.email, expires_at=at_or_none(row.expires_at), revoked_at=at_or_none(row.revoked_at)),
    }


def payload(row: WorkerPayload) -> View:
    """Render what a worker fetches before it begins."""
    answers = [
        {**answer, "answered_at": at_or_none(cast("int | None", answer["answered_at"]))} for answer in row.answers
    ]
    return {
        "task_id": row.task_id,
        "attempt": row.attempt,
        "agent": row.agent,
        **present(system=row.system, trace=row.trace and traces.fields(row.trace)),
        "prompt": row.prompt,
        "answers": answers,
    }


_LINK_INSTANTS = frozenset({"since", "at", "deadline", "last_seen_at"})


def why(found: Why) -> View:
    """Render what a task waits for."""
    return {**found, "chain": [why_link(link) for link in found["chain"]]}


def why_link(link: WhyLink) -> View:
    """Render one link of that chain: the fields of its kind, without instants that it does not have."""
    return {
        name: at(cast("int", value)) if name in _LINK_INSTANTS else value
        for name, value in link.items()
        if value is not None or name not in _LINK_INSTANTS
    }


def stats(found: Stats) -> View:
    """Render the counts of the whole server."""
    oldest = at_or_none(found["oldest_open_question_at"])
    shown: View = {**found, "loop": loop(found["loop"])}
    del shown["oldest_open_question_at"]
    return {**shown, **present(oldest_open_question_at=oldest)}


def node(row: NodeState) -> View:
    """Render a node and whether it is alive."""
    found = row.node
    return {
        "id": found.id,
        "url": found.url,
        "version": found.version,
        "started_at": at(found.started_at),
        "seen_at": at(found.seen_at),
        "draining": found.draining,
        "alive": row.alive,
    }


def namespace(row: NamespaceSummary) -> View:
    """Render what a namespace holds."""
    return {
        "name": row.name,
        "keys": row.keys,
        "tasks": row.tasks,
        "open_questions": row.open_questions,
        "oldest_open_at": at_or_none(row.oldest_open_at),
    }


def loop(row: Switches) -> View:
    """Render whether dispatching is paused in a namespace, who switched it last and when, and the switch of all."""
    return {**_switch(row.own), "all": _switch(row.all)}


def switch_of_all(row: Switches) -> View:
    """Render the switch of all namespaces."""
    return _switch(row.all)


def _switch(row: LoopState) -> View:
    return {"paused": row.paused, "by": row.by, "since": at_or_none(row.since)}


def inspection(row: Inspection) -> View:
    """Render the result of verifying a token."""
    return {
        "valid": row.valid,
        **present(code=row.code),
        "role": row.role,
        "sub": row.subject,
        "expires_at": at_or_none(row.expires_at),
        "uses_left": row.uses_left,
    }


def attached(names: Names, row: Attached) -> View:
    """Render a new session with its token, which no other reply shows."""
    return {"token": row.token.text, "session": session(names, row.session)}


def created_key(row: ApiKey, text: str) -> View:
    """Render a new API key with its text, which no other reply shows."""
    return {"id": row.id, "key": text}


def minted_token(row: Minted) -> View:
    """Render a new token, which no other reply shows."""
    return {"token": row.token.text, "jti": row.record.jti, "expires_at": at(row.record.expires_at)}


def resource(key: str, value: Json, updated_at: int) -> View:
    """Render a named value."""
    return {"key": key, "value": value.fragment, "updated_at": at(updated_at)}


def heartbeat(pulse: WorkerPulse) -> View:
    """Render the reply to a worker's heartbeat."""
    return {"expires_at": at_or_none(pulse.expires_at), "cancelled": pulse.cancelled}


def claimed_job(row: Claim, base_url: str) -> View:
    """Render a claimed attempt: the worker's prompt, its handle and the server to work with."""
    return {
        **payload(row.payload),
        "worker_handle": row.handle,
        "lease_expires_at": at_or_none(row.lease_expires_at),
        "base_url": base_url,
    }


def skill(names: Names, row: Skill) -> View:
    """Render a published skill."""
    return {
        "id": row.id,
        "name": row.name,
        "namespace": names(row.namespace),
        "description": row.description,
        "agent": row.agent,
        "queue": row.queue,
        "input_schema": row.input_schema.fragment,
        **present(output_schema=fragment(row.output_schema)),
        "tags": row.tags.fragment,
        "approval": row.approval.value,
        "roles": row.roles.split(),
        "task": row.task,
        **present(of_settings=row.of_settings or None),
        "created_at": at(row.created_at),
    }


def webhook(names: Names, row: Webhook) -> View:
    """Render a webhook, without its secret."""
    return {
        "id": row.id,
        "name": row.name,
        "namespace": names(row.namespace),
        "url": row.shown_url,
        "events": fragment(row.kinds),
        "format": row.format.value,
        "sign": row.sign.value,
        "status": row.status.value,
        "cursor": row.cursor,
        "failures": row.failures,
        "delivered": row.delivered,
        "created_at": at(row.created_at),
        **present(
            reason=row.reason,
            failing_since=at_or_none(row.failing_since),
            next_at=at_or_none(row.next_at),
            last_error=row.last_error,
            delivered_at=at_or_none(row.delivered_at),
            rotated_at=at_or_none(row.rotated_at),
            content=row.content,
            template=row.template,
            links=row.links,
            instance=row.instance,
        ),
    }


def created_webhook(names: Names, row: Webhook, secret: str | None) -> View:
    """Render a new webhook with the secret that signs its deliveries, which no other reply shows."""
    return {**webhook(names, row), **present(secret=secret)}


def webhook_keys(keys: Sequence[tuple[str, bytes]]) -> View:
    """Render the public keys that verify deliveries, as JSON Web Keys (RFC 8037) and as Standard Webhooks has them."""
    return {
        "keys": [
            {
                "kid": kid,
                "kty": "OKP",
                "crv": "Ed25519",
                "x": base64.urlsafe_b64encode(key).rstrip(b"=").decode(),
                "standard": f"whpk_{base64.b64encode(key).decode()}",
            }
            for kid, key in keys
        ]
    }


def page(found: Page[T], render: Callable[..., View | orjson.Fragment]) -> View:
    """Render one page of a list. `render` takes an item and, where it has previews, the names of their fields."""
    if not any(found.cut):
        items = [render(item) for item in found.items]
    else:
        items = [render(item, cut) for item, cut in zip(found.items, found.cut, strict=True)]
    return {"items": items, "next_cursor": found.next_cursor}
