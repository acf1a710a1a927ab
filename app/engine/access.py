"""The engine's calls about credentials: verifying, minting, revoking, API keys."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from math import inf

from app.domain.access import Caller, Role, Verb
from app.domain.attempts import Attempt
from app.domain.errors import AccessDenied, Busy, Conflict, EngineError, RoleViolation, TokenNotFound, TokenTaskMismatch
from app.domain.tokens import ApiKey, Bearer, CapToken, Claims, Handle, TokenRecord
from app.engine.core import Core
from app.engine.ops import audit, credentials
from app.engine.ops.access import admit, own, require_ready, revocation_of
from app.engine.ops.idempotency import Idempotency, once, scope_of
from app.engine.ops.rules import EngineCfg
from app.state.state import State
from app.state.tables import ATTEMPTS, TASKS, TOKENS


@dataclass(frozen=True, slots=True)
class Minted:
    """A fresh token and its record."""

    token: CapToken
    record: TokenRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What `verify_token` says of a token, as a value. `code` is the error's when it is not valid."""

    valid: bool
    code: str | None
    role: Role | None
    subject: str | None
    expires_at: int | None
    uses_left: int | None


def attempt_claims(attempt: Attempt, agent: str, cfg: EngineCfg) -> Claims:
    """The claims of an attempt's worker token. It lives as long as its attempt's handle may."""
    return Claims(
        subject=agent,
        role=Role.WORKER,
        jti=attempt.jti,
        issued_at=attempt.started_at,
        expires_at=max(attempt.handle_expires_at, attempt.started_at + cfg.worker_token_life_ms),
        task_id=attempt.task_id,
        attempt=attempt.attempt,
    )


class AccessCalls(Core):
    """Credentials."""

    async def verify_token(self, token: CapToken, verb: Verb) -> None:
        """Signature, expiry, role × verb, record; the last step spends one use.

        In this order raises BadSignature, TokenExpired, RoleViolation, TokenNotFound, TokenRevoked, TokenUsesExhausted;
        at last the conflict of an attempt's token whose attempt is over.
        """
        await self.authorize(token, verb)

    async def verify_token_for_task(self, token: CapToken, verb: Verb, task_id: str) -> None:
        """`verify_token`, then ownership for workers. Raises TokenTaskMismatch, TaskNotFound as well."""
        await self.authorize(token, verb, task_id)

    async def authorize(self, bearer: Bearer, verb: Verb | tuple[Verb, ...], task_id: str | None = None) -> Caller:
        """The caller behind a credential that may do this; spends one use."""
        first = verb if isinstance(verb, Verb) else verb[0]

        def check(state: State, caller: Caller) -> Caller:
            if task_id is not None:
                own(state, caller, task_id, first)
            require_ready(state, caller)
            return caller

        return await self._look(bearer, verb, check)

    async def whoami(self, bearer: Bearer) -> Caller:
        """The caller behind any living credential, whatever it may do; spends no use."""
        presented = self._present(bearer, ())
        return await self._store.read(lambda state: admit(state, presented, consume=False))

    async def until_worthless(self, bearer: Bearer, *, recheck_s: float) -> None:
        """Return when the credential is no good any more, be it revoked or expired; spends no use.

        Looks again after `recheck_s` without a hint. Cancelling is safe.
        """
        presented = self._present(bearer, ())
        subscription = self._bus.subscribe(revocation_of(presented.jti if isinstance(presented, Claims) else None))
        try:
            while True:
                subscription.clear()
                left_s = await self._good_for(bearer)
                if left_s <= 0:
                    return
                await subscription.wait(min(recheck_s, left_s))
        finally:
            subscription.close()

    async def _good_for(self, bearer: Bearer) -> float:
        """For how many seconds a credential is good as far as can be told; 0 when it is not."""
        try:
            expires_at = (await self.whoami(bearer)).expires_at
        except Busy:
            return inf
        except EngineError:
            return 0.0
        return inf if expires_at is None else (expires_at - self._parts.clock()) / 1000

    async def task_id_from_token(self, token: CapToken) -> str:
        """The task that a worker's token is bound to. Raises TokenTaskMismatch when it is bound to none."""
        caller = await self.whoami(token)
        if caller.role is not Role.WORKER or caller.task_id is None:
            raise TokenTaskMismatch(None)
        return caller.task_id

    async def task_id_from_handle(self, handle: str) -> str:
        """The task of a handle. Raises HandleMistyped, TokenNotFound, TokenExpired, TokenRevoked."""
        caller = await self.whoami(Handle(handle))
        if caller.task_id is None:
            raise TokenNotFound
        return caller.task_id

    async def mint_token(
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
        """A worker or observer token below `token`. Raises RoleViolation, TaskNotFound, InvalidRequest."""
        # A handle is refused by its role here, before it would be taken for a broken token.
        self._present(token, Verb.MINT_WORKER_TOKEN)
        expires_at = self.signer.verify(token).expires_at
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

        record = await self._call("mint_worker_token", token, Verb.MINT_WORKER_TOKEN, run)
        return Minted(self.signer.sign(record.claims()), record)

    async def inspect_token(
        self, token: CapToken, subject: CapToken, verb: Verb, task_id: str | None = None
    ) -> Inspection:
        """What `verify_token` (or `verify_token_for_task`) says of another token; spends one use of that one.

        Raises TaskNotFound, and what is wrong with `token` itself.
        """
        await self.authorize(token, Verb.VERIFY_TOKEN)
        code: str | None = None
        try:
            await self.authorize(subject, verb, task_id)
        except (AccessDenied, Conflict) as refusal:
            code = refusal.code
        return await self._describe(subject, code)

    async def _describe(self, subject: CapToken, code: str | None) -> Inspection:
        try:
            claims = self.signer.verify(subject)
        except AccessDenied:
            return Inspection(valid=False, code=code, role=None, subject=None, expires_at=None, uses_left=None)
        record = await self._store.read(lambda state: TOKENS.get(state.db, claims.jti))
        return Inspection(
            valid=code is None,
            code=code,
            role=claims.role,
            subject=claims.subject,
            expires_at=record.expires_at if record else claims.expires_at,
            uses_left=record.uses_left if record else None,
        )

    async def revoke_token(self, token: CapToken, jti: str) -> None:
        """Revoke a token and everything minted below it. Raises KeyNotFound."""
        await self._call(
            "revoke_token", token, Verb.MINT_WORKER_TOKEN, lambda s, c: credentials.revoke(s, c, jti), bulk=True
        )

    async def worker_token(self, task_id: str, attempt: int) -> CapToken:
        """The worker token of an attempt, for spawners of this process. Raises TokenNotFound."""
        row = await self._store.read(lambda state: ATTEMPTS.get(state.db, task_id, attempt))
        task = await self._store.read(lambda state: TASKS.get(state.db, task_id))
        if row is None or task is None:
            raise TokenNotFound
        return self.signer.sign(attempt_claims(row, task.agent, self.cfg))

    # API keys

    def digest_secret(self, text: str) -> str:
        """The keyed digest under which an API key is stored."""
        return self._parts.mint.keyed_digest(text)

    async def check_key(self, key_text: str, role: Role) -> ApiKey:
        """The living API key that may act as the role. Raises Unauthenticated, RoleViolation."""
        key = await self._living_key(key_text)
        credentials.require_role(key, role)
        return key

    async def check_key_verb(self, key_text: str, verb: Verb) -> ApiKey:
        """The living API key of which some role may use the verb. Raises Unauthenticated, RoleViolation."""
        key = await self._living_key(key_text)
        if not any(self._parts.gate.allows(role, verb) for role in key.role_set):
            raise RoleViolation("this API key", verb.value)
        return key

    async def check_root_key(self, key_text: str) -> ApiKey:
        """The living root key. Raises Unauthenticated, RoleViolation."""
        key = await self._living_key(key_text)
        credentials.require_root(key)
        return key

    async def _living_key(self, key_text: str) -> ApiKey:
        digest = self.digest_secret(key_text)
        return await self._store.read(lambda state: credentials.find_key(state, digest))

    async def create_key(
        self,
        key_text: str,
        name: str,
        roles: frozenset[Role],
        ttl: timedelta | None,
        *,
        idempotency: Idempotency | None = None,
    ) -> tuple[ApiKey, str]:
        """A new API key and its text, which is shown this once. Needs the root key. Raises InvalidRequest."""
        root = self.digest_secret(key_text)
        text = credentials.new_key_text()
        digest = self.digest_secret(text)

        def run(state: State) -> ApiKey:
            key = credentials.find_key(state, root)
            credentials.require_root(key)
            return once(
                state,
                f"key:{key.id}:key",
                idempotency,
                lambda: credentials.create_key(
                    state, name=name, roles=roles, digest=digest, ttl=ttl, by=f"key:{key.id}"
                ),
                name=lambda made: made.id,
                again=lambda key_id: credentials.renew_key_secret(state, key_id, digest),
            )

        return await self._do("create_key", run), text

    async def list_keys(self, key_text: str) -> list[ApiKey]:
        """Every API key, without its text. Needs the root key."""
        await self.check_root_key(key_text)
        return await self._store.read(credentials.list_keys)

    async def revoke_key(self, key_text: str, key_id: str) -> None:
        """Revoke an API key and all sessions attached with it. Needs the root key. Raises KeyNotFound."""
        root = await self.check_root_key(key_text)
        await self._do("revoke_key", lambda s: credentials.revoke_key(s, key_id, by=f"key:{root.id}"), bulk=True)

    async def ensure_root_key(self, key_text: str) -> bool:
        """Make this text the root key; True when it was not so before. For the server's own start."""
        digest = self.digest_secret(key_text)
        return await self._do("ensure_root_key", lambda state: credentials.ensure_root(state, digest))

    async def has_root_key(self) -> bool:
        """Whether a living root key exists."""
        return await self._store.read(credentials.has_root)

    async def record_refusal(self, *, reason: str, source: str, fingerprint: str | None) -> None:
        """Put a failed credential on the audit log. The edge limits how often."""
        await self._do(
            "record_refusal",
            lambda s: audit.record(s, "refused", actor=source, credential=fingerprint, reason=reason),
        )
