"""Credentials of operators, seniors, observers and workers: verify, mint, inspect, revoke."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from math import inf

from app.bus.port import HintBus
from app.domain.access import ENGINE, Caller, Role, Verb
from app.domain.attempts import Attempt
from app.domain.clock import Clock
from app.domain.delegation import OWN_TASK
from app.domain.errors import AccessDenied, Busy, Conflict, EngineError, TokenNotFound, TokenTaskMismatch
from app.domain.tokens import ApiKey, Bearer, CapToken, Claims, Handle, TokenRecord, TokenSigner
from app.engine.batches import Batches
from app.engine.ops import credentials, queues
from app.engine.ops.access import authenticate, descends_from, require_access, require_ready, revocation_of
from app.engine.ops.idempotency import Idempotency, once, scope_of
from app.engine.ops.queries import reaches
from app.engine.ops.rules import EngineCfg
from app.engine.transactions import Transactions
from app.state.state import State
from app.state.tables import API_KEYS, ATTEMPTS, TOKENS

_CLAIMED_MS = 5 * 60 * 1000


@dataclass(frozen=True, slots=True)
class Minted:
    """A new token and its record."""

    token: CapToken
    record: TokenRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """The result of verifying a token. `code` is the error's when the token is not valid."""

    valid: bool
    code: str | None
    role: Role | None
    subject: str | None
    expires_at: int | None
    uses_left: int | None


def attempt_claims(attempt: Attempt, agent: str, cfg: EngineCfg) -> Claims:
    """Return the claims of an attempt's worker token, which lives as long as the attempt's handle may."""
    rights = attempt.rights
    expires_at = max(attempt.handle_expires_at, attempt.started_at + cfg.worker_token_life_ms)
    return Claims(
        subject=agent,
        role=Role.WORKER,
        jti=attempt.jti,
        issued_at=attempt.started_at,
        expires_at=expires_at if rights.ends_at is None else min(expires_at, rights.ends_at),
        scope=None if rights.scope is None else rights.scope | OWN_TASK,
        task_id=attempt.task_id,
        attempt=attempt.attempt,
    )


class Credentials:
    """Calls about tokens and handles."""

    def __init__(
        self,
        transactions: Transactions,
        *,
        batches: Batches,
        signer: TokenSigner,
        bus: HintBus,
        clock: Clock,
        cfg: EngineCfg,
    ) -> None:
        self._transactions = transactions
        self._batches = batches
        self._signer = signer
        self._bus = bus
        self._clock = clock
        self._cfg = cfg

    async def authorize(self, bearer: Bearer, verb: Verb | tuple[Verb, ...], task_id: str | None = None) -> Caller:
        """Return the caller that a credential authenticates, if it may use a verb (on a task); spends one use.

        Checks signature, expiry, role and verb, and record, in this order; then the ownership of the task for workers.
        Raises BadSignature, TokenExpired, RoleViolation, TokenNotFound, TokenRevoked, TokenUsesExhausted; with a task
        TokenTaskMismatch and TaskNotFound; at last the conflict of an attempt's token whose attempt is over.
        """
        return await self._authorize(bearer, verb, task_id, ENGINE)

    async def _authorize(
        self, bearer: Bearer, verb: Verb | tuple[Verb, ...], task_id: str | None, by: Caller
    ) -> Caller:
        """Return the caller behind a credential that exists for `by`. Raises what `authorize` raises."""
        first = verb if isinstance(verb, Verb) else verb[0]

        def check(state: State, caller: Caller) -> Caller:
            if not reaches(by, caller.namespace):
                raise TokenNotFound  # a use that was spent in this transaction is given back
            if task_id is not None:
                _require_access(state, caller, task_id, first)
            require_ready(state, caller)
            return caller

        return await self._transactions.read_as(bearer, verb, check)

    async def whoami(self, bearer: Bearer) -> Caller:
        """Return the caller that a valid credential authenticates, whatever it may do; spends no use."""
        presented = await self._transactions.presented(bearer, ())
        return await self._transactions.read(lambda state: authenticate(state, presented, consume=False))

    async def whose(self, bearer: Bearer) -> tuple[Caller, ApiKey | None]:
        """Return what `whoami` does, and the API key that the credential descends from; None for code of this process.

        A worker's credential descends from its dispatcher's.
        """
        presented = await self._transactions.presented(bearer, ())

        def run(state: State) -> tuple[Caller, ApiKey | None]:
            caller = authenticate(state, presented, consume=False)
            return caller, API_KEYS.get(state.db, caller.key_id or "")

        return await self._transactions.read(run)

    async def wait_until_invalid(self, bearer: Bearer, *, poll_interval_s: float) -> None:
        """Return when the credential is revoked or has expired; spends no use.

        Checks again after `poll_interval_s` without a hint. Cancelling is safe.
        """
        presented = await self._transactions.presented(bearer, ())
        subscription = self._bus.subscribe(revocation_of(presented.jti if isinstance(presented, Claims) else None))
        try:
            while True:
                subscription.clear()
                left_s = await self._seconds_left(bearer)
                if left_s <= 0:
                    return
                await subscription.wait(min(poll_interval_s, left_s))
        finally:
            subscription.close()

    async def _seconds_left(self, bearer: Bearer) -> float:
        """Return for how many seconds a credential is valid, as far as is known; 0 when it is not."""
        try:
            expires_at = (await self.whoami(bearer)).expires_at
        except Busy:
            return inf
        except EngineError:
            return 0.0
        return inf if expires_at is None else (expires_at - self._clock()) / 1000

    async def task_id_from_token(self, token: CapToken) -> str:
        """Return the id of the task that a worker's token is bound to. Raises TokenTaskMismatch when there is none."""
        caller = await self.whoami(token)
        if caller.role is not Role.WORKER or caller.task_id is None:
            raise TokenTaskMismatch(None)
        return caller.task_id

    async def task_id_from_handle(self, handle: str) -> str:
        """Return the id of the task that a handle is bound to.

        Raises HandleMistyped, TokenNotFound, TokenExpired, TokenRevoked.
        """
        caller = await self.whoami(Handle(handle))
        if caller.task_id is None:
            raise TokenNotFound
        return caller.task_id

    async def mint(
        self,
        token: CapToken,
        *,
        agent_id: str,
        role: Role,
        ttl: timedelta,
        max_uses: int | None = None,
        scopes: frozenset[Verb] | None = None,
        task_id: str | None = None,
        idempotency: Idempotency | None = None,
    ) -> Minted:
        """Mint a worker or observer token with `token` as its parent.

        Raises RoleViolation, TaskNotFound, InvalidRequest.
        """
        # A handle is refused by its role here, before it is parsed as a token and reported as malformed.
        await self._transactions.presented(token, Verb.MINT_WORKER_TOKEN)
        expires_at = self._signer.verify(token).expires_at
        asked = credentials.Mint(
            agent_id=agent_id, role=role, ttl=ttl, max_uses=max_uses, scopes=scopes, task_id=task_id
        )

        def run(state: State, caller: Caller) -> TokenRecord:
            return once(
                state,
                scope_of(caller, "mint"),
                idempotency,
                lambda: credentials.mint(state, caller, caller.expires_at or expires_at, asked),
                name=lambda record: record.jti,
                again=lambda jti: credentials.minted(state, jti),
            )

        record = await self._transactions.call("mint_worker_token", token, Verb.MINT_WORKER_TOKEN, run)
        return Minted(self._signer.sign(record.claims()), record)

    async def inspect(self, token: CapToken, subject: CapToken, verb: Verb, task_id: str | None = None) -> Inspection:
        """Verify another token and return the result as a value; spends one use of that token.

        Raises TaskNotFound, and the errors of `token` itself.
        """
        by = await self.authorize(token, Verb.VERIFY_TOKEN)
        code: str | None = None
        try:
            await self._authorize(subject, verb, task_id, by)
        except (AccessDenied, Conflict) as refusal:
            code = refusal.code
        return await self._describe(subject, code, by)

    async def _describe(self, subject: CapToken, code: str | None, by: Caller) -> Inspection:
        try:
            claims = self._signer.verify(subject)
        except AccessDenied:
            return Inspection(valid=False, code=code, role=None, subject=None, expires_at=None, uses_left=None)
        record = await self._transactions.read(lambda state: TOKENS.get(state.db, claims.jti))
        if record is not None and not reaches(by, record.namespace):
            record = None
        return Inspection(
            valid=code is None,
            code=code,
            role=claims.role,
            subject=claims.subject,
            expires_at=record.expires_at if record else claims.expires_at,
            uses_left=record.uses_left if record else None,
        )

    async def revoke(self, token: CapToken, jti: str) -> None:
        """Revoke a token and every credential that descends from it: afterwards none of them can act.

        Cancelling the call does not stop what has begun. Raises KeyNotFound.
        """
        await self._transactions.call(
            "revoke_token", token, Verb.MINT_WORKER_TOKEN, lambda s, c: credentials.revoke(s, c, jti)
        )
        await self._batches.finish(jti)

    async def attempt_token(self, task_id: str, attempt: int) -> CapToken:
        """Return the worker token of an attempt, for spawners of this process. Raises TokenNotFound."""
        row = await self._transactions.read(lambda state: ATTEMPTS.get(state.db, task_id, attempt))
        if row is None:
            raise TokenNotFound
        return self.sign(row)

    async def claimed_token(self, key: ApiKey, about: str) -> CapToken | None:
        """Return the worker token of an attempt that was claimed with this key; None where `about` names no such one.

        For calls inside this server, whose caller presents the key alone: the token is signed for minutes. Whether the
        attempt is live and its credential valid is checked with each use. `about` is what `queues.claimed_by` takes.
        """
        row = await self._transactions.read(lambda state: queues.claimed_by(state, key, about))
        if row is None:
            return None
        claims = attempt_claims(row, row.agent, self._cfg)
        # The same text for a while, so that its signature is checked once.
        expires_at = (self._clock() // _CLAIMED_MS + 2) * _CLAIMED_MS
        return self._signer.sign(replace(claims, expires_at=expires_at))

    def sign(self, attempt: Attempt) -> CapToken:
        """Return the worker token of an attempt, given its row."""
        return self._signer.sign(attempt_claims(attempt, attempt.agent, self._cfg))


def _require_access(state: State, caller: Caller, task_id: str, verb: Verb) -> None:
    """Check the ownership of the task. A worker may start and dispatch what descends from its own task.

    Raises what `require_access` raises.
    """
    open_below = caller.role is Role.WORKER and verb in (Verb.START_TASK, Verb.DISPATCH_ATTEMPT)
    if not (open_below and caller.task_id is not None and descends_from(state, task_id, caller.task_id)):
        require_access(state, caller, task_id, verb)
