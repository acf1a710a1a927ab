"""Worker outputs: progress, partial results, artifacts, and the Final."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from app.domain.clock import Instant
from app.domain.json import Json


class OutputType(StrEnum):
    """The type of an output event."""

    PROGRESS = "progress"
    PARTIAL = "partial"
    ARTIFACT = "artifact"
    FINAL = "final"
    USAGE = "usage"
    """A report of what a model used: added up, and no output of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputEvent:
    """One output. `body` holds the fields of its type: stage, note | chunk | name, content | content, ok |
    input_tokens, output_tokens, cost, model.
    """

    type: OutputType
    body: Json

    @classmethod
    def final(cls, value: Any, *, ok: bool = True) -> OutputEvent:
        """Return the Final of an attempt, with an inline value."""
        return cls(type=OutputType.FINAL, body=Json.of({"content": {"kind": "inline", "value": value}, "ok": ok}))

    @classmethod
    def progress(cls, stage: str, note: str | None = None) -> OutputEvent:
        """Return a progress report."""
        return cls(type=OutputType.PROGRESS, body=Json.of({"stage": stage, "note": note}))

    @classmethod
    def partial(cls, chunk: Any) -> OutputEvent:
        """Return a piece of a result."""
        return cls(type=OutputType.PARTIAL, body=Json.of({"chunk": chunk}))

    @classmethod
    def artifact(cls, name: str, content: Any) -> OutputEvent:
        """Return a named artifact with inline content."""
        return cls(
            type=OutputType.ARTIFACT, body=Json.of({"name": name, "content": {"kind": "inline", "value": content}})
        )

    @classmethod
    def usage(cls, **report: Any) -> OutputEvent:
        """Return a report of usage: `input_tokens`, `output_tokens`, `cost`, `model`, those that are known."""
        return cls(type=OutputType.USAGE, body=Json.of(report))


@dataclass(frozen=True, slots=True, kw_only=True)
class Final:
    """The final result of an attempt: a value, and whether the work succeeded.

    `failed`: not the worker decided so, its program failed; the value says how.
    """

    value: Json
    ok: bool
    failed: bool = False

    @property
    def body(self) -> Json:
        """The body of its output event."""
        ok = "true" if self.ok else "false"
        return Json(f'{{"content":{{"kind":"inline","value":{self.value.text}}},"ok":{ok}}}')


class Output(NamedTuple):
    """One row of `outputs`: event number `seq` (from 1) of an attempt."""

    task_id: str
    attempt: int
    seq: int
    type: OutputType
    body: Json
    at: Instant


class LateResult(NamedTuple):
    """One row of `late_results`: a result submitted after its attempt ended, which may be adopted. `index` from 0."""

    task_id: str
    attempt: int
    index: int  # pyright: ignore[reportIncompatibleMethodOverride] - the name in the API; `tuple.index` is not used on rows
    value: Json
    ok: bool
    reason: str
    at: Instant
    adopted_at: Instant | None
    adopted_by: str | None
