"""The tree of errors: every leaf says what it is, in code, fields and words."""

import inspect
import json
import re
from typing import Any

import pytest

from app.domain import errors
from app.domain.errors import AccessDenied, Busy, Conflict, EngineError, Internal, InvalidInput, NotFound, PollTimeout

BRANCHES = (EngineError, Busy, Conflict, NotFound, AccessDenied, InvalidInput)

PROMISED = (
    "LockBusy LockBusyAfterRetry BadSignature TokenExpired TokenUsesExhausted TokenNotFound RoleViolation TaskNotFound "
    "SessionNotFound ResumeKeyNotFound ResourceNotFound InvalidTransition DispatchFailed PollTimeout Cancelled "
    "SpawnDepthExceeded TokenTaskMismatch Internal TokenRevoked FinalConflict AttemptSuperseded AlreadyAnswered "
    "QuestionClosed AnswerInvalid HandleMistyped NotStarted LoopPaused MaxHoldExceeded StoreUnavailable PayloadTooLarge"
)

LEAVES = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, EngineError) and value not in BRANCHES
]


def made(leaf: type[EngineError]) -> EngineError:
    """An instance with something in each field."""
    given: dict[str, Any] = {"str": "some", "int": 7, "float": 7.0, "bool": True}
    if "__init__" not in vars(leaf):
        return leaf()
    parameters = [p for p in inspect.signature(leaf).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    return leaf(*(given[str(p.annotation).split(" | ", maxsplit=1)[0]] for p in parameters))


def test_what_was_promised_exists() -> None:
    """Every error of the description is a leaf."""
    assert set(PROMISED.split()) - {leaf.__name__ for leaf in LEAVES} == set()


def test_everything_is_exported() -> None:
    """The package names each of its errors."""
    assert set(errors.__all__) == {x.__name__ for x in (*LEAVES, *BRANCHES)}


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: leaf.__name__)
def test_a_leaf_says_what_it_is(leaf: type[EngineError]) -> None:
    """Its code is kebab-case, its message a sentence with its fields, its fields are JSON without secrets."""
    error = made(leaf)

    assert re.fullmatch(r"[a-z]+(-[a-z]+)+|internal|cancelled|unauthenticated", error.code)
    assert str(error)[0].isupper() or str(error).startswith("some")
    json.dumps(error.fields())
    assert not any(name.startswith("_") for name in error.fields())
    assert issubclass(leaf, (Busy, Conflict, NotFound, AccessDenied, InvalidInput)) or leaf in (PollTimeout, Internal)


def test_codes_tell_leaves_apart() -> None:
    """Two leaves share a code only when a caller does the same about both."""
    codes: dict[str, list[str]] = {}
    for leaf in LEAVES:
        codes.setdefault(leaf.code, []).append(leaf.__name__)

    assert {code: names for code, names in codes.items() if len(names) > 1} == {
        "lock-busy": ["LockBusy", "LockBusyAfterRetry"]
    }


def test_nobody_learns_why_a_credential_was_refused() -> None:
    """The reason of Unauthenticated is for the audit log: neither its words nor its fields tell."""
    error = errors.Unauthenticated("revoked key")
    assert error.reason == "revoked key"
    assert "revoked" not in str(error)
    assert error.fields() == {}
