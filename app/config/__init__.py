"""The settings: one frozen tree, read once at the edge and handed down in parts.

`tree` holds them, `loading` reads options, environment and file, `conflicts` says what does not go together.
"""

from app.config.conflicts import is_loopback
from app.config.loading import NOT_SETTINGS, ConfigurationError, Loaded, load, names
from app.config.tree import (
    DATABASE_FILE,
    KEYS_FILE,
    ROOT_KEY_FILE,
    EngineSettings,
    HttpSection,
    ProgramSettings,
    RetentionSettings,
    Settings,
    SpawnSettings,
    WebhookSettings,
)

__all__ = [
    "DATABASE_FILE",
    "KEYS_FILE",
    "NOT_SETTINGS",
    "ROOT_KEY_FILE",
    "ConfigurationError",
    "EngineSettings",
    "HttpSection",
    "Loaded",
    "ProgramSettings",
    "RetentionSettings",
    "Settings",
    "SpawnSettings",
    "WebhookSettings",
    "is_loopback",
    "load",
    "names",
]
