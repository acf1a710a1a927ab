"""The settings: one frozen tree, read once at start and handed down in parts.

`tree` holds the settings that the parts of the server declare, `schema` and `values` derive how they are named and
written, `loading` reads options, environment and file, `conflicts` finds values that contradict each other, and
`reference` writes `docs/configuration.md`.
"""

from app.config.conflicts import is_loopback
from app.config.loading import NOT_SETTINGS, ConfigurationError, Loaded, load, names, shown
from app.config.tree import (
    DATABASE_FILE,
    KEYS_FILE,
    ROOT_KEY_FILE,
    RetentionSettings,
    Settings,
    SpawnSettings,
)

__all__ = [
    "DATABASE_FILE",
    "KEYS_FILE",
    "NOT_SETTINGS",
    "ROOT_KEY_FILE",
    "ConfigurationError",
    "Loaded",
    "RetentionSettings",
    "Settings",
    "SpawnSettings",
    "is_loopback",
    "load",
    "names",
    "shown",
]
