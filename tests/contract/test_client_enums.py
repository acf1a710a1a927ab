from __future__ import annotations

from enum import StrEnum

import pytest

from app.domain import access, actions, attempts, notices, outputs, questions, sessions, tasks, webhooks
from swarmhold.models import enums

PAIRS = [
    (access.Role, enums.Role),
    (access.Verb, enums.Verb),
    (tasks.Status, enums.Status),
    (tasks.RetryOn, enums.RetryOn),
    (attempts.Phase, enums.Phase),
    (attempts.Outcome, enums.Outcome),
    (outputs.OutputType, enums.OutputType),
    (questions.QuestionStatus, enums.QuestionStatus),
    (actions.Decision, enums.Decision),
    (questions.OnDeadline, enums.OnDeadline),
    (sessions.OperatorKind, enums.OperatorKind),
    (notices.Content, enums.WebhookContent),
    (webhooks.WebhookFormat, enums.WebhookFormat),
    (webhooks.WebhookSign, enums.WebhookSign),
    (webhooks.WebhookStatus, enums.WebhookStatus),
]


@pytest.mark.parametrize(("domain", "model"), PAIRS, ids=lambda enum: enum.__name__)
def test_the_models_have_the_members_of_the_domain(domain: type[StrEnum], model: type[StrEnum]) -> None:
    """The client package imports nothing of the server, so its enumerations are copies; they must not drift apart."""
    assert {member.name: member.value for member in model} == {member.name: member.value for member in domain}


def test_every_enumeration_of_the_models_is_compared() -> None:
    """A new one in the package has its counterpart named above."""
    own = {enum for enum in vars(enums).values() if isinstance(enum, type) and enum.__module__ == enums.__name__}
    assert own == {model for _, model in PAIRS}


def test_settled_tasks_are_settled_for_both() -> None:
    """A client stops waiting in the statuses in which the server ends a poll."""
    assert {status.value for status in enums.SETTLED} == {status.value for status in tasks.SETTLED}
