"""Errors of the client, as one tree.

    Error
    ├── ApiProblem         the server refused the call and said why (RFC 9457)
    ├── Unreachable        no reply came, for as long as calls are retried
    ├── InvalidReply       a reply came that is not of this API
    ├── InvalidArgument    an argument that the API does not take; also a ValueError
    ├── DeadlineExceeded   the caller's own deadline passed; also a TimeoutError
    ├── Disconnected       the server closed a WebSocket and would close it again
    ├── AnswerRejected     a console's answer does not count
    ├── Unanswered         a question was closed without an answer
    ├── AlreadyConsumed    an approval was given out before: its action may have been carried out
    └── JobFailed          raised by a job's function to end its attempt without success

Leaves keep what they know as attributes and write their message in `__str__`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import httpx
from pydantic import ValidationError

from swarmhold.models.close_codes import CloseCode
from swarmhold.models.problems import Problem
from swarmhold.models.shapes import Error, InvalidArgument, JsonObject, JsonValue

if TYPE_CHECKING:
    from swarmhold.models.questions import Question

__all__ = [
    "AlreadyConsumed",
    "AnswerRejected",
    "ApiProblem",
    "DeadlineExceeded",
    "Disconnected",
    "Error",
    "InvalidArgument",
    "InvalidReply",
    "JobFailed",
    "Unanswered",
    "Unreachable",
    "within",
]


class ApiProblem(Error):
    """The server refused the call. `code` is stable; `fields` are the members that this code adds."""

    def __init__(self, status: int, code: str, title: str, detail: str | None, fields: JsonObject) -> None:
        super().__init__(status, code, title, detail)
        self.status = status
        self.code = code
        self.title = title
        self.detail = detail
        self.fields = fields

    def __str__(self) -> str:
        return f"{self.status} {self.code}: {self.detail or self.title}"

    @classmethod
    def of(cls, reply: httpx.Response) -> ApiProblem:
        """Return the problem that a refusal describes; one made from its status when it is not problem+json."""
        try:
            problem = Problem.model_validate_json(reply.content)
        except ValidationError:
            code, title = f"http-{reply.status_code}", reply.reason_phrase or "no reason given"
            return cls(reply.status_code, code, title, None, {})
        return cls(reply.status_code, problem.code, problem.title, problem.detail, problem.fields)


class Unreachable(Error):
    """No reply came. Unless the call was repeatable, the server may have acted on it all the same."""

    def __init__(self, method: str, path: str, reason: str, *, server: str = "") -> None:
        super().__init__(method, path, reason)
        self.method = method
        self.path = path
        self.reason = reason
        self.server = server

    def __str__(self) -> str:
        return f"no reply to {self.method} {self.server}{self.path}: {self.reason}"


class InvalidReply(Error):
    """A reply that is not of this API. The server did act on the call; is there another server at this address?"""

    def __init__(self, method: str, path: str, reason: str) -> None:
        super().__init__(method, path, reason)
        self.method = method
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"the reply to {self.method} {self.path} is not of this API: {self.reason}"


class DeadlineExceeded(Error, TimeoutError):
    """The caller's deadline passed before the result was there."""

    def __init__(self, deadline: timedelta) -> None:
        super().__init__(deadline)
        self.deadline = deadline

    def __str__(self) -> str:
        return f"the deadline of {self.deadline.total_seconds():g} s passed first"


class Disconnected(Error):
    """The server refuses this connection. `close_code` is the WebSocket's, or a refused handshake's status."""

    def __init__(self, close_code: int, reason: str) -> None:
        super().__init__(close_code, reason)
        self.close_code = close_code
        self.reason = reason

    def __str__(self) -> str:
        known = {code.value: code.name.lower().replace("_", " ") for code in CloseCode}
        return f"the server closed the connection for good: {known.get(self.close_code, self.close_code)} {self.reason}"


class AnswerRejected(Error):
    """The answer was rejected; after `answer-invalid` the question is still open."""

    def __init__(self, key: str, code: str, detail: str) -> None:
        super().__init__(key, code, detail)
        self.key = key
        self.code = code
        self.detail = detail

    def __str__(self) -> str:
        return f"answer to {self.key} rejected ({self.code}): {self.detail}"


class Unanswered(Error):
    """The question was withdrawn, or expired without a default."""

    def __init__(self, question: Question) -> None:
        super().__init__(question.key, question.status)
        self.question = question

    def __str__(self) -> str:
        return f"question {self.question.key} is {self.question.status} and has no answer"


class AlreadyConsumed(Error):
    """An earlier call got this approval, and may have carried the action out. Check before asking anew."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key

    def __str__(self) -> str:
        return f"the approval by question {self.key} was consumed before; its action may have been carried out"


class JobFailed(Error):
    """Raised by a job's function as its verdict: the attempt ends without success, with `value` as its result.

    No retry policy repeats a verdict unless it covers `blocked`; any other exception is a failure, and is retried.
    """

    def __init__(self, value: JsonValue) -> None:
        super().__init__(value)
        self.value = value


@asynccontextmanager
async def within(deadline: timedelta | None) -> AsyncGenerator[None]:
    """Run a block under a deadline; None is none.

    Raises:
        DeadlineExceeded: it passed first.
    """
    try:
        async with asyncio.timeout(None if deadline is None else deadline.total_seconds()):
            yield
    except TimeoutError:
        if deadline is None:
            raise
        raise DeadlineExceeded(deadline) from None
