"""The tree of errors: each leaf has a code, typed fields and a message."""

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
    """Return an instance with a value in each field."""
    given: dict[str, Any] = {"str": "some", "int": 7, "float": 7.0, "bool": True, "tuple[str, ...]": ("rest",)}
    if "__init__" not in vars(leaf):
        return leaf()
    parameters = [p for p in inspect.signature(leaf).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    return leaf(*(given[str(p.annotation).split(" | ", maxsplit=1)[0]] for p in parameters))


def test_all_documented_errors_exist() -> None:
    """Every documented error is a leaf."""
    assert set(PROMISED.split()) - {leaf.__name__ for leaf in LEAVES} == set()


def test_everything_is_exported() -> None:
    """The package exports each of its errors."""
    assert set(errors.__all__) == {x.__name__ for x in (*LEAVES, *BRANCHES)}


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: leaf.__name__)
def test_a_leaf_has_code_message_and_fields(leaf: type[EngineError]) -> None:
    """Its code is kebab-case, its message is a sentence, and its fields are JSON without private ones."""
    error = made(leaf)

    assert re.fullmatch(r"[a-z]+(-[a-z]+)+|internal|cancelled|overloaded|unauthenticated", error.code)
    assert str(error)[0].isupper() or str(error).startswith("some")
    json.dumps(error.fields())
    assert not any(name.startswith("_") for name in error.fields())
    assert issubclass(leaf, (Busy, Conflict, NotFound, AccessDenied, InvalidInput)) or leaf in (PollTimeout, Internal)


def test_codes_are_unique() -> None:
    """Two leaves share a code only if callers handle both alike."""
    codes: dict[str, list[str]] = {}
    for leaf in LEAVES:
        codes.setdefault(leaf.code, []).append(leaf.__name__)

    assert {code: names for code, names in codes.items() if len(names) > 1} == {
        "lock-busy": ["LockBusy", "LockBusyAfterRetry"]
    }


def test_the_reason_of_a_failed_authentication_is_not_shown() -> None:
    """The reason of Unauthenticated is for the audit log: neither its message nor its fields contain it."""
    error = errors.Unauthenticated("revoked key")
    assert error.reason == "revoked key"
    assert "revoked" not in str(error)
    assert error.fields() == {}


def test_who_may_not_is_named() -> None:
    """A role, or the key whose roles do not suffice."""
    assert str(errors.RoleViolation("worker", "mint_token")) == "A credential with role worker may not mint_token."
    assert str(errors.RoleViolation("this API key", "act as senior")) == "This API key may not act as senior."
