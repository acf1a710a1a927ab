"""What can go wrong for a caller, as one tree.

    ClientError
    ├── ApiProblem        the server refused the call and said why (RFC 9457)
    ├── Unreachable       no reply came, for as long as the patience lasted
    ├── Disconnected      the server closed a socket and would close it again
    ├── AnswerRejected    a console's answer does not count
    └── Unanswered        a question was closed without an answer

A deadline that the caller set itself ends in the built-in TimeoutError.
"""

from __future__ import annotations

import httpx
from pydantic import ValidationError

from swarmhold.models.frames import CloseCode
from swarmhold.models.problems import Problem
from swarmhold.models.questions import Question
from swarmhold.models.shapes import JsonObject


class ClientError(Exception):
    """Root of the tree."""


class ApiProblem(ClientError):
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
        """The problem that a refusal describes; one made up from the status when it is not problem+json."""
        try:
            problem = Problem.model_validate_json(reply.content)
        except ValidationError:
            code, title = f"http-{reply.status_code}", reply.reason_phrase or "no reason given"
            return cls(reply.status_code, code, title, None, {})
        return cls(reply.status_code, problem.code, problem.title, problem.detail, problem.fields)


class Unreachable(ClientError):
    """No reply came. Unless the call was repeatable, the server may have acted on it all the same."""

    def __init__(self, method: str, path: str, reason: str, *, server: str = "") -> None:
        super().__init__(method, path, reason)
        self.method = method
        self.path = path
        self.reason = reason
        self.server = server

    def __str__(self) -> str:
        return f"no reply to {self.method} {self.server}{self.path}: {self.reason}"


class Disconnected(ClientError):
    """The server will not have this connection. `close_code` is the socket's, or the status of a refused handshake."""

    def __init__(self, close_code: int, reason: str) -> None:
        super().__init__(close_code, reason)
        self.close_code = close_code
        self.reason = reason

    def __str__(self) -> str:
        known = {code.value: code.name.lower().replace("_", " ") for code in CloseCode}
        return f"the server closed the connection for good: {known.get(self.close_code, self.close_code)} {self.reason}"


class AnswerRejected(ClientError):
    """The answer does not count; after `answer-invalid` the question is still open."""

    def __init__(self, key: str, code: str, detail: str) -> None:
        super().__init__(key, code, detail)
        self.key = key
        self.code = code
        self.detail = detail

    def __str__(self) -> str:
        return f"answer to {self.key} rejected ({self.code}): {self.detail}"


class Unanswered(ClientError):
    """The question was withdrawn, or expired without a default."""

    def __init__(self, question: Question) -> None:
        super().__init__(question.key, question.status)
        self.question = question

    def __str__(self) -> str:
        return f"question {self.question.key} is {self.question.status} and has no answer"
