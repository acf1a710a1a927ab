"""Hooks of schemathesis, named in `schemathesis.toml`."""

from __future__ import annotations

import secrets

import schemathesis

HEADER = "Idempotency-Key"


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: schemathesis.Case, kwargs: dict[str, object]) -> None:
    """Make each valid idempotency key one of its own, as clients do; invalid ones are sent as generated."""
    del context, kwargs
    if case.meta is not None and case.meta.generation.mode.is_positive and case.headers and HEADER in case.headers:
        case.headers[HEADER] = secrets.token_hex(16)
