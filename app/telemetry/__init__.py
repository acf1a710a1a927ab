"""Logs of this process: how they are rendered, redacted, bounded and written."""

from app.telemetry.logs import configure, dropped_lines

__all__ = ["configure", "dropped_lines"]
