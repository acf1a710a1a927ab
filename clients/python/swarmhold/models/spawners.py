"""Spawners: where an attempt's worker comes from."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

from pydantic import ConfigDict, Discriminator, Field, StringConstraints, Tag

from swarmhold.models.names import Name, NewName, Text
from swarmhold.models.shapes import Request, integral, null_as

__all__ = [
    "BUILT_IN_KINDS",
    "CustomSpawner",
    "ExternalSpawner",
    "HttpSpawner",
    "InProcessSpawner",
    "OperatorSpawner",
    "ProcessSpawner",
    "QueueSpawner",
    "Spawner",
]

BUILT_IN_KINDS = ("external", "in_process", "process", "queue", "operator", "http")


class ExternalSpawner(Request):
    """Nothing is started: the caller gets the handle and passes it on."""

    kind: Literal["external"] = "external"


class InProcessSpawner(Request):
    """A Python function registered with the server."""

    kind: Literal["in_process"] = "in_process"
    function: Name


class ProcessSpawner(Request):
    """A child process of the server, by its name in the allow-list `spawn.programs`."""

    kind: Literal["process"] = "process"
    program: Name
    args: Annotated[tuple[Text, ...], Field(max_length=256), null_as(())] = ()


class QueueSpawner(Request):
    """Workers that claim from a queue. Attempts with a higher priority are claimed first."""

    kind: Literal["queue"] = "queue"
    queue: NewName
    priority: Annotated[int, Field(strict=True, ge=-(2**31), le=2**31 - 1), integral, null_as(0)] = 0


class OperatorSpawner(Request):
    """A backend connected, now or later, under `backend_id`."""

    kind: Literal["operator"] = "operator"
    backend_id: NewName


class HttpSpawner(Request):
    """A signed POST to a worker's URL, which must begin with an allowed prefix."""

    kind: Literal["http"] = "http"
    url: Annotated[str, StringConstraints(max_length=4096, pattern=r"^https?://[^\s\x00-\x1f]+$")]


class CustomSpawner(Request):
    """A kind that an installed package adds; its further fields are for that package to check."""

    model_config = ConfigDict(extra="allow")

    kind: Annotated[
        str,
        StringConstraints(pattern=r"^[a-z][a-z0-9_.-]{0,99}$"),
        Field(json_schema_extra={"not": {"enum": list(BUILT_IN_KINDS)}}),
    ]


def _kind_of(value: object) -> str | None:
    """The tag of the model that reads `value`; None when there is no kind to go by."""
    kind = cast(dict[str, Any], value).get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    if not isinstance(kind, str):
        return None
    return kind if kind in BUILT_IN_KINDS else "custom"


Spawner = Annotated[
    Annotated[ExternalSpawner, Tag("external")]
    | Annotated[InProcessSpawner, Tag("in_process")]
    | Annotated[ProcessSpawner, Tag("process")]
    | Annotated[QueueSpawner, Tag("queue")]
    | Annotated[OperatorSpawner, Tag("operator")]
    | Annotated[HttpSpawner, Tag("http")]
    | Annotated[CustomSpawner, Tag("custom")],
    Discriminator(
        _kind_of,
        custom_error_type="spawner_kind_missing",
        custom_error_message="a spawner is an object with a kind",
    ),
]
"""Distinguished by `kind`; an unknown kind is left to the package that registered it."""
