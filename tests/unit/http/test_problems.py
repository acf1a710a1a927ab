"""The table of problems, and how a problem is written."""

from typing import Any

import orjson
import pytest

from app.domain import errors
from app.domain.errors import (
    AuthRateLimited,
    EngineError,
    InvalidTransition,
    LockBusy,
    LoopPaused,
    QuestionClosed,
    TokenExpired,
    TokenNotFound,
    Unauthenticated,
)
from app.http.errors import HttpError, MethodNotAllowed
from app.http.problems import FAILED_CREDENTIAL, STATUS, internal, problem_of


def leaves(root: type[Exception]) -> set[type[Exception]]:
    """The classes of a tree that nothing is derived from."""
    below = root.__subclasses__()
    return {root} if not below else set().union(*(leaves(kind) for kind in below))


LEAVES: list[Any] = sorted(leaves(EngineError) | leaves(HttpError), key=lambda leaf: leaf.__name__)


@pytest.mark.parametrize("leaf", LEAVES)
def test_every_leaf_has_a_row(leaf: type[EngineError]) -> None:
    """An error without a status would be reported as an internal error."""
    assert leaf.__module__.startswith(("app.domain.errors", "app.http.errors"))
    assert leaf.code in STATUS


def test_every_row_has_a_leaf() -> None:
    """A row that nothing can raise is a leftover."""
    assert STATUS.keys() == {leaf.code for leaf in LEAVES}


def test_the_wire_names_the_statuses() -> None:
    """Each code under the status that the wire's table gives it."""
    by_status = {
        401: ("unauthenticated", "bad-signature", "token-expired", "token-not-found", "token-revoked"),
        403: ("role-violation", "token-task-mismatch"),
        409: (
            "invalid-transition",
            "final-conflict",
            "attempt-superseded",
            "cancelled",
            "not-started",
            "already-answered",
            "question-closed",
            "spawn-depth-exceeded",
        ),
        413: ("payload-too-large",),
        429: ("quota-exceeded", "too-many-guesses"),
        422: ("answer-invalid", "dispatch-failed", "idempotency-mismatch"),
        503: ("lock-busy", "store-unavailable", "loop-paused", "max-hold-exceeded", "overloaded"),
    }
    assert {code: STATUS[code][0] for codes in by_status.values() for code in codes} == {
        code: status for status, codes in by_status.items() for code in codes
    }


def test_failed_credentials_are_one() -> None:
    """The same bytes and headers, whatever was wrong."""
    failures = [Unauthenticated("missing"), Unauthenticated("forged"), TokenExpired(), TokenNotFound()]
    replies = [problem_of(failure).reply() for failure in failures]

    assert len({reply.body for reply in replies}) == 1
    assert {reply.status_code for reply in replies} == {401}
    assert all((b"www-authenticate", b"Bearer") in reply.raw_headers for reply in replies)
    assert all(STATUS[code][0] == 401 for code in FAILED_CREDENTIAL)


def test_fields_never_take_a_standard_member() -> None:
    """A task's status stands beside the problem's own."""
    document = orjson.loads(problem_of(InvalidTransition("T-1", "pass", "cancel_task")).reply().body)

    assert (document["status"], document["state"], document["operation"]) == (409, "pass", "cancel_task")
    assert problem_of(QuestionClosed("R-1", "expired")).document()["status"] == 409


def test_retry_after_is_told_where_trying_again_helps() -> None:
    """With every 503 and 429, in whole seconds from one."""
    assert problem_of(LockBusy("op")).headers["Retry-After"] == "1"
    assert problem_of(AuthRateLimited(0.2)).headers["Retry-After"] == "1"
    assert problem_of(AuthRateLimited(7.1)).headers["Retry-After"] == "8"
    assert "Retry-After" not in problem_of(TokenExpired()).headers


def test_instants_are_text() -> None:
    """As everywhere on the wire."""
    assert problem_of(LoopPaused("kim", 0)).document()["since"] == "1970-01-01T00:00:00.000Z"


def test_a_fault_of_the_server_shows_its_reference_alone() -> None:
    """Enough to find it in the log."""
    document = internal("abc").document()

    assert (document["status"], document["code"], document["reference"]) == (500, "internal", "abc")


def test_a_wrong_method_names_the_right_ones() -> None:
    """In the header that says so."""
    assert problem_of(MethodNotAllowed(["POST", "GET"])).headers == {"Allow": "GET, POST"}


def test_the_tree_is_whole() -> None:
    """Every error that the domain exports is in the tree."""
    exported = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]

    assert all(issubclass(error, EngineError) for error in exported)
