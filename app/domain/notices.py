"""Notices: what is said to people about a question or a blocked task, before it is written for a particular target."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from app.domain.events import EventKind
from app.domain.json import Json
from app.domain.redaction import redact

SUMMARY = 500
"""Characters of a question, of its action and of a reason in a summary."""

_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Control characters other than tab and line feed, and those that reverse the direction of text."""


class Content(StrEnum):
    """How much of a question leaves the server: nothing, its first 500 characters, or as much as the target takes."""

    NONE = "none"
    SUMMARY = "summary"
    FULL = "full"

    def part_of(self, text: str | None) -> str | None:
        """Return as much of a text as may be shown, with secrets redacted and control characters escaped."""
        if text is None or self is Content.NONE:
            return None
        safe = _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", redact(text)).strip()
        return shortened(safe, SUMMARY) if self is Content.SUMMARY else safe


def shortened(text: str, longest: int) -> str:
    """Return the first characters of a text, and an ellipsis where it goes on."""
    return text if len(text) <= longest else f"{text[:longest]}…"


def as_text(value: Json) -> str:
    """Return a JSON text as what it says, and any other value as JSON."""
    found = value.value if value.text.startswith('"') else value.text
    return str(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One message. `id` identifies it at each repetition, `key` or else `task_id` says what it is about.

    `text` is the question, or why the task is blocked. `link` leads to an answer link or to the console. `reference` is
    the receiver's id of the first message about the question, where it gave one. Fields without a value are None:
    also those that the webhook's content leaves out.
    """

    id: str
    kind: str
    at: str
    namespace: str | None
    task_id: str
    key: str | None
    agent: str
    asked_by: str | None = None
    title: str | None = None
    text: str | None = None
    action: str | None = None
    deadline: str | None = None
    status: str
    settled_by: str | None = None
    link: str
    has_answer_link: bool = False
    reference: str | None = None

    @property
    def is_settled(self) -> bool:
        """Return whether it says that the question is closed."""
        return self.key is not None and self.status != "open"

    @property
    def heading(self) -> str:
        """Return one line that says what the message is about."""
        about = f": {self.title}" if self.title else ""
        if self.key is None:
            return f"{self.agent} is blocked"
        if self.is_settled:
            return f"{self._end}{about}"
        if self.kind == EventKind.QUESTION_REMINDED:
            return f"{self.agent} still waits for an answer{about}"
        return f"{self.agent} asks{about}"

    @property
    def _end(self) -> str:
        if self.status == "answered":
            return "Answered by its deadline" if self.settled_by == "deadline" else f"Answered by {self.settled_by}"
        return "Not answered in time" if self.status == "expired" else "Withdrawn"

    @property
    def facts(self) -> list[tuple[str, str]]:
        """Return names and values to show below the text."""
        facts = (
            ("Agent", self.agent),
            ("Asked by", self.asked_by),
            ("Deadline", None if self.is_settled else self.deadline),
            ("Task", self.task_id),
        )
        return [(name, value) for name, value in facts if value]

    @property
    def link_label(self) -> str:
        """Return what following the link does."""
        return "Answer" if self.has_answer_link else "Open in the console"

    def fields(self) -> dict[str, str | None]:
        """Return what a template may name."""
        return {
            "id": self.id,
            "kind": self.kind,
            "at": self.at,
            "namespace": self.namespace,
            "task_id": self.task_id,
            "key": self.key,
            "agent": self.agent,
            "asked_by": self.asked_by,
            "heading": self.heading,
            "title": self.title,
            "text": self.text,
            "action": self.action,
            "deadline": self.deadline,
            "status": self.status,
            "settled_by": self.settled_by,
            "link": self.link,
        }


SAMPLE = Notice(
    id="H-0.1",
    kind=EventKind.SENIOR_QUERIED.value,
    at="2026-01-01T00:00:00.000Z",
    namespace="default",
    task_id="T-0",
    key="R-0",
    agent="a",
    asked_by="a",
    title="a",
    text='"\\ a',
    action="a",
    deadline="2026-01-01T00:00:00.000Z",
    status="open",
    settled_by="a",
    link="https://example.com/",
)
"""A notice with a value in every field."""
