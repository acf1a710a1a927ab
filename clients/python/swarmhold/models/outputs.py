"""Outputs: what an attempt says while it runs, and the Final that ends it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StrictBool, StringConstraints

from swarmhold.models.enums import OutputType
from swarmhold.models.instants import Instant
from swarmhold.models.names import Name, Text
from swarmhold.models.shapes import JsonObject, JsonValue, Request, Shape, integral
from swarmhold.models.usage import UsageReport

__all__ = [
    "Artifact",
    "Content",
    "FileRef",
    "Final",
    "Inline",
    "Output",
    "OutputRecord",
    "Partial",
    "Progress",
    "WorkerOutput",
]


class Inline(Request):
    """Content that travels with the output."""

    kind: Literal["inline"] = "inline"
    value: JsonValue


class FileRef(Request):
    """Content that lies in a file; the path is recorded, never opened by the server."""

    kind: Literal["file_ref"] = "file_ref"
    path: Annotated[str, StringConstraints(min_length=1, max_length=4096, pattern=r"^[^\x00]*$")]
    mime: Name | None = None
    size_hint: Annotated[int, Field(strict=True, ge=0, le=2**53 - 1), integral] | None = None


Content = Annotated[Inline | FileRef, Field(discriminator="kind")]


class Progress(Request):
    """The worker has reached `stage`."""

    type: Literal["progress"] = "progress"
    stage: Name
    note: Text | None = None


class Partial(Request):
    """The next piece of a result that is still growing."""

    type: Literal["partial"] = "partial"
    chunk: JsonValue


class Artifact(Request):
    """A named by-product."""

    type: Literal["artifact"] = "artifact"
    name: Name
    content: Content


class Final(Request):
    """The end of the attempt: a value, and whether it counts as success."""

    type: Literal["final"] = "final"
    content: Content
    ok: StrictBool


WorkerOutput = Annotated[Progress | Partial | Artifact | UsageReport, Field(discriminator="type")]
"""What a worker may append or report; its Final goes through submit or result."""

Output = Annotated[Progress | Partial | Artifact | Final, Field(discriminator="type")]


class OutputRecord(Shape):
    """One recorded output: the output's own fields, its place in the attempt and its time.

    In a list, `cut` names what is too long for it: a `note` is its beginning, a `chunk` or `content` is
    `{"kind": "ref", "href": …, "bytes": …}`, the address of the whole output and its size.
    """

    type: OutputType
    seq: int | None = None
    at: Instant | None = None
    stage: str | None = None
    note: str | None = None
    chunk: JsonValue = None
    name: str | None = None
    content: JsonObject | None = None
    ok: bool | None = None
    cut: list[str] | None = None
