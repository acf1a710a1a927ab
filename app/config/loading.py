"""Reading the settings, and saying of each where it comes from.

What a command's options say wins over the environment, that over the file of `--config`, that over the defaults. In
the environment a setting is its path in capitals, parts joined by two underscores: `engine.lease` is
`SWARMHOLD_ENGINE__LEASE`.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from app.config.conflicts import conflicts
from app.config.schema import Fault, value_at
from app.config.tree import RENAMED, RENAMED_UNTIL, SCHEMA, Settings
from app.config.values import decoded, written

PREFIX = "SWARMHOLD_"
CONFIG_VARIABLE = "SWARMHOLD_CONFIG"

NOT_SETTINGS = frozenset(
    {"HANDLE", "BASE_URL", "TASK_ID", "ATTEMPT", "AGENT", "URL", "KEY", "NAMESPACE", "CONFIG", "PUBLISH"}
)
"""Variables of workers, of commands that call a server, and of the compose file: they may stand beside a server's."""

_ADDRESS = r"[0-9a-fA-F.:]+"
_PROTOCOL = r"tcp|udp|sctp"
_SERVICE_LINK = rf"""(?:\w+_)?(?:
        SERVICE_HOST={_ADDRESS}
        | SERVICE_PORT(?:_\w+)?=\d+
        | PORT(?:_\d+_(?:TCP|UDP|SCTP))?=(?:{_PROTOCOL})://\S+
        | PORT_\d+_(?:TCP|UDP|SCTP)_(?:PROTO=(?:{_PROTOCOL}) | PORT=\d+ | ADDR={_ADDRESS})
    )"""
"""What Kubernetes adds to every container for a Service whose name begins with swarmhold, after the prefix."""


class ConfigurationError(Exception):
    """Settings are unknown or malformed. The message has a line for each: its name, where it was set, what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """The settings, and where each that was set comes from, by its dotted name."""

    settings: Settings
    origins: Mapping[str, str]
    warnings: tuple[str, ...] = ()
    """Warnings: ignored variables, and settings that were given by an old name."""
    secret_variables: tuple[str, ...] = ()
    """Variables of the environment that hold secrets."""


@dataclass(frozen=True, slots=True)
class _Given:
    """A value that one source gives for a setting, or for a whole section as JSON."""

    path: tuple[str, ...]
    value: Any
    origin: str

    @property
    def name(self) -> str:
        return ".".join(self.path)


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
    warnings: list[str] = []
    variables = _variables(environ, warnings)
    for source in (_file(file), _environment(variables), _flags(flags or {})):
        for given in _with_secrets([*_renamed([*source], warnings)]):
            _put(merged, given, origins)
    settings, faults = SCHEMA.build(merged)
    problems = [_explain(fault, origins) for fault in faults] or [*conflicts(settings, origins)]
    if problems:
        raise ConfigurationError("\n".join(dict.fromkeys(problems)))
    secret = tuple(PREFIX + rest for rest in variables if _may_hold_secrets(rest.lower().replace("__", ".")))
    return Loaded(settings=settings, origins=origins, warnings=tuple(warnings), secret_variables=secret)


def names() -> list[str]:
    """Return the dotted names of all settings."""
    return [name for name, _, _ in SCHEMA.all()]


def variable(name: str) -> str:
    """Return the environment variable of a setting."""
    return PREFIX + name.upper().replace(".", "__")


def shown(settings: Settings, name: str) -> str:
    """Return the value of a setting as it is written; "set" for what is inside a table, since it may be a secret."""
    for known, path, setting in SCHEMA.all():
        if known == name:
            return written(setting.kind, value_at(settings, path))
    return "set"


_SECRETS = tuple(
    name for name, _, setting in SCHEMA.all() if setting.kind.label in ("secret", "list of secrets", "table")
)


_FILE_SUFFIX = "_file"
_SECRET_FILES = frozenset(
    f"{name}{_FILE_SUFFIX}" for name, _, setting in SCHEMA.all() if setting.kind.label in ("secret", "list of secrets")
).difference(names())
"""Names of secrets that have no setting of their own for a file: each may be given by the path of one as well."""


def _may_hold_secrets(name: str) -> bool:
    """Return whether a name is that of a secret or a table, or of something inside or around one."""
    return any(f"{one}.".startswith(f"{name}.") or name.startswith(f"{one}.") for one in _SECRETS)


# The sources


def _file(file: Path | None) -> Iterator[_Given]:
    if file is None:
        return
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(
            f"{file} cannot be read: {error.strerror}. Name another file with --config."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file} is not valid TOML: {error}. Correct it, or leave --config out.") from error
    for given in _flattened((), found, ""):
        yield replace(given, origin=f"{given.name} in {file}")


def _variables(environ: Mapping[str, str], warnings: list[str]) -> dict[str, str]:
    """Return the variables that set something, without prefix; one warning names those that Kubernetes added."""
    found = {name.removeprefix(PREFIX): text.strip() for name, text in environ.items() if name.startswith(PREFIX)}
    links = sorted(rest for rest, text in found.items() if re.fullmatch(_SERVICE_LINK, f"{rest}={text}", re.VERBOSE))
    if links:
        warnings.append(
            f"{', '.join(PREFIX + rest for rest in links)}: ignored, since Kubernetes sets these for a Service "
            "whose name begins with swarmhold. Set enableServiceLinks: false in the pod's spec to have none of them."
        )
    return {rest: text for rest, text in found.items() if text and rest not in NOT_SETTINGS and rest not in links}


def _environment(variables: Mapping[str, str]) -> Iterator[_Given]:
    # Shorter names first, so that a part of a table is laid over the table.
    for rest in sorted(variables, key=lambda rest: (rest.count("__"), rest)):
        yield from _flattened(tuple(rest.lower().split("__")), variables[rest], PREFIX + rest)


def _flags(flags: Mapping[str, Any]) -> Iterator[_Given]:
    for name, value in flags.items():
        if value is not None:
            yield _Given((name,), value, f"--{name.replace('_', '-')}")


_SECTIONS = frozenset(name.rpartition(".")[0] for name in names()) - {""}


def _flattened(path: tuple[str, ...], value: Any, origin: str) -> Iterator[_Given]:
    """Yield the values inside a table one by one; a section may be written as JSON."""
    if isinstance(value, str) and ".".join(path) in _SECTIONS:
        value = _opened(value, origin or ".".join(path))
    if isinstance(value, Mapping) and value:
        for name, inner in cast("Mapping[str, Any]", value).items():
            yield from _flattened((*path, name), inner, origin)
    else:
        yield _Given(path, value, origin)


def _renamed(source: list[_Given], warnings: list[str]) -> Iterable[_Given]:
    """Yield what a source gives under the present names; one that is given by its old name too counts as it is."""
    present = {given.name for given in source}
    for given in source:
        new = RENAMED.get(given.name)
        if new is None:
            yield given
            continue
        warnings.append(
            f"{given.origin} is now called {_spelled(new, given.origin)}. The old name stops working in version "
            f"{RENAMED_UNTIL}: use the new one."
        )
        if new not in present:
            yield replace(given, path=tuple(new.split(".")))


def _with_secrets(source: list[_Given]) -> Iterator[_Given]:
    """Yield what a source gives, and in place of the path of a secret's file the text in it.

    Raises ConfigurationError for a secret that is given both ways.
    """
    origins = {given.name: given.origin for given in source}
    for given in source:
        if given.name not in _SECRET_FILES:
            yield given
            continue
        secret = given.name.removesuffix(_FILE_SUFFIX)
        if secret in origins:
            raise ConfigurationError(f"{origins[secret]} and {given.origin} are both set. Remove one of them.")
        yield _Given(tuple(secret.split(".")), _text_of(given), given.origin)


def _text_of(given: _Given) -> str:
    """Return the text of a secret's file; its lines are the items of a list."""
    try:
        lines = [line for line in Path(given.value).read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError, TypeError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigurationError(f"{given.origin}: {given.value} cannot be read: {why}.") from error
    if not lines:
        raise ConfigurationError(f"{given.origin}: {given.value} is empty. Write the secret into it.")
    return ",".join(map(str.strip, lines))


def _put(tree: dict[str, Any], given: _Given, origins: dict[str, str]) -> None:
    """Add a value to the tree of all sources; tables above it that were given as JSON are opened."""
    for depth, name in enumerate(given.path[:-1], start=1):
        below = tree.get(name)
        if isinstance(below, str):
            above = ".".join(given.path[:depth])
            below = _opened(below, origins.get(above, above))
        tree[name] = below = cast("dict[str, Any]", below) if isinstance(below, dict) else {}
        tree = below
    tree[given.path[-1]] = given.value
    origins[given.name] = given.origin


def _opened(text: str, origin: str) -> object:
    try:
        return decoded(text)
    except ValueError as error:
        raise ConfigurationError(f"{origin}: {error}.") from error


# What is wrong


def _explain(fault: Fault, origins: Mapping[str, str]) -> str:
    # The nearest name above that was set says where it was set.
    known = next((at for at in _upwards(fault.name) if at in origins), None)
    where = origins[known] if known else fault.name
    if known and known != fault.name:
        where = f"{where} ({fault.name})"
    if fault.message is not None:
        return f"{where}: {fault.message}."
    near = difflib.get_close_matches(fault.name, names(), n=1, cutoff=0.6)
    hint = f"Did you mean {_spelled(near[0], where)}?" if near else "Remove it; docs/configuration.md has the list."
    return f"{where} is not a setting. {hint}"


def _upwards(name: str) -> Iterator[str]:
    while name:
        yield name
        name = name.rpartition(".")[0]


def _spelled(name: str, where: str) -> str:
    return variable(name) if where.startswith(PREFIX) else name
