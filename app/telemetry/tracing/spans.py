"""Spans of attempts and questions: each is written when it has ended, with its true start."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import (
    INVALID_SPAN_CONTEXT,
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    TraceState,
    set_span_in_context,
)

from app.domain import traces
from app.domain.attempts import Outcome
from app.domain.spans import Ended, EndedAttempt, SettledQuestion, context_of_attempt
from app.domain.tasks import Task
from app.telemetry.tracing import names

_NS_PER_MS = 1_000_000
_IDS: ContextVar[tuple[str, str] | None] = ContextVar("ids", default=None)
"""The ids of the trace and the span that is being made, where they are given."""


class GivenIds(RandomIdGenerator):
    """Random ids, except where the span's are known before: workers and questions were handed them."""

    def generate_span_id(self) -> int:
        """Return the given id of the span, or a random one."""
        given = _IDS.get()
        return super().generate_span_id() if given is None else int(given[1], 16)

    def generate_trace_id(self) -> int:
        """Return the given id of the trace, or a random one."""
        given = _IDS.get()
        return super().generate_trace_id() if given is None else int(given[0], 16)


@contextmanager
def _given(trace_id: str, span_id: str) -> Generator[None]:
    token = _IDS.set((trace_id, span_id))
    try:
        yield
    finally:
        _IDS.reset(token)


def context_of(text: str) -> SpanContext:
    """Return a stored context as the SDK has it."""
    found = traces.parts(text)
    return SpanContext(
        trace_id=int(found.trace_id, 16),
        span_id=int(found.parent, 16),
        is_remote=True,
        trace_flags=TraceFlags(int(found.flags, 16)),
        trace_state=TraceState.from_header([found.state]) if found.state else None,
    )


def text_of(context: SpanContext) -> str:
    """Return a context of the SDK as it is stored."""
    text = f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"
    state = context.trace_state.to_header()
    return f"{text} {state}" if state else text


class EndedSpans:
    """Writes the spans of what ended in committed transactions."""

    def __init__(self, tracer: Tracer, *, content: bool) -> None:
        self._tracer = tracer
        self._content = content

    def write(self, ended: Sequence[Ended]) -> None:
        """Write a span for each."""
        for one in ended:
            if isinstance(one, EndedAttempt):
                self._attempt(one)
            else:
                self._question(one)

    def _attempt(self, ended: EndedAttempt) -> None:
        """Write the span of an attempt; it links to the attempt before it and to the questions that it asked."""
        task, attempt = ended.task, ended.attempt
        earlier = [context_of_attempt(task, attempt.attempt - 1)] if attempt.attempt > 1 else []
        asked = [traces.of_span(task.trace, _root(task), traces.span_of_question(key)) for key in ended.questions]
        with _given(traces.trace_id_of(_root(task)), traces.span_of_attempt(task.id, attempt.attempt)):
            span = self._start(names.name_of_attempt(attempt), task.trace, attempt.started_at, links=[*earlier, *asked])
        if span.is_recording():
            span.set_attributes(names.of_attempt(task, attempt, content=self._content))
            if attempt.outcome is not Outcome.PASS:
                span.set_status(Status(StatusCode.ERROR, None if attempt.reason is None else attempt.reason.value))
        span.end(_ns(attempt.ended_at))

    def _question(self, settled: SettledQuestion) -> None:
        """Write the span of a question below its attempt's; it links to the call that settled it."""
        task, question = settled.task, settled.question
        parent = context_of_attempt(task, question.attempt) if question.attempt else task.trace
        with _given(traces.trace_id_of(_root(task)), traces.span_of_question(question.key)):
            span = self._start(
                names.name_of_question(question), parent, question.asked_at, links=[settled.by] if settled.by else []
            )
        if span.is_recording():
            span.set_attributes(names.of_question(task, question, content=self._content))
        span.end(_ns(question.answered_at))

    def _start(self, name: str, parent: str | None, at: int, *, links: Sequence[str]) -> Span:
        above = NonRecordingSpan(INVALID_SPAN_CONTEXT if parent is None else context_of(parent))
        return self._tracer.start_span(
            name, set_span_in_context(above), start_time=_ns(at), links=[Link(context_of(link)) for link in links]
        )


def _root(task: Task) -> str:
    return task.root_task_id or task.id


def _ns(at: int | None) -> int | None:
    return None if at is None else at * _NS_PER_MS
