"""Rows with sensible values in every field, for tests that care for a few of them."""

from typing import Any

from app.domain.access import Role
from app.domain.attempts import Attempt, Phase
from app.domain.json import Json
from app.domain.notices import Content
from app.domain.outputs import LateResult, Output, OutputType
from app.domain.questions import OnDeadline, Purpose, Question, QuestionStatus
from app.domain.sessions import Session
from app.domain.skills import SkillApproval
from app.domain.tasks import Status, Task
from app.domain.tokens import TokenRecord
from app.domain.webhooks import WebhookFormat, WebhookSign, WebhookStatus

EMPTY, NOTHING = Json("{}"), Json("[]")

_ENUMERATED = (
    Phase.ENDED,
    Status.PASS,
    Role.WORKER,
    OutputType.PROGRESS,
    Purpose.ASK,
    SkillApproval.NEVER,
    OnDeadline.KEEP_WAITING,
    QuestionStatus.ANSWERED,
    Content.SUMMARY,
    WebhookFormat.SWARMHOLD,
    WebhookSign.SYMMETRIC,
    WebhookStatus.ACTIVE,
)
_VALUES: dict[str, Any] = {
    "str": "",
    "int": 0,
    "bool": False,
    "Instant": 0,
    "Json": EMPTY,
    **{type(member).__name__: member for member in _ENUMERATED},
}


def blank(kind: type[Any]) -> Any:
    """A row of a kind: None where that is allowed, else the type's own nothing."""
    hints = {name: hint.__forward_arg__ for name, hint in kind.__annotations__.items()}
    return kind(**{name: None if "None" in hint else _VALUES[hint] for name, hint in hints.items()})


def task(task_id: str, **changes: Any) -> Task:
    """A task that passed at instant 0."""
    return blank(Task)._replace(**{"id": task_id, "settled_at": 0} | changes)


def attempt(task_id: str, number: int = 1, **changes: Any) -> Attempt:
    """An attempt that ended at instant 0."""
    return blank(Attempt)._replace(
        **{"task_id": task_id, "attempt": number, "ended_at": 0, "layers": NOTHING} | changes
    )


def output(task_id: str, seq: int, **changes: Any) -> Output:
    """A progress event."""
    return blank(Output)._replace(**{"task_id": task_id, "attempt": 1, "seq": seq} | changes)


def late_result(task_id: str, **changes: Any) -> LateResult:
    """A late result."""
    return blank(LateResult)._replace(**{"task_id": task_id, "attempt": 1} | changes)


def question(key: str, task_id: str, **changes: Any) -> Question:
    """An answered question."""
    return blank(Question)._replace(**{"key": key, "task_id": task_id} | changes)


def token(jti: str, **changes: Any) -> TokenRecord:
    """A token that expired at instant 0."""
    return blank(TokenRecord)._replace(**{"jti": jti} | changes)


def session(session_id: str, **changes: Any) -> Session:
    """A session that expired at instant 0."""
    return blank(Session)._replace(**{"id": session_id, "jti": session_id} | changes)
