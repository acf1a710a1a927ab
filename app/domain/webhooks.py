"""Webhooks: where events are sent, how far each delivery has come, and its recent failures."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from app.domain.clock import Instant
from app.domain.errors import InvalidRequest, WebhookInvalid
from app.domain.events import Event, EventKind
from app.domain.json import Json
from app.domain.namespaces import ALL_ID
from app.domain.notices import Content
from app.domain.questions import SETTLED
from app.domain.templates import check_template

_KINDS = frozenset(kind.value for kind in EventKind)


class WebhookStatus(StrEnum):
    """An active webhook is delivered to; a paused one keeps its position in the feed."""

    ACTIVE = "active"
    PAUSED = "paused"


class WebhookSign(StrEnum):
    """Signatures by a secret that the receiver shares, or by the server's key, whose public half it fetches."""

    SYMMETRIC = "symmetric"
    ASYMMETRIC = "asymmetric"


class WebhookFormat(StrEnum):
    """The body of a delivery: a batch of events, one event by a standard, or a message for people."""

    SWARMHOLD = "swarmhold"
    STANDARD = "standard"
    CLOUDEVENTS = "cloudevents"
    SLACK = "slack"
    TEAMS = "teams"
    DISCORD = "discord"
    NTFY = "ntfy"
    TEMPLATE = "template"
    MAIL = "mail"
    APPRISE = "apprise"
    AAP = "aap"
    """The notifications of an instance of the Agent Approval Protocol."""

    @property
    def is_chat(self) -> bool:
        """Return whether it is for people: one message for each question."""
        return self not in _FOR_PROGRAMS


UNSIGNED = frozenset({WebhookFormat.MAIL, WebhookFormat.APPRISE})
"""The formats whose messages are no requests of this server to the receiver."""
_FOR_PROGRAMS = frozenset(
    {WebhookFormat.SWARMHOLD, WebhookFormat.STANDARD, WebhookFormat.CLOUDEVENTS, WebhookFormat.AAP}
)
CHAT_KINDS = (
    EventKind.SENIOR_QUERIED.value,
    EventKind.QUESTION_REMINDED.value,
    EventKind.TASK_BLOCKED.value,
)
"""The kinds of events that people get messages about."""


class Webhook(NamedTuple):
    """One row of `webhooks`.

    Every event up to `cursor` was delivered or filtered out; `kinds` is a list, None means all kinds. `epoch` grows
    when somebody moves, pauses or resumes it, or another node delivers from now on (`node`), so that a delivery in
    progress does not undo that. `failing_since`,
    `failures`, `next_at` and `last_error` describe the failures since the last success; `delivered` counts events.
    `secret_number` tells its secrets apart, 0 for that of a webhook of an earlier release; `rotated_at` is when the
    latest one replaced another. A batch that failed is sent again up to `retry_to` and no further.

    A chat's messages show as much of a question as `content` says. `links` is the id of the person's key for whom each
    message about a question has an answer link; `template` is the text of a message in the format `template`.
    `instance` is the id of the API key whose questions alone are reported, by a secret from outside, `sealed_secret`.
    """

    id: str
    name: str
    url: str
    kinds: Json | None
    status: WebhookStatus
    reason: str | None
    cursor: int
    epoch: int
    failures: int
    failing_since: Instant | None
    next_at: Instant | None
    last_error: str | None
    delivered: int
    delivered_at: Instant | None
    created_at: Instant
    created_by: str
    namespace: int
    key_id: str | None
    node: str | None = None
    format: WebhookFormat = WebhookFormat.SWARMHOLD
    secret_number: int = 0
    rotated_at: Instant | None = None
    retry_to: int | None = None
    content: Content | None = None
    template: str | None = None
    links: str | None = None
    sign: WebhookSign = WebhookSign.SYMMETRIC
    instance: str | None = None
    sealed_secret: str | None = None

    def wants(self, event: Event) -> bool:
        """Return whether the event is of its namespace, or everybody's, and of one of its kinds.

        A chat also wants what closes a question, for the message about it.
        """
        if event.namespace not in (self.namespace, ALL_ID):
            return False
        if not self.format.is_chat:
            return self.kinds is None or event.kind in self.kinds.value
        return event.kind in SETTLED or event.kind in (CHAT_KINDS if self.kinds is None else self.kinds.value)

    @property
    def has_secret(self) -> bool:
        """Return whether its receiver verifies deliveries by a secret of this server."""
        return self.sign is WebhookSign.SYMMETRIC and self.format not in UNSIGNED and self.sealed_secret is None

    @property
    def shown_url(self) -> str:
        """The URL as lists and the audit log show it: the whole URL of a chat lets its holder write there."""
        if not self.format.is_chat or self.format is WebhookFormat.MAIL:
            return self.url
        scheme, _, rest = self.url.partition("://")
        if self.format is WebhookFormat.APPRISE:
            return f"{scheme}://…"
        return f"{scheme}://{rest.partition('/')[0].partition('?')[0]}/…"


class WebhookMessage(NamedTuple):
    """One row of `webhook_messages`: what a chat webhook has said about a question.

    `reference` is the receiver's own id of the first message, by which it can be changed. `link_id` is the answer link
    in the message about the event `link_cursor`. `sent_at` is None until the receiver has taken a message.
    """

    webhook_id: str
    question_key: str
    task_id: str
    reference: str | None
    link_id: str | None
    link_cursor: int | None
    sent_at: Instant | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookSpec:
    """The request for a webhook. `after` is a cursor of the feed; None starts with events from now on.

    `links` is the id or name of the key of a person. `instance` and `sealed_secret` are those of the row.
    """

    name: str
    url: str
    kinds: tuple[str, ...] | None = None
    after: int | None = None
    format: WebhookFormat = WebhookFormat.SWARMHOLD
    content: Content | None = None
    template: str | None = None
    links: str | None = None
    sign: WebhookSign = WebhookSign.SYMMETRIC
    instance: str | None = None
    sealed_secret: str | None = None

    def check(self) -> None:
        """Raise InvalidRequest for unknown kinds or an empty list of kinds, WebhookInvalid for what does not fit."""
        self._check_kinds()
        if self.format is WebhookFormat.AAP and self.instance is None:
            raise WebhookInvalid("an instance is made by POST /aap/v1/instances; choose another format", "format")
        if not self.format.is_chat:
            for field, given in (("content", self.content), ("links", self.links)):
                if given is not None:
                    raise WebhookInvalid(f"the format {self.format} has no content; choose a format for people", field)
        if self.format in UNSIGNED and self.sign is WebhookSign.ASYMMETRIC:
            raise WebhookInvalid(f"messages of the format {self.format} are not signed; leave it out", "sign")
        if self.format is WebhookFormat.TEMPLATE:
            if self.template is None:
                raise WebhookInvalid("give the text of a message", "template")
            check_template(self.template)
        elif self.template is not None:
            raise WebhookInvalid(f"the format is {self.format}; choose template, or leave it out", "template")

    def _check_kinds(self) -> None:
        if self.kinds is None:
            return
        if not self.kinds:
            raise InvalidRequest("name at least one kind of event, or leave it out for all", "events")
        if unknown := sorted(set(self.kinds) - _KINDS):
            raise InvalidRequest(f"unknown kinds of events: {', '.join(unknown)[:200]}", "events")
        if self.format.is_chat and not set(self.kinds) <= set(CHAT_KINDS):
            raise WebhookInvalid(f"the format {self.format} sends {', '.join(CHAT_KINDS)} alone", "events")
