"""Reading the settings, and saying of each where it comes from.

What a command's options say wins over the environment, that over the file of `--config`, that over the defaults. In
the environment a setting is its path in capitals, parts joined by two underscores: `engine.lease` is
`SWARMHOLD_ENGINE__LEASE`.
"""

from __future__ import annotations

import difflib
import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ValidationError

from app.config.conflicts import conflicts
from app.config.tree import Section, Settings

PREFIX = "SWARMHOLD_"
CONFIG_VARIABLE = "SWARMHOLD_CONFIG"

NOT_SETTINGS = frozenset({"HANDLE", "BASE_URL", "TASK_ID", "ATTEMPT", "AGENT", "URL", "KEY", "CONFIG", "PUBLISH"})
"""Variables of workers, of commands that call a server, and of the compose file: they may stand beside a server's."""


class ConfigurationError(Exception):
    """A setting is unknown or malformed. The message names it, where it was set, and what to do; one line each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """The settings, and where each that was set comes from, by its dotted name."""

    settings: Settings
    origins: Mapping[str, str]


def load(
    *,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> Loaded:
    """Read options, environment and file. Flags that are None are not given.

    Raises ConfigurationError.
    """
    environ = os.environ if environ is None else environ
    if file is None and environ.get(CONFIG_VARIABLE):
        file = Path(environ[CONFIG_VARIABLE])
    merged: dict[str, Any] = {}
    origins: dict[str, str] = {}
    if file is not None:
        _merge(merged, origins, _from_file(file), f"{{name}} in {file}")
    _merge_environment(merged, origins, environ)
    for name, value in (flags or {}).items():
        if value is not None:
            _merge(merged, origins, {name: value}, f"--{name.replace('_', '-')}")
    try:
        settings = Settings(**merged)
    except ValidationError as error:
        lines = [_explain(found["loc"], found, origins) for found in error.errors()]
        raise ConfigurationError("\n".join(dict.fromkeys(lines))) from error
    if problems := "\n".join(conflicts(settings, origins)):
        raise ConfigurationError(problems)
    return Loaded(settings=settings, origins=origins)


def _from_file(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(
            f"{file} cannot be read: {error.strerror}. Name another file with --config."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file} is no TOML: {error}. Mend it, or leave --config out.") from error


def _merge_environment(merged: dict[str, Any], origins: dict[str, str], environ: Mapping[str, str]) -> None:
    # Shorter names first, so that a part of an object is laid over the object.
    for variable in sorted(environ, key=lambda name: (name.count("__"), name)):
        rest = variable.removeprefix(PREFIX)
        if rest == variable or rest in NOT_SETTINGS or not environ[variable].strip():
            continue
        value: Any = environ[variable].strip()
        for part in reversed(rest.lower().split("__")):
            value = {part: value}
        _merge(merged, origins, value, variable)


def _merge(into: dict[str, Any], origins: dict[str, str], new: Mapping[str, Any], origin: str, at: str = "") -> None:
    for key, value in new.items():
        name = f"{at}{key}"
        if not isinstance(value, Mapping):
            into[key] = value
            origins[name] = origin.format(name=name)
            continue
        below = into.get(key)
        if isinstance(below, str):
            below = _opened(below, origins.get(name, name))
        into[key] = below if isinstance(below, dict) else {}
        _merge(into[key], origins, cast("Mapping[str, Any]", value), origin, f"{name}.")


def _opened(text: str, origin: str) -> object:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ConfigurationError(f"{origin}: write it as JSON ({error}).") from error


def _explain(loc: tuple[int | str, ...], found: Any, origins: Mapping[str, str]) -> str:
    name = ".".join(str(part) for part in loc)
    # The nearest name above that was set says where it was set.
    known = next((at for at in _upwards(name) if at in origins), None)
    where = origins[known] if known else name
    if known != name and known:
        where = f"{where} ({name})"
    if found["type"] == "extra_forbidden":
        near = difflib.get_close_matches(name, list(names()), n=1, cutoff=0.6)
        hint = f"Did you mean {_spelled(near[0], where)}?" if near else "Remove it; README.md lists the settings."
        return f"{where} is no setting. {hint}"
    if found["type"] == "missing":
        return f"{where}: {loc[-1]} is missing."
    return f"{where}: {found['msg'].removeprefix('Value error, ')}."


def _upwards(name: str) -> Iterator[str]:
    while name:
        yield name
        name = name.rpartition(".")[0]


def _spelled(name: str, where: str) -> str:
    return PREFIX + name.upper().replace(".", "__") if where.startswith(PREFIX) else name


def names(model: type[BaseModel] = Settings, at: str = "") -> Iterator[str]:
    """The dotted names of all settings."""
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Section):
            yield from names(inner, f"{at}{name}.")
        else:
            yield at + name
