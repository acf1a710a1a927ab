"""Attempts: the record of one dispatch, and results that came too late for it."""

from __future__ import annotations

from typing import Literal

from swarmhold.models.enums import Outcome, Phase
from swarmhold.models.instants import Instant
from swarmhold.models.shapes import JsonObject, JsonValue, Shape

__all__ = ["Attempt", "AttemptStatus", "FinalValue", "LateResult"]

AttemptStatus = Literal["live", "ended"]


class FinalValue(Shape):
    """The Final that ended an attempt."""

    value: JsonValue
    ok: bool


class Attempt(Shape):
    """One dispatch of a task.

    `phase` says how far the dispatch has come; an attempt that finishes has ended for its task, and its worker is
    being stopped or its layers have steps to do. `reason` says why it ended: a Final, or what came instead. `outputs`
    counts them. In a list, `cut` names the fields (`prompt`, `final`) of which this is a preview: the beginning of a
    text, null for other JSON.
    """

    task_id: str
    attempt: int
    status: AttemptStatus
    phase: Phase
    outcome: Outcome | None = None
    reason: str | None = None
    detail: str | None = None
    agent: str
    spawner: JsonObject
    layers: list[str]
    worker_id: str | None = None
    prompt: str
    system: str | None = None
    started_at: Instant
    ended_at: Instant | None = None
    lease_expires_at: Instant | None = None
    timeout_at: Instant | None = None
    last_seen_at: Instant | None = None
    owner: str | None = None
    session_id: str | None = None
    outputs: int = 0
    late_results: int = 0
    final: FinalValue | None = None
    cut: list[str] | None = None


class LateResult(Shape):
    """A Final for an attempt that no longer counted; `index` addresses it for adoption.

    In a list, `cut` names `value` when it is a preview: the beginning of a text, null for other JSON.
    """

    index: int
    task_id: str
    attempt: int
    value: JsonValue
    ok: bool
    reason: str
    received_at: Instant
    adopted_at: Instant | None = None
    adopted_by: str | None = None
    cut: list[str] | None = None
