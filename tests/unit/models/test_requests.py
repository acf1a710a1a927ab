from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from app.domain import questions
from app.domain.ids import IdSource
from app.domain.json import Json
from app.domain.tasks import RetryPolicy
from app.http import conversions
from swarmhold.models.admin import KeyRequest, MintRequest
from swarmhold.models.attempts import DispatchRequest, Retry
from swarmhold.models.enums import RetryOn, Role
from swarmhold.models.names import QuestionKey, SessionId, TaskId
from swarmhold.models.outputs import Output, WorkerOutput
from swarmhold.models.questions import QuestionRequest
from swarmhold.models.sessions import AttachRequest
from swarmhold.models.shapes import Request
from swarmhold.models.spawners import CustomSpawner, ProcessSpawner, QueueSpawner
from swarmhold.models.tasks import CancelRequest, OverrideRequest, StartTaskRequest, VerdictRequest, WorkerResultRequest
from swarmhold.models.workers import ClaimRequest

TASK: dict[str, Any] = {"agent": "a", "initial_directive": "do"}
ATTACH: dict[str, Any] = {"operator_id": "ann", "ttl": 60}
LATER = "2030-01-01T00:00:00Z"


@pytest.mark.parametrize("kind", [TaskId, SessionId, QuestionKey])
def test_ids_of_the_domain_fit_their_pattern(kind: Any) -> None:
    """The wire's patterns take what the id source makes, and nothing near it."""
    source = IdSource()
    made = {TaskId: source.task, SessionId: source.session, QuestionKey: source.resume_key}[kind]()
    adapter = TypeAdapter[str](kind)
    assert adapter.validate_python(made) == made
    for wrong in (made.upper(), made[:-1], made + "0", made[:-1] + "u", "X" + made[1:], made + "\n", ""):
        with pytest.raises(ValidationError):
            adapter.validate_python(wrong)


@pytest.mark.parametrize("agent", ["", "x" * 201, "a\nb", "a\x00", "a\x7f", "a\x85b", "\x1b[31m", 7, None, ["a"]])
def test_an_agent_has_a_short_name_on_one_line(agent: object) -> None:
    """Empty, endless and control characters are refused."""
    with pytest.raises(ValidationError):
        StartTaskRequest.model_validate({**TASK, "agent": agent})


@pytest.mark.parametrize("agent", ["a", "x" * 200, "ünïcode ✓", "a b:c/d"])
def test_other_agent_names_are_fine(agent: str) -> None:
    """Any script, blanks and punctuation."""
    assert StartTaskRequest.model_validate({**TASK, "agent": agent}).agent == agent


def test_a_directive_may_be_large_but_holds_no_nul() -> None:
    """Megabytes and line breaks are fine; NUL is not text everywhere."""
    large = "line\n" * 1_000_000
    assert StartTaskRequest.model_validate({**TASK, "initial_directive": large}).initial_directive == large
    with pytest.raises(ValidationError):
        StartTaskRequest.model_validate({**TASK, "initial_directive": "a\x00b"})


@pytest.mark.parametrize(
    "labels",
    [
        {"": "v"},
        {"k" * 201: "v"},
        {"a:b": "v"},
        {"k": "v" * 201},
        {"k": ""},
        {"k": 1},
        {"k": "a\nb"},
        {f"k{n}": "v" for n in range(65)},
        [],
    ],
)
def test_labels_have_limits(labels: object) -> None:
    """Numbers, lengths, and no colon in a key."""
    with pytest.raises(ValidationError):
        StartTaskRequest.model_validate({**TASK, "labels": labels})


def test_labels_at_their_limits_are_fine() -> None:
    """64 pairs, keys and values of 200, colons in values."""
    labels = {f"{n:0200d}": "v:" * 100 for n in range(64)}
    assert StartTaskRequest.model_validate({**TASK, "labels": labels}).labels == labels


@pytest.mark.parametrize(
    ("request_", "body"),
    [
        (StartTaskRequest, {**TASK, "directive": "x"}),
        (AttachRequest, {**ATTACH, "tll": 1}),
        (CancelRequest, {"reasons": "x"}),
        (DispatchRequest, {"spawner": {"kind": "external"}, "wait": 3}),
        (DispatchRequest, {"spawner": {"kind": "external", "queue": "q"}}),
        (QuestionRequest, {"question": 1, "schema": {}}),
        (ClaimRequest, {"queue": "q", "agent": "a"}),
    ],
)
def test_an_unknown_field_is_refused(request_: type[Request], body: object) -> None:
    """A typing error must not pass as a default."""
    with pytest.raises(ValidationError, match="extra_forbidden"):
        request_.model_validate(body)


@pytest.mark.parametrize("ttl", [0, -1, float("inf"), float("nan"), 1e300, "soon", None])
def test_a_ttl_is_a_positive_finite_duration(ttl: object) -> None:
    """Nothing that would overflow a clock either."""
    with pytest.raises(ValidationError):
        AttachRequest.model_validate({**ATTACH, "ttl": ttl})


def test_an_attach_fills_in_and_converts() -> None:
    """The role is operator by default; options keep an explicit automate."""
    request = AttachRequest.model_validate({**ATTACH, "kind": "automate", "bp_agent_kinds": {"a": "main_ai"}})
    options = conversions.session_options(request)
    assert request.role is Role.OPERATOR
    assert options.kind == "automate"
    assert options.bp_agent_kinds == {"a": "main_ai"}
    with pytest.raises(ValidationError):
        AttachRequest.model_validate({**ATTACH, "role": "worker"})


@pytest.mark.parametrize("role", ["operator", "senior", "root"])
def test_only_workers_and_observers_are_minted(role: str) -> None:
    """A session cannot mint its equals or betters."""
    with pytest.raises(ValidationError):
        MintRequest.model_validate({"agent_id": "a", "role": role, "ttl": 1})


def test_a_key_needs_a_role() -> None:
    """A key that may attach as nothing is a mistake."""
    assert KeyRequest.model_validate({"name": "n", "roles": ["worker"]}).roles == (Role.WORKER,)
    with pytest.raises(ValidationError):
        KeyRequest.model_validate({"name": "n", "roles": []})


def test_a_retry_is_the_domains_by_default() -> None:
    """Wire and domain agree on every default."""
    assert conversions.retry_policy(Retry()) == RetryPolicy()


@pytest.mark.parametrize(
    "retry",
    [
        {"max_attempts": 0},
        {"max_attempts": 101},
        {"backoff": -1},
        {"multiplier": 0.5},
        {"max_backoff": -1},
        {"jitter": 1.5},
        {"on": ["cancelled"]},
        {"on": ["lost", "lost"]},
        {"retries": 3},
    ],
)
def test_a_senseless_retry_is_refused(retry: object) -> None:
    """Each bound of the policy."""
    with pytest.raises(ValidationError):
        Retry.model_validate(retry)


def test_a_retry_may_cover_every_ending() -> None:
    """Blocked results are retried only if the policy says so."""
    assert Retry.model_validate({"on": ["blocked", "failed", "timeout", "lost"]}).on == tuple(RetryOn)


@pytest.mark.parametrize(
    "body",
    [
        {"question": "?", "on_deadline": "default", "deadline": LATER},
        {"question": "?", "on_deadline": "default", "default": 1},
        {"question": "?", "on_deadline": "escalate", "deadline": LATER},
        {"question": "?", "on_deadline": "escalate", "escalate_to": "b"},
        {"question": "?", "on_deadline": "block"},
        {"question": "?", "on_deadline": "allow", "deadline": LATER},
        {"question": "?", "choices": []},
        {"question": "?", "answer_schema": "string"},
        {"choices": [1]},
    ],
)
def test_a_question_with_half_a_policy_is_refused(body: object) -> None:
    """Each policy needs its parts."""
    with pytest.raises(ValidationError):
        QuestionRequest.model_validate(body)


def test_null_is_a_question_a_choice_and_a_default() -> None:
    """Presence decides, not the value."""
    body = {"question": None, "choices": [None], "default": None, "on_deadline": "default", "deadline": LATER}
    ask = conversions.question(QuestionRequest.model_validate(body))
    assert ask.question == Json("null")
    assert ask.default_answer == Json("null")
    assert ask.on_deadline is questions.OnDeadline.DEFAULT
    assert conversions.question(QuestionRequest.model_validate({"question": 1})).default_answer is None


@pytest.mark.parametrize(
    "spawner",
    [
        {"kind": "external"},
        {"kind": "in_process", "function": "identity"},
        {"kind": "process", "program": "wc", "args": ["-l"]},
        {"kind": "queue", "queue": "q", "priority": -3},
        {"kind": "operator", "backend_id": "b"},
        {"kind": "http", "url": "https://example.org/work"},
        {"kind": "firecracker", "image": "x", "cpus": 2},
    ],
)
def test_every_spawner_reads_and_writes_back(spawner: dict[str, Any]) -> None:
    """The six built-in kinds and any that a package adds."""
    request = DispatchRequest.model_validate({"spawner": spawner})
    written = request.model_dump(mode="json")["spawner"]
    assert {name: written[name] for name in spawner} == spawner


@pytest.mark.parametrize(
    "spawner",
    [
        {},
        None,
        "external",
        [],
        {"kind": None},
        {"kind": "in_process"},
        {"kind": "process", "program": ""},
        {"kind": "process", "program": "p", "args": ["a\x00"]},
        {"kind": "queue"},
        {"kind": "queue", "queue": "q", "priority": 2**31},
        {"kind": "operator"},
        {"kind": "http", "url": "file:///etc/passwd"},
        {"kind": "http", "url": "https://a\nb"},
        {"kind": "Not A Kind"},
    ],
)
def test_a_broken_spawner_is_refused(spawner: object) -> None:
    """The error points into the spawner, so that an edge can tell it from the rest of the body."""
    with pytest.raises(ValidationError) as caught:
        DispatchRequest.model_validate({"spawner": spawner})
    assert {error["loc"][0] for error in caught.value.errors()} == {"spawner"}


def test_spawners_are_distinguished_when_built_in_python() -> None:
    """Instances are taken as they are."""
    assert DispatchRequest(spawner=QueueSpawner(queue="q")).spawner == QueueSpawner(queue="q")
    custom = DispatchRequest.model_validate({"spawner": {"kind": "mine", "size": 3}}).spawner
    assert isinstance(custom, CustomSpawner)
    assert custom.model_extra == {"size": 3}


def test_a_verdict_without_value_differs_from_null() -> None:
    """An operator's verdict may leave the result alone; a senior's names one."""
    assert not VerdictRequest.model_validate({"ok": True}).has("value")
    assert VerdictRequest.model_validate({"ok": True, "value": None}).has("value")
    with pytest.raises(ValidationError):
        OverrideRequest.model_validate({"ok": True})


@pytest.mark.parametrize("ok", ["true", 1, 0, None, "no"])
def test_a_verdict_is_a_boolean(ok: object) -> None:
    """What only looks like one decides nothing."""
    with pytest.raises(ValidationError):
        VerdictRequest.model_validate({"ok": ok})


def test_a_worker_result_names_its_task() -> None:
    """Null is a value; the task is not optional."""
    task = IdSource().task()
    assert WorkerResultRequest.model_validate({"task_id": task, "value": None}).ok is True
    for broken in ({"value": 1}, {"task_id": "T-1", "value": 1}, {"task_id": task}, {"task_id": task, "attempt": 0}):
        with pytest.raises(ValidationError):
            WorkerResultRequest.model_validate(broken)


@pytest.mark.parametrize(
    "output",
    [
        {"type": "progress", "stage": "reading"},
        {"type": "progress", "stage": "reading", "note": "half\nway"},
        {"type": "partial", "chunk": None},
        {"type": "artifact", "name": "plan", "content": {"kind": "inline", "value": [1]}},
        {"type": "artifact", "name": "log", "content": {"kind": "file_ref", "path": "/x", "size_hint": 9}},
        {"type": "usage", "input_tokens": 1, "output_tokens": 2, "cost": 0.5, "model": "m"},
        {"type": "usage", "cost": 0.0},
    ],
)
def test_every_output_reads_and_writes_back(output: dict[str, Any]) -> None:
    """What a worker may append, absent fields staying absent."""
    adapter: TypeAdapter[Any] = TypeAdapter(WorkerOutput)
    assert adapter.dump_python(adapter.validate_python(output), mode="json") == output


def test_a_final_is_an_output_but_not_one_to_append() -> None:
    """Finals go through submit, where their conflicts are decided."""
    final = {"type": "final", "content": {"kind": "inline", "value": 1}, "ok": True}
    everything: TypeAdapter[Any] = TypeAdapter(Output)
    appended: TypeAdapter[Any] = TypeAdapter(WorkerOutput)
    assert everything.dump_python(everything.validate_python(final), mode="json") == final
    with pytest.raises(ValidationError):
        appended.validate_python(final)


@pytest.mark.parametrize("claim", [{}, {"queue": ""}, {"queue": "q", "hold": -1}, {"queue": "q", "agents": [""]}])
def test_a_broken_claim_is_refused(claim: object) -> None:
    """A queue is named, a hold is not negative, and for nobody is not for anybody."""
    with pytest.raises(ValidationError):
        ClaimRequest.model_validate(claim)


@pytest.mark.parametrize(
    ("model", "body"),
    [
        (StartTaskRequest, {"agent": "a", "initial_directive": "d", "attempt_timeout": True}),
        (StartTaskRequest, {"agent": "a", "initial_directive": "d", "attempt_timeout": "5"}),
        (StartTaskRequest, {"agent": "a", "initial_directive": "d", "retry": {"max_attempts": "2"}}),
        (AttachRequest, {"operator_id": "o", "ttl": "60"}),
        (MintRequest, {"agent_id": "a", "role": "worker", "ttl": 1, "max_uses": True}),
        (DispatchRequest, {"spawner": {"kind": "queue", "queue": "q", "priority": "1"}}),
        (ClaimRequest, {"queue": "q", "hold": False}),
    ],
)
def test_a_number_is_a_number(model: type[Request], body: dict[str, Any]) -> None:
    """Neither text nor a truth value is taken for one."""
    with pytest.raises(ValidationError):
        model.model_validate(body)


@pytest.mark.parametrize(
    ("model", "body", "optional"),
    [
        (StartTaskRequest, {"agent": "a", "initial_directive": "d"}, ("labels", "retry", "attempt_timeout")),
        (DispatchRequest, {"spawner": {"kind": "external"}}, ("layers", "lease")),
        (ProcessSpawner, {"kind": "process", "program": "p"}, ("args",)),
        (QueueSpawner, {"kind": "queue", "queue": "q"}, ("priority",)),
        (QuestionRequest, {"question": 1}, ("answer_schema", "choices", "bridge_id", "deadline", "on_deadline")),
        (AttachRequest, {"operator_id": "o", "ttl": 1}, ("role", "kind", "operator_kind_overrides", "bp_agent_kinds")),
        (ClaimRequest, {"queue": "q"}, ("agents", "hold", "worker_name")),
    ],
)
def test_null_leaves_an_optional_field_out(
    model: type[Request], body: dict[str, Any], optional: tuple[str, ...]
) -> None:
    """As clients write it that send every field of their own types."""
    assert model.model_validate({**body, **dict.fromkeys(optional)}) == model.model_validate(body)
