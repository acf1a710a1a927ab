"""Every view and the model that describes it: a reply has exactly the model's fields."""

import inspect
from collections.abc import Iterator
from types import ModuleType
from typing import Any, get_type_hints

import orjson
import pytest
from pydantic import BaseModel

from app.domain.access import Role
from app.domain.actions import Approval
from app.domain.answer_links import AnswerLink
from app.domain.attempts import Attempt, Dispatched, DispatchOutcome, Outcome, Reason, WorkerPayload
from app.domain.events import Event, EventKind
from app.domain.json import Json
from app.domain.nodes import Node, NodeState
from app.domain.notices import Content
from app.domain.outputs import LateResult, Output, OutputType
from app.domain.questions import Question, QuestionStatus
from app.domain.sessions import OperatorKind, Session
from app.domain.skills import Skill
from app.domain.tasks import Task, TaskState
from app.domain.tokens import ApiKey, CapToken, TokenRecord
from app.domain.usage import Usage, UsageRow
from app.domain.webhooks import Webhook
from app.engine.credentials import Inspection, Minted
from app.engine.ops.links import Opened
from app.engine.ops.loop import RUNNING, LoopState, Switches
from app.engine.ops.namespaces import NamespaceSummary
from app.engine.ops.outputs import LongOutput
from app.engine.ops.pages import Page
from app.engine.ops.queues import Claim
from app.engine.ops.reports import Stats, WhyLink
from app.engine.ops.usage import TreeUsage
from app.engine.sessions import Attached
from app.engine.workers import WorkerPulse
from app.http import question_views, views
from swarmhold.models import (
    admin,
    attempts,
    links,
    outputs,
    questions,
    server,
    sessions,
    shapes,
    tasks,
    usage,
    workers,
)
from swarmhold.models.events import Event as EventModel
from tests.support.rows import EMPTY, NOTHING, blank

TEXT = Json('"text"')
SPECIAL: dict[str, Any] = {
    "role": Role.OPERATOR,
    "outcome": Outcome.PASS,
    "reason": Reason.FINAL,
    "kind": OperatorKind.MAIN_AI,
    "bp_global_kind": OperatorKind.MAIN_AI,
    "layers": Json("[]"),
    "delivered_to": Json('["b"]'),
    "choices": Json("[1]"),
    "choice_words": Json("[null]"),
    "claim": Json('{"by": "mo", "through": {"door": "rest"}, "since": 1, "until": 9}'),
    "action": Json('{"name": "n", "arguments": {}}'),
    "allowed": Json('["approve"]'),
    "doors": Json('["rest"]'),
    "consumed": Json('{"at": 1}'),
    "answer_schema": Json("{}"),
    "answered_through": Json(
        '{"door": "rest", "role": "senior", "key_id": "K-1", "key_name": "k", "session_id": "S-1"}'
    ),
    "kinds": Json('["task_pass"]'),
    "directive": TEXT,
    "prompt": TEXT,
    "system": TEXT,
    "final": TEXT,
}
"""Values of fields for which the type's own nothing, or any JSON, will not do."""


def least(kind: type[Any], **changes: Any) -> Any:
    """A row without any optional value."""
    special = {name: value for name, value in SPECIAL.items() if name in ("layers", "delivered_to", "directive")}
    return blank(kind)._replace(**{n: v for n, v in special.items() if n in kind._fields}, **changes)


def most(kind: type[Any], **changes: Any) -> Any:
    """A row with a value in every field."""
    row = least(kind)
    hints = {name: hint.__forward_arg__ for name, hint in kind.__annotations__.items()}
    absent = {name: _value(name, hints[name]) for name in kind._fields if getattr(row, name) is None}
    return row._replace(**absent | changes)


def _value(name: str, hint: str) -> Any:
    if name in SPECIAL and not (name in ("kind", "reason") and hint.startswith("str")):
        return SPECIAL[name]
    plain = {"Json": TEXT, "int": 1, "Instant": 1, "bool": True, "str": "text", "Content": Content.FULL}
    return plain[hint.partition(" ")[0]]


ANSWER: dict[str, object] = {"key": "R-1", "question": 1, "answer": 2, "answered_by": "s", "answered_at": 1}
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01 rojo=1"
PAYLOAD = WorkerPayload(task_id="T", attempt=1, agent="a", prompt="p", system="s", answers=[ANSWER], trace=TRACE)
BARE_PAYLOAD = WorkerPayload(task_id="T", attempt=1, agent="a", prompt="p", system=None, answers=[])
LINK: WhyLink = {
    "kind": "question",
    "detail": "d",
    "since": 1,
    "at": 1,
    "task_id": "T",
    "key": "R",
    "asked_by": "a",
    "bridge_id": "b",
    "seen_by": ["b"],
    "deadline": 1,
    "on_deadline": "block",
    "attempt": 1,
    "phase": "running",
    "spawner": "queue",
    "queue": "q",
    "lease_holder": "w",
    "owner": "N",
    "last_seen_at": 1,
    "outcome": "pass",
    "reason": "final",
    "reason_detail": "d",
    "late_results": 0,
    "name": "lease",
}
PAUSED = LoopState(True, "kim", 1)
COUNTS: Stats = {
    "tasks": {"pass": 1},
    "questions": {"open": 1},
    "oldest_open_question_at": 1,
    "sessions": {"attached": 1},
    "attempts": [{"spawner": "queue", "phase": "running", "count": 1}],
    "queues": {"q": 1},
    "webhooks": {"active": 1},
    "loop": Switches(PAUSED, RUNNING),
}
OPEN = QuestionStatus.OPEN
OUTCOME = Json('{"status": "failed", "note": "n", "at": 1}')
APPROVED = Approval("approve", Json('{"name": "n", "arguments": {}}'), "sha256:0")
TASK = most(Task, retry=Json.of({"max_attempts": 2}))
SESSION, BARE_SESSION = most(Session, role=Role.OPERATOR), least(Session, role=Role.OPERATOR)
TOKEN = CapToken("a.b.c")
USED = Usage(input_tokens=1, output_tokens=2, cost=0.5)
USED_BY = UsageRow("T", 1, "m", 1, 2, 0.5)

VIEWS: dict[str, tuple[type[BaseModel], list[tuple[Any, ...]], list[tuple[Any, ...]]]] = {
    # The view's name: its model, arguments of replies that have every field, and of ones that have as few as can be.
    "task": (
        tasks.Task,
        [(TaskState(TASK, ("R",), USED, 1), ("last_result",))],
        [(TaskState(least(Task), ()),)],
    ),
    "usage": (usage.Usage, [(USED,)], [(Usage(),)]),
    "attempt_usage": (usage.AttemptUsage, [([USED_BY],)], [([UsageRow("T", 1, "", None, None, 0.5)],)]),
    "task_usage": (
        usage.TaskUsage,
        [(TreeUsage(task_id="T", own=USED, total=USED, tasks=1, complete=True),)],
        [(TreeUsage(task_id="T", own=Usage(), total=Usage(), tasks=0, complete=True),)],
    ),
    "dispatched": (
        attempts.Dispatched,
        [(Dispatched(task_id="T", attempt=1, handle="wh-", expires_at=1),)],
        [(Dispatched(task_id="T", attempt=1, handle=None, expires_at=None),)],
    ),
    "outcome": (
        attempts.DispatchOutcome,
        [(DispatchOutcome(outcome=Outcome.PASS, value=TEXT, key="R", reason=Reason.FINAL),)],
        [(DispatchOutcome(outcome=Outcome.TIMEOUT),)],
    ),
    "attempt": (
        attempts.Attempt,
        [({1: [USED_BY]}, most(Attempt, attempt=1), ("final",))],
        [({}, least(Attempt, prompt=TEXT))],
    ),
    "late": (attempts.LateResult, [(most(LateResult), ("value",))], [(least(LateResult),)]),
    "question": (
        questions.Question,
        [(most(Question, status=OPEN, takes_comment=True, outcome=OUTCOME), 8, ("question",))],
        [(least(Question, status=OPEN), 8)],
    ),
    "answer_link": (links.AnswerLink, [(most(AnswerLink, allow=Json("[1]")), "http://h/a#al_")], []),
    "opened_link": (
        links.OpenedLink,
        [(Opened(most(AnswerLink, allow=Json("[1]")), most(Question, outcome=OUTCOME), most(ApiKey)), "http://h")],
        [(Opened(least(AnswerLink), least(Question), least(ApiKey)), "http://h")],
    ),
    "consumption": (questions.Consumption, [(most(Question, outcome=OUTCOME), APPROVED)], []),
    "session": (sessions.Session, [(SESSION,)], [(BARE_SESSION,)]),
    "attached": (sessions.Attached, [(Attached(TOKEN, SESSION),)], [(Attached(TOKEN, BARE_SESSION),)]),
    "api_key": (admin.ApiKey, [(most(ApiKey, roles="worker"),)], [(least(ApiKey, roles="worker"),)]),
    "created_key": (admin.CreatedKey, [(least(ApiKey), "shk_")], []),
    "payload": (workers.WorkerPrompt, [(PAYLOAD,)], [(BARE_PAYLOAD,)]),
    "claimed_job": (
        workers.ClaimedJob,
        [(Claim(handle="wh-", payload=PAYLOAD, lease_expires_at=1), "http://h")],
        [(Claim(handle="wh-", payload=BARE_PAYLOAD, lease_expires_at=None), "http://h")],
    ),
    "heartbeat": (workers.Heartbeat, [(WorkerPulse(1, False),)], [(WorkerPulse(None, True),)]),
    "inspection": (
        admin.TokenVerdict,
        [(Inspection(valid=False, code="c", role=Role.WORKER, subject="s", expires_at=1, uses_left=1),)],
        [(Inspection(valid=True, code=None, role=None, subject=None, expires_at=None, uses_left=None),)],
    ),
    "minted_token": (admin.MintedToken, [(Minted(TOKEN, least(TokenRecord)),)], []),
    "resource": (server.Resource, [("k", TEXT, 1)], []),
    "skill": (
        admin.Skill,
        [(most(Skill, roles="operator", of_settings=True, tags=NOTHING, input_schema=EMPTY, output_schema=EMPTY),)],
        [(least(Skill, roles="operator", input_schema=EMPTY, tags=NOTHING),)],
    ),
    "webhook": (admin.Webhook, [(most(Webhook),)], [(least(Webhook),)]),
    "webhook_keys": (admin.WebhookKeys, [([("k", b"k" * 32)],)], [([],)]),
    "created_webhook": (admin.CreatedWebhook, [(most(Webhook), "s")], [(least(Webhook), "s")]),
    "namespace": (
        admin.Namespace,
        [(NamespaceSummary(name="n", keys=1, tasks={"pass": 1}, open_questions=1, oldest_open_at=1),)],
        [(NamespaceSummary(name="n", keys=0, tasks={}, open_questions=0, oldest_open_at=None),)],
    ),
    "node": (server.Node, [(NodeState(most(Node), True),)], [(NodeState(least(Node), False),)]),
    "switch_of_all": (server.LoopSwitch, [(Switches(RUNNING, PAUSED),)], [(Switches(RUNNING, RUNNING),)]),
    "loop": (server.LoopState, [(Switches(PAUSED, PAUSED),)], [(Switches(RUNNING, RUNNING),)]),
    "why": (tasks.Why, [({"task_id": "T", "status": "pass", "summary": "s", "chain": [LINK]},)], []),
    "why_link": (tasks.WhyLink, [(LINK,)], [({"kind": "clocks", "detail": "d", "since": None},)]),
    "stats": (server.Stats, [(COUNTS,)], [(COUNTS | {"oldest_open_question_at": None},)]),
    "page": (shapes.Page[Any], [(Page([1], "c"), int)], [(Page([], None), int)]),
}
OUTPUTS = [
    ("progress", {"stage": "s", "note": "n"}),
    ("partial", {"chunk": 1}),
    ("artifact", {"name": "n", "content": {"kind": "inline", "value": 1}}),
    ("final", {"content": {"kind": "inline", "value": 1}, "ok": True}),
]


MODULES = (views, question_views)


def defined_in(module: ModuleType) -> dict[str, Any]:
    """Return the public functions that a module defines itself."""
    return {
        name: function
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and not name.startswith("_")
    }


def rendered(name: str, *arguments: Any) -> dict[str, Any]:
    """A view as its reader gets it."""
    view = next(getattr(module, name) for module in MODULES if name in defined_in(module))
    if "names" in inspect.signature(view).parameters:
        arguments = (lambda namespace: f"namespace {namespace}", *arguments)
    return orjson.loads(orjson.dumps(view(*arguments)))


def undeclared(model: BaseModel) -> Iterator[str]:
    """The fields anywhere in a reply that no model declares."""
    yield from (f"{type(model).__name__}.{name}" for name in model.model_extra or {})
    for value in vars(model).values():
        for inner in value if isinstance(value, list) else [value]:
            if isinstance(inner, BaseModel):
                yield from undeclared(inner)


def test_every_view_is_held_to_a_model() -> None:
    """A new view comes with its model and its examples."""
    returning = {
        name
        for module in MODULES
        for name, function in defined_in(module).items()
        if function.__annotations__["return"] == "View"
    }
    assert returning - {"present", "with_cut", "long_output"} == VIEWS.keys()


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_has_exactly_its_models_fields(name: str) -> None:
    """All of them when all have a value; never another, and never without one that the model requires."""
    model, complete, bare = VIEWS[name]
    for arguments in complete:
        assert rendered(name, *arguments).keys() == model.model_fields.keys()
    for arguments in [*complete, *bare]:
        assert not list(undeclared(model.model_validate(rendered(name, *arguments))))


def test_a_claim_is_shown_until_it_ends_or_its_question_is_closed() -> None:
    """By the clock of the call and by no other."""
    claimed = most(Question, status=OPEN, outcome=OUTCOME)
    assert "claim" in rendered("question", claimed, 8)
    assert "claim" not in rendered("question", claimed, 9)
    assert "claim" not in rendered("question", claimed._replace(status=QuestionStatus.ANSWERED), 8)


def test_outputs_have_the_fields_of_their_type() -> None:
    """Together all of the record's, each only what it declares."""
    seen: set[str] = set()
    for kind, body in OUTPUTS:
        row = least(Output, body=Json.of(body), type=OutputType(kind))
        shown = rendered("output", row)
        assert not list(undeclared(outputs.OutputRecord.model_validate(shown)))
        seen |= shown.keys()
    long = rendered("long_output", LongOutput(least(Output, type=OutputType.PARTIAL), 9, {}, ("chunk",)))
    assert not list(undeclared(outputs.OutputRecord.model_validate(long)))
    assert long["chunk"].keys() == {"kind", "href", "bytes"}
    seen |= long.keys()
    assert seen == outputs.OutputRecord.model_fields.keys()


def test_what_a_report_may_hold_is_what_the_models_declare() -> None:
    """The engine's types and the API's models name the same fields."""
    assert get_type_hints(WhyLink).keys() == tasks.WhyLink.model_fields.keys()
    assert Stats.__annotations__.keys() == server.Stats.model_fields.keys()


def test_an_event_has_the_common_fields_and_those_of_its_kind() -> None:
    """The same for every consumer; what does not apply is left out."""
    kind = EventKind.TASK_PASS.value
    full = Event(
        cursor=1, kind=kind, at=0, task_id="T", session_id="S", attempt=1, data=Json('{"ok":true}'), namespace=1
    )
    bare = Event(cursor=1, kind=kind, at=0, task_id=None, session_id=None, attempt=None, data=None, namespace=1)

    assert full.document("default").keys() == EventModel.model_fields.keys() | {"ok"}
    assert bare.document(None) == {"cursor": 1, "kind": kind, "at": "1970-01-01T00:00:00.000Z"}
