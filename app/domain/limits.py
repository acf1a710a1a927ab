"""How much a caller may send, keep and hold at a time. Every limit is named in the error of a call that exceeds it."""

from __future__ import annotations

from dataclasses import dataclass

from app.domain.numbers import MOST_DIGITS

_KIB = 1024
_MIB = 1024 * _KIB
_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of one server, the section `limits` of its settings; units are in the names."""

    worker_body_bytes: int = _MIB
    """Largest body of a call of a worker, or by an answer link (413)."""
    body_bytes: int = 8 * _MIB
    """Largest body of any other call (413)."""
    frame_bytes: int = _MIB
    """Largest frame of a WebSocket (`payload-too-large`)."""
    values: int = 100_000
    """Values in one body: each object, array, scalar and member name counts one (413)."""
    digits: int = MOST_DIGITS
    """Digits of one number in JSON, its exponent written out (413)."""
    question_bytes: int = 64 * _KIB
    """Largest question, together with its answer schema and choices (413)."""
    directive_bytes: int = _MIB
    """Largest directive or injected prompt (413)."""
    complaints: int = 20
    """Errors that one 422 lists; `errors_left` counts the others."""
    receiving_bytes: int = 256 * _MIB
    """Bodies that are being received at a time, all together (503)."""
    receiving_each_bytes: int = 64 * _MIB
    """Bodies that are being received at a time with one API key and what descends from it (503)."""
    receiving_unknown_bytes: int = 16 * _MIB
    """Bodies that are being received at a time from one source address without a credential (503)."""
    outputs: int = 10_000
    """Outputs of an attempt besides its Final (429)."""
    output_bytes: int = 64 * _MIB
    """All outputs of an attempt together, besides its Final (413)."""
    late_results: int = 100
    """Late results that are kept of an attempt; the conflict says `kept: false` of any more."""
    late_bytes: int = 16 * _MIB
    """All late results together that are kept of an attempt; the conflict says `kept: false` of any more."""
    open_questions: int = 32
    """Questions of a task that are open at a time (429)."""
    answer_links: int = 100
    """Answer links of a question that are valid at a time (429)."""
    children: int = 1000
    """Children of a task that are pending, running or suspended at a time (429)."""
    descendants: int = 10_000
    """Tasks below a root task that are pending, running or suspended at a time (429)."""
    parked: int = 256
    """Requests of one token or handle that wait at a time (429)."""
    claims: int = 10_000
    """Claims of one API key that wait at a time (429)."""
    streams: int = 32
    """Event streams and WebSockets of one token that are open at a time (429)."""
    connections: int = 1000
    """Connections of one source address that are open at a time, `http.trusted_proxies` aside; more are closed."""
    session_life_ms: int = 30 * _DAY_MS
    """Longest `ttl` of a session (422)."""
    token_life_ms: int = 7 * _DAY_MS
    """Longest `ttl` of a minted token (422)."""
    page_items: int = 200
    """Items of a page at most."""
    page_bytes: int = 4 * _MIB
    """Bytes after which a page ends early, with `next_cursor`; one item always comes."""
    item_value_bytes: int = 4 * _KIB
    """Longest value in an item of a list: longer text is cut, other JSON is null, and `cut` names the field."""
    inline_output_bytes: int = 64 * _KIB
    """Longest output in a list of outputs; of a longer one the list has its size and address."""
