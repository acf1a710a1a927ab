"""Answer links: by which a person answers one question without signing in."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from swarmhold.models.enums import Decision
from swarmhold.models.instants import Instant
from swarmhold.models.names import NewName
from swarmhold.models.shapes import JsonObject, JsonValue, Request, Shape

__all__ = ["AnswerLink", "LinkAnswerRequest", "LinkRequest", "LinkSpent", "OpenLinkRequest", "OpenedLink"]

LONGEST_LIFE_S = 7 * 86_400

Secret = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class LinkRequest(Request):
    """A link for a person: the id or name of a key with the role senior and `person: true`.

    It lives `ttl` seconds, and never longer than the question's deadline. With `allow` it takes these answers alone.
    """

    person: NewName
    ttl: Annotated[float, Field(gt=0, le=LONGEST_LIFE_S)]
    allow: Annotated[list[JsonValue], Field(min_length=1, max_length=100)] | None = None


class AnswerLink(Shape):
    """A link that was made. The holder of its URL answers as the person; it is shown this once."""

    id: str
    url: str
    expires_at: Instant


class OpenLinkRequest(Request):
    """The secret of a link, which stands behind the `#` of its URL."""

    link: Secret


class LinkAnswerRequest(OpenLinkRequest):
    """The answer that a person gives by a link."""

    value: JsonValue


class OpenedLink(Shape):
    """The question that a link shows, and the answers that may be given with it.

    `person` is whose answer it will be, `console` where the question stands for those who can sign in.
    """

    key: str
    agent: str
    title: str | None = None
    question: JsonValue
    answer_schema: JsonObject | None = None
    choices: list[JsonValue] | None = None
    action: JsonObject | None = None
    allowed: list[Decision] | None = None
    allow: list[JsonValue] | None = None
    asked_by: str
    asked_at: Instant
    deadline: Instant | None = None
    person: str
    expires_at: Instant
    console: str


class LinkSpent(Shape):
    """The answer was taken. The link cannot be used any more."""

    key: str
    answer: JsonValue
