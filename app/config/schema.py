"""From frozen dataclasses to settings: their names, how their values are read, and what they do.

Each part of the server declares its settings as a dataclass: name, type, default, and a docstring below each field.
Everything else follows from conventions. The unit is no part of a setting's name (`lease_ms` is set by `lease`,
`body_limit_bytes` by `body_limit`), and values are read as `app.config.values` describes. `Exposure` states the
exceptions.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass, replace
from functools import lru_cache, reduce
from typing import Any, Generic, TypeVar, cast, get_type_hints

from pydantic import ValidationError

from app.config.values import UNITS, Kind, decoded, kind_of, preset

T = TypeVar("T")

Path = tuple[str, ...]
"""The attributes that lead from a dataclass to a value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """How the fields of a dataclass appear among the settings, by field name, where the conventions do not do."""

    hidden: frozenset[str] = frozenset()
    """Fields that only code sets."""
    inline: Mapping[str, str] = field(default_factory=dict[str, str])
    """Nested dataclasses whose settings stand beside the others, with the prefix of their names."""
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    """Nested dataclasses that a setting chooses by name, before the settings of their fields apply."""
    names: Mapping[str, Path] = field(default_factory=dict[str, Path])
    """Names instead of the field's own: the documented one, and others that are understood too."""
    bounds: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Constraints instead of the usual ones, as pydantic's `Field`."""
    shorthand: str | None = None
    """The setting that an absolute path sets when it stands in place of the whole table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting: its names below its section, and the field that holds its value."""

    names: Path
    owner: type
    path: Path
    kind: Kind
    default: Any

    @property
    def help(self) -> str:
        """The description of the setting: the docstring below its field."""
        return field_docs(self.owner).get(self.path[-1], "")

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return self.default is MISSING


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A nested dataclass, whose settings are named below it."""

    name: str
    path: Path
    cls: type


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Why something that was given cannot be used. `message` is None where no setting has this name."""

    name: str
    message: str | None


class Schema(Generic[T]):
    """The settings of a dataclass and of those nested in it."""

    def __init__(self, root: type[T], exposures: Mapping[type, Exposure]) -> None:
        self.root = root
        self._exposures = exposures
        self._known: dict[type, tuple[Setting | Section, ...]] = {}

    def of(self, cls: type) -> tuple[Setting | Section, ...]:
        """Return the settings and sections of one dataclass, in the order of its fields."""
        if cls not in self._known:
            self._known[cls] = tuple(self._walk(cls, (), ""))
        return self._known[cls]

    def all(self, cls: type | None = None, at: str = "") -> Iterator[tuple[str, Path, Setting]]:
        """Yield every setting with its dotted name and the path of its value."""
        for one in self.of(cls or self.root):
            if isinstance(one, Setting):
                yield at + one.names[0], one.path, one
            else:
                below = self.all(one.cls, f"{at}{one.name}.")
                yield from ((name, one.path + path, setting) for name, path, setting in below)

    def build(self, given: Mapping[str, Any]) -> tuple[T, list[Fault]]:
        """Return the root dataclass with what was given, nested by section, and what cannot be used of it."""
        faults: list[Fault] = []
        changed = self._read(self.root, given, "", faults)
        return apply(self.root(), {} if faults else changed), faults

    def _walk(self, cls: type, path: Path, prefix: str) -> Iterator[Setting | Section]:
        exposure = self._exposures.get(cls, Exposure())
        hints = get_type_hints(cls, include_extras=True)
        for one in fields(cls):
            at, hint = (*path, one.name), hints[one.name]
            if one.name in exposure.hidden:
                continue
            if one.name in exposure.presets:
                yield _setting(cls, one, at, (prefix + one.name,), preset(exposure.presets[one.name]))
            if one.name in exposure.inline:
                yield from self._walk(hint, at, prefix + exposure.inline[one.name])
            elif is_dataclass(hint):
                yield Section(name=prefix + one.name, path=at, cls=cast("type", hint))
            else:
                names = exposure.names.get(one.name, (_without_unit(one.name),))
                kind = kind_of(one.name, hint, exposure.bounds.get(one.name))
                yield _setting(cls, one, at, tuple(prefix + name for name in names), kind)

    def _read(self, cls: type, given: object, at: str, faults: list[Fault]) -> dict[Path, Any]:
        """Return values by the path of their fields, and add to `faults` what cannot be used."""
        raw = _table(given, at, faults)
        changed: dict[Path, Any] = {}
        for one in self.of(cls):
            if isinstance(one, Section):
                below = self._read(one.cls, raw.pop(one.name, {}), f"{at}{one.name}.", faults)
                changed |= {one.path + path: value for path, value in below.items()}
                continue
            spellings = [name for name in one.names if name in raw]
            if one.required and not spellings:
                faults.append(Fault(name=at + one.names[0], message=f"{one.names[0]} is missing"))
            for name in reversed(spellings):
                changed[one.path] = self._value(one.kind, raw.pop(name), at + name, faults)
        faults += [Fault(name=at + name, message=None) for name in raw]
        return changed

    def _value(self, kind: Kind, given: Any, name: str, faults: list[Fault]) -> Any:
        try:
            value = kind.read(given)
        except ValidationError as error:
            for found in error.errors():
                message = found["msg"].removeprefix("Value error, ")
                faults.append(Fault(name=".".join((name, *map(str, found["loc"]))), message=message))
            return None
        if kind.entries is None:
            return value
        return {key: self._entry(kind.entries, one, f"{name}.{key}.", faults) for key, one in value.items()}

    def _entry(self, cls: type, given: Any, at: str, faults: list[Fault]) -> Any:
        shorthand = self._exposures.get(cls, Exposure()).shorthand
        if shorthand is not None and isinstance(given, str) and given.startswith("/"):
            given = {shorthand: given}
        before = len(faults)
        changed = self._read(cls, given, at, faults)
        return cls(**{path[0]: value for path, value in changed.items()}) if len(faults) == before else None


def apply(instance: T, changed: Mapping[Path, Any]) -> T:
    """Return a copy of a dataclass with the values at these paths replaced; a whole before what is inside it."""
    direct = {path[0]: value for path, value in changed.items() if len(path) == 1}
    inside: dict[str, dict[Path, Any]] = {}
    for (first, *rest), value in changed.items():
        if rest:
            inside.setdefault(first, {})[tuple(rest)] = value
    for name, below in inside.items():
        direct[name] = apply(direct[name] if name in direct else getattr(instance, name), below)
    return cast("T", replace(cast("Any", instance), **direct))


def value_at(instance: object, path: Path) -> Any:
    """Return the value at the end of a path."""
    return reduce(getattr, path, instance)


@lru_cache(maxsize=32)
def field_docs(cls: type) -> Mapping[str, str]:
    """Return the docstring below each field of a dataclass, on one line."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    docs: dict[str, str] = {}
    name: str | None = None
    for node in cast("ast.ClassDef", tree).body:
        if name is not None and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            docs[name] = " ".join(str(node.value.value).split())
        name = ast.unparse(node.target) if isinstance(node, ast.AnnAssign) else None
    return docs


def _setting(cls: type, declared: Field[Any], path: Path, names: Path, kind: Kind) -> Setting:
    made = declared.default_factory
    default = declared.default if made is MISSING else made()
    return Setting(names=names, owner=cls, path=path, kind=kind, default=default)


def _without_unit(name: str) -> str:
    return next((name.removesuffix(unit) for unit in UNITS if name.endswith(unit)), name)


def _table(given: object, at: str, faults: list[Fault]) -> dict[str, Any]:
    try:
        opened = decoded(given)
    except ValueError as error:
        opened, message = None, str(error)
    else:
        message = "a table is expected here"
    if isinstance(opened, Mapping):
        return dict(cast("Mapping[str, Any]", opened))
    faults.append(Fault(name=at.removesuffix("."), message=message))
    return {}
