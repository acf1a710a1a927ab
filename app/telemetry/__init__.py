"""Logs of this process: how they are rendered, redacted, bounded and written."""
