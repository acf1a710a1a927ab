"""Approval of a skill's calls: nobody may claim the attempt until a senior has approved the call."""

from __future__ import annotations

from typing import Any, cast

from app.domain.access import Caller
from app.domain.actions import Decision, approval_of, schema_of
from app.domain.attempts import Attempt, Outcome, Phase, Reason
from app.domain.errors import DispatchFailed
from app.domain.events import EventKind
from app.domain.json import Json
from app.domain.questions import Ask, Purpose, Question
from app.domain.skills import Skill
from app.domain.tasks import Step, Task, step
from app.engine.ops import audit, suspension
from app.engine.ops.queries import lock_task
from app.engine.ops.rules import EngineCfg
from app.engine.ops.settling import end_attempt, failure, settle_task
from app.state.state import State
from app.state.tables import ATTEMPTS, QUESTIONS

_ALLOWED = (Decision.APPROVE.value, Decision.EDIT.value, Decision.REJECT.value)


def ask(state: State, cfg: EngineCfg, caller: Caller, attempt: Attempt, skill: Skill, arguments: Json) -> Question:
    """Ask whether a call of a skill may be carried out, before its attempt, just prepared, can be claimed.

    Raises DispatchFailed where something else has to happen before, PayloadTooLarge, and InvalidRequest for arguments
    whose numbers a double cannot hold.
    """
    if attempt.phase is not Phase.QUEUED:
        raise DispatchFailed("a call that needs approval goes to its queue at once; a layer of this session forbids it")
    asked = Ask(
        title=f"May {skill.name} be carried out?",
        question=Json.of(f"{caller.subject} calls {skill.name}. May agent {skill.agent} carry it out?"[:1000]),
        action=Json.of({"name": skill.name, "arguments": arguments.written}),
        allowed=_ALLOWED,
        answer_schema=_decision(skill),
    )
    asked.check_size(cfg.limits.question_bytes)
    asked.check()
    return suspension.suspend(
        state,
        lock_task(state, attempt.task_id, caller),
        attempt,
        asked,
        purpose=Purpose.SKILL,
        asked_by=caller.subject,
        asker_role=caller.role.value,
        asker_keys=caller.keys,
        bridge_id=None,
    )


def _decision(skill: Skill) -> Json:
    """Return the schema of the decision, in which edited arguments have to be what the skill takes."""
    schema = schema_of(_ALLOWED).value
    edited = schema["properties"]["edited_action"]["properties"]
    edited["name"] = {"const": skill.name}
    if '"$ref"' not in skill.input_schema.text:
        edited["arguments"] = skill.input_schema.value
    return Json.of(schema)


def decide(state: State, task: Task, question: Question, answer: Json, by: Caller | None) -> bool:
    """Carry out a decision: True lets the attempt go on, False has ended it and blocked its task."""
    attempt = ATTEMPTS.get(state.db, task.id, question.attempt)
    if attempt is None or not attempt.is_live or question.action is None or question.action_digest is None:
        return True
    approval = approval_of(question.action, question.action_digest, answer)
    if approval is None or by is None:
        _refuse(state, task, attempt, question, answer)
        return False
    if approval.decision == Decision.EDIT.value:
        arguments = Json.of(approval.action.written["arguments"])
        ATTEMPTS.update(state.db, task.id, attempt.attempt, prompt=Json.of(arguments.text))
    said: dict[str, Any] = {"decision": approval.decision, "action_digest": approval.digest}
    consumed = {"at": state.now, "digest": approval.digest, "scope": "engine", "once": "", "fingerprint": ""}
    QUESTIONS.update(state.db, question.key, consumed=Json.of(consumed))
    suspension.emit(state, EventKind.APPROVAL_CONSUMED, question, task, by="engine", **said)
    audit.record(
        state,
        by,
        EventKind.APPROVAL_CONSUMED.value,
        target=question.key,
        namespace=question.namespace,
        task_id=task.id,
        **said,
    )
    return True


def _refuse(state: State, task: Task, attempt: Attempt, question: Question, answer: Json) -> None:
    said: Any = answer.value
    message = cast("dict[str, Any]", said).get("message") if isinstance(said, dict) else None
    detail = str(message or f"{question.key} was rejected")
    after = step(task.id, task.status, Step.DEADLINE_BLOCK)
    end_attempt(state, attempt, outcome=Outcome.BLOCKED, reason=Reason.REFUSED, detail=detail)
    result = failure(Reason.REFUSED, detail)
    settle_task(state, task, after, result=result, reason=Reason.REFUSED.value, key=question.key)
