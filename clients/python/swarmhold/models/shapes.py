"""The two families of models, strict requests and tolerant replies, and the page of a list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from swarmhold.models.numbers import written as with_exact_floats

__all__ = [
    "Error",
    "InvalidArgument",
    "JsonObject",
    "JsonValue",
    "Page",
    "Request",
    "Shape",
    "WireModel",
    "given",
    "integral",
    "null_as",
]

JsonValue = Any
"""Any JSON value. Not pydantic's recursive type: values may be large, and validating every part of them is slow."""

JsonObject = dict[str, Any]


def _to_integer(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


integral = BeforeValidator(_to_integer)
"""Annotation of a strict integer: 1.0 is one as well, as in JSON Schema; true and "1" are not."""


if TYPE_CHECKING:
    _Model = BaseModel
else:

    class _Metaclass(type(BaseModel)):
        """Makes a call of the class raise the package's own error; `model_validate` raises pydantic's."""

        def __call__(cls, *args, **fields):
            try:
                return super().__call__(*args, **fields)
            except ValidationError as error:
                raise InvalidArgument.of(error) from error

    class _Model(BaseModel, metaclass=_Metaclass):
        """A model that raises InvalidArgument when it is built in Python from what does not fit."""


class WireModel(_Model):
    """A frozen model in which absent and null differ.

    An optional field that was never set is left out when the model is written; one that was set
    to null is written as null. `has` distinguishes the two when reading.
    """

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="null", defer_build=True)

    def has(self, field: str) -> bool:
        """Return whether `field` was given, even as null."""
        return field in self.model_fields_set

    def as_json(self, *, exclude: set[str] | None = None) -> JsonObject:
        """Return the model as JSON values, with the exact floats that it holds."""
        shown = self.model_dump(mode="json", exclude=exclude)
        return cast("JsonObject", with_exact_floats(shown, self.model_dump(exclude=exclude)))

    # No return annotation on purpose: with one, pydantic describes every model as a bare object.
    @model_serializer(mode="wrap")
    def _leave_out_absent(self, handler: SerializerFunctionWrapHandler):
        written: JsonObject = handler(self)
        for name, field in type(self).model_fields.items():
            if field.default is None and name not in self.model_fields_set:
                written.pop(name, None)
        return written

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler, /) -> JsonSchemaValue:
        """Describe the discriminating field as required: only Python may leave it out."""
        described = handler(schema)
        body = handler.resolve_ref_schema(described)
        tags = [name for name, field in body.get("properties", {}).items() if "const" in field]
        if tags:
            body["required"] = [*tags, *(name for name in body.get("required", []) if name not in tags)]
        return described


def given(**fields: JsonValue) -> JsonObject:
    """Return the fields that are not None, for building a body whose other fields stay absent."""
    return {name: value for name, value in fields.items() if value is not None}


@dataclass(frozen=True, slots=True)
class null_as:  # noqa: N801 - reads as a function where a field is annotated
    """Annotation of an optional field of a request: null means, as leaving it out does, the default."""

    default: object

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(
            lambda value: self.default if value is None else value, handler(source)
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [handler(schema), {"type": "null"}]}


class Request(WireModel):
    """A body that a client sends. Unknown fields are refused, so that a typing error does not pass as a default."""

    model_config = ConfigDict(extra="forbid")


class Shape(WireModel):
    """An object that the server sends. Unknown fields are kept, so that the server may add some."""

    model_config = ConfigDict(extra="allow")


class Error(Exception):
    """Root of every error that this package raises."""


class InvalidArgument(Error, ValueError):
    """An argument that the API does not take; nothing was sent."""

    @classmethod
    def of(cls, error: ValidationError) -> InvalidArgument:
        """Return an error that names every unfit field and says why, without the value: it may be a secret."""
        wrong = error.errors(include_url=False, include_context=False, include_input=False)
        parts = (": ".join(filter(None, (".".join(map(str, item["loc"])), item["msg"]))) for item in wrong)
        return cls(f"{error.title}: {'; '.join(parts)}")


Item = TypeVar("Item")


class Page(Shape, Generic[Item]):
    """`next_cursor` is null on the last page; else pass it as `cursor` for the next page."""

    items: list[Item]
    next_cursor: str | None = None
