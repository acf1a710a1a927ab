"""`docs/configuration.md`, written from the settings themselves."""

from __future__ import annotations

from collections.abc import Iterator

from app.config.loading import variable
from app.config.schema import Section, Setting
from app.config.tree import RENAMED, RENAMED_UNTIL, SCHEMA
from app.config.values import written
from app.spawning.processes.programs import Program

FILE = "docs/configuration.md"
_MIB = 1024 * 1024
_DAY = 86_400.0
_HEAD = """\
# Configuration

An option of `swarmhold serve` wins over the environment, that over the file of `--config` (TOML), that over the
default. In the environment lists are written with commas or as JSON, tables as JSON. Durations are seconds. A setting
that does not exist or has an impossible value stops the start and is named. `swarmhold doctor` shows what is in force,
and from where. Every secret can be in a file, whose path is given by its name with `_file` behind: `database_url_file`,
`SWARMHOLD_DATABASE_URL_FILE`; several secrets are lines of it.

```toml
# swarmhold.toml
port = 7777
data_dir = "/var/lib/swarmhold"

[engine]
lease = 120

[spawn.programs.reviewer]
path = "/usr/local/bin/reviewer"
arguments = ["--quiet"]
environment = { MODEL = "small" }
timeout = 900
```

This page is written by `swarmhold configuration`; the texts stand below the fields of the settings in `app/`.
"""


def render() -> dict[str, bytes]:
    """Return the document by its path from the repository's root."""
    parts = [_HEAD, *_section("Server", SCHEMA.root, "")]
    parts += _entries("Programs", Program, "spawn.programs.<name>")
    parts += _renamed()
    return {FILE: "\n".join(parts).encode()}


def _section(title: str, cls: type, at: str) -> Iterator[str]:
    found = SCHEMA.of(cls)
    yield f"## {title}\n"
    yield "| setting | environment | value | default | what it sets |\n|---|---|---|---|---|"
    for one in found:
        if isinstance(one, Setting):
            name = at + one.names[0]
            yield f"| `{name}` | `{variable(name)}` | {one.kind.label} | {_default(one)} | {one.help} |"
    yield ""
    for one in found:
        if isinstance(one, Section):
            yield from _section(f"`{at}{one.name}`", one.cls, f"{at}{one.name}.")


def _entries(title: str, cls: type, name: str) -> Iterator[str]:
    yield f"## {title}\n"
    yield f"Each entry of `{name.rpartition('.')[0]}` has, below its name:\n"
    yield "| key | value | default | what it sets |\n|---|---|---|---|"
    for one in SCHEMA.of(cls):
        if isinstance(one, Setting):
            yield f"| `{one.names[0]}` | {one.kind.label} | {_default(one)} | {one.help} |"
    yield ""


def _renamed() -> Iterator[str]:
    yield "## Renamed\n"
    yield f"The old names work until version {RENAMED_UNTIL}, with a warning.\n"
    yield "| old | new |\n|---|---|"
    yield from (f"| `{old}` | `{new}` |" for old, new in RENAMED.items())
    yield ""


def _default(setting: Setting) -> str:
    if setting.required:
        return "required"
    text = written(setting.kind, setting.default)
    value = setting.kind.public(setting.default)
    if setting.kind.label == "bytes" and value % _MIB == 0:
        return f"{text} ({value // _MIB} MiB)"
    if setting.kind.label.startswith("seconds") and value is not None and value >= _DAY:
        return f"{text} ({value / _DAY:g} days)" if value != _DAY else f"{text} (1 day)"
    return text if text in ("none", "never", "yes", "no") else f"`{text}`"
