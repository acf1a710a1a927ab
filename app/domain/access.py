"""Authorization: roles, verbs, and the table that says which role may use which verb."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from app.domain.clock import Instant
from app.domain.errors import RoleViolation
from app.domain.namespaces import ALL_ID


class Role(StrEnum):
    """The role of a credential."""

    OPERATOR = "operator"
    WORKER = "worker"
    OBSERVER = "observer"
    SENIOR = "senior"


class Verb(StrEnum):
    """A permission. Every verb is checked by at least one operation."""

    START_TASK = "start_task"
    DISPATCH_ATTEMPT = "dispatch_attempt"
    MINT_WORKER_TOKEN = "mint_worker_token"
    READ_TASK_STATE = "read_task_state"
    CANCEL_TASK = "cancel_task"
    QUERY_SENIOR = "query_senior"
    MARK_PASS = "mark_pass"
    MARK_BLOCKED = "mark_blocked"
    ATTACH_SESSION = "attach_session"
    DETACH_SESSION = "detach_session"
    HEARTBEAT = "heartbeat"
    POLL_TASK = "poll_task"
    POST_RESULT = "post_result"
    VERIFY_TOKEN = "verify_token"
    FETCH_PROMPT = "fetch_prompt"
    FETCH_DATA = "fetch_data"
    EMIT_OUTPUT = "emit_output"
    SUBSCRIBE_EVENTS = "subscribe_events"
    READ_TRACE = "read_trace"
    ANSWER_QUERY = "answer_query"
    OVERRIDE_VERDICT = "override_verdict"
    PAUSE_LOOP = "pause_loop"
    RESUME_LOOP = "resume_loop"
    INJECT_DIRECTIVE = "inject_directive"


_V = Verb

DEFAULT_TABLE: Mapping[Role, frozenset[Verb]] = {
    # With answer_query an operator may only answer questions addressed to a backend id of its own.
    Role.OPERATOR: frozenset(
        {
            _V.START_TASK,
            _V.DISPATCH_ATTEMPT,
            _V.MINT_WORKER_TOKEN,
            _V.READ_TASK_STATE,
            _V.CANCEL_TASK,
            _V.QUERY_SENIOR,
            _V.MARK_PASS,
            _V.MARK_BLOCKED,
            _V.ATTACH_SESSION,
            _V.DETACH_SESSION,
            _V.HEARTBEAT,
            _V.POLL_TASK,
            _V.POST_RESULT,
            _V.VERIFY_TOKEN,
            _V.FETCH_DATA,
            _V.SUBSCRIBE_EVENTS,
            _V.READ_TRACE,
            _V.ANSWER_QUERY,
        }
    ),
    Role.WORKER: frozenset(
        {
            _V.FETCH_PROMPT,
            _V.FETCH_DATA,
            _V.POST_RESULT,
            _V.VERIFY_TOKEN,
            _V.EMIT_OUTPUT,
            _V.QUERY_SENIOR,
            _V.START_TASK,
            _V.DISPATCH_ATTEMPT,
            _V.READ_TASK_STATE,
            _V.POLL_TASK,
            _V.CANCEL_TASK,
        }
    ),
    Role.OBSERVER: frozenset(
        {
            _V.SUBSCRIBE_EVENTS,
            _V.READ_TRACE,
            _V.READ_TASK_STATE,
            _V.POLL_TASK,
            _V.HEARTBEAT,
            _V.DETACH_SESSION,
        }
    ),
    Role.SENIOR: frozenset(
        {
            _V.ANSWER_QUERY,
            _V.OVERRIDE_VERDICT,
            _V.PAUSE_LOOP,
            _V.RESUME_LOOP,
            _V.INJECT_DIRECTIVE,
            _V.READ_TASK_STATE,
            _V.SUBSCRIBE_EVENTS,
            _V.READ_TRACE,
            _V.HEARTBEAT,
            _V.DETACH_SESSION,
        }
    ),
}

MULTIPLYING = frozenset({Verb.START_TASK, Verb.DISPATCH_ATTEMPT})
"""What a token of limited uses never may: its uses would come back with the credentials of what it starts."""


@lru_cache(maxsize=1024)
def read_scope(text: str | None) -> frozenset[Verb] | None:
    """Return the verbs of a scope as it is stored; None for all verbs of a role."""
    return None if text is None else frozenset(map(Verb, text.split()))


def write_scope(scope: frozenset[Verb] | None) -> str | None:
    """Return a scope as it is stored."""
    return None if scope is None else " ".join(sorted(scope))


class RoleVerbGate:
    """An immutable table of roles and their verbs. `allowing` and `denying` return changed copies."""

    __slots__ = ("_table",)

    def __init__(self, table: Mapping[Role, Iterable[Verb]] = DEFAULT_TABLE) -> None:
        self._table = {role: frozenset(table.get(role, ())) for role in Role}

    def allows(self, role: Role, verb: Verb) -> bool:
        """Return whether the role includes the verb."""
        return verb in self._table[role]

    def check(
        self,
        role: Role,
        verbs: Verb | Sequence[Verb],
        scope: frozenset[Verb] | None = None,
        *,
        limited_uses: bool = False,
    ) -> None:
        """Raise RoleViolation unless the role, narrowed by the token's scope, includes one of the verbs.

        With no verbs at all, every role passes. A token of limited uses lacks what multiplies it.
        """
        allowed = self._table[role] if scope is None else self._table[role] & scope
        if limited_uses:
            allowed -= MULTIPLYING
        wanted = (verbs,) if isinstance(verbs, Verb) else verbs
        if wanted and allowed.isdisjoint(wanted):
            raise RoleViolation(role.value, wanted[0].value)

    def verbs(self, role: Role) -> frozenset[Verb]:
        """Return all verbs of a role."""
        return self._table[role]

    def denying(self, role: Role, *verbs: Verb) -> RoleVerbGate:
        """Return a copy of this gate in which the role lacks the verbs."""
        return RoleVerbGate({**self._table, role: self._table[role] - set(verbs)})

    def allowing(self, role: Role, *verbs: Verb) -> RoleVerbGate:
        """Return a copy of this gate in which the role has the verbs."""
        return RoleVerbGate({**self._table, role: self._table[role] | set(verbs)})


class Caller(NamedTuple):
    """An authenticated caller. Created only by `engine.ops.access`.

    `namespace` is where it acts. `key_id` is the API key that its credential descends from; a worker that claimed its
    attempt has `claimed_key_id` beside that of the dispatcher. Both are None for code of this process. `further_keys`
    are those with which attempts above its own were claimed. `task_id` and `attempt` bind a worker to its task; `jti`
    names the token's record, the parent of every token that this caller mints; `via` is how the credential was
    presented. `expires_at` is None for an attempt's own credential, which is renewed, unless it ends with the token
    that it descends from. `ready` is false before the caller's attempt has started and after its Final. `last_seen_at`
    is the last heartbeat of the attempt, None while it needs none.
    """

    role: Role
    subject: str
    via: str  # token | handle | key | trusted | engine
    namespace: int
    key_id: str | None = None
    claimed_key_id: str | None = None
    further_keys: frozenset[str] = frozenset()
    jti: str | None = None
    session_id: str | None = None
    task_id: str | None = None
    attempt: int | None = None
    scope: frozenset[Verb] | None = None
    ready: bool = True
    expires_at: Instant | None = None
    lease_ms: int | None = None
    last_seen_at: Instant | None = None

    @property
    def keys(self) -> frozenset[str]:
        """The principals of its calls: all API keys that its credential descends from."""
        return self.further_keys | {key for key in (self.key_id, self.claimed_key_id) if key is not None}

    def may(self, verb: Verb, gate: RoleVerbGate) -> bool:
        """Return whether its role and scope include the verb."""
        return gate.allows(self.role, verb) and (self.scope is None or verb in self.scope)


ENGINE = Caller(role=Role.OPERATOR, subject="engine", via="engine", namespace=ALL_ID)
"""The engine itself as the caller: timers, recovery, retries."""
