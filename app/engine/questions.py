"""Questions to seniors: ask, answer, wait for the answer, and the inbox of those who answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import islice

from app.domain.access import ENGINE, Caller, Role, Verb
from app.domain.actions import Approval
from app.domain.doors import DOOR
from app.domain.errors import PollTimeout, QuestionClosed, ResumeKeyNotFound, RoleViolation
from app.domain.json import Json
from app.domain.namespaces import ALL_ID
from app.domain.questions import Ask, Question, QuestionStatus
from app.domain.tokens import Bearer, CapToken
from app.engine.ops import approvals, audit, claims, pages, questions
from app.engine.ops.access import Presented, authenticate, require_access, revocation_of
from app.engine.ops.idempotency import Idempotency, once, scope_of
from app.engine.ops.pages import Page
from app.engine.ops.queries import OPEN_QUESTIONS, reaches, require_task
from app.engine.ops.rules import EngineCfg
from app.engine.transactions import Expiry, Transactions
from app.spawning.ports import LayerRegistry
from app.state.state import State
from app.state.tables import QUESTIONS

_EITHER = (Verb.QUERY_SENIOR, Verb.ANSWER_QUERY)
_PAGES = 5
"""Pages of open questions in which one is looked for that may be put to a person."""
_NAMED = 20
"""Ignored keys that the audit log names."""


class Questions:
    """Calls about questions."""

    def __init__(self, transactions: Transactions, *, layers: LayerRegistry, cfg: EngineCfg) -> None:
        self._transactions = transactions
        self._layers = layers
        self._cfg = cfg

    async def ask(
        self, bearer: Bearer, ask: Ask, *, task_id: str | None = None, idempotency: Idempotency | None = None
    ) -> Question:
        """Ask a question, suspend the task, and return the question at once. None asks about the worker's own task.

        Raises InvalidTransition, TaskNotFound, TokenTaskMismatch, PayloadTooLarge, QuotaExceeded, and AttemptSuperseded
        or Cancelled for a worker whose attempt is over.
        """

        def run(state: State, caller: Caller) -> Question:
            return once(
                state,
                scope_of(caller, "question"),
                idempotency,
                lambda: questions.ask(state, self._cfg, caller, task_id, ask),
                name=lambda made: made.key,
                again=lambda key: _found(state, key, caller),
                task_of=lambda made: made.task_id,
            )

        return await self._transactions.call("query_senior", bearer, Verb.QUERY_SENIOR, run)

    async def ask_alone(
        self,
        bearer: Bearer,
        ask: Ask,
        *,
        agent: str = questions.KIND,
        labels: Mapping[str, str] | None = None,
        idempotency: Idempotency | None = None,
    ) -> Question:
        """Ask a question that has no task yet: make one that waits for the answer and has it as its result.

        The caller may both ask and start tasks. Raises RoleViolation, InvalidRequest, PayloadTooLarge, QuotaExceeded.
        """
        question, _ = await self.ask_or_find(bearer, ask, agent=agent, labels=labels, idempotency=idempotency)
        return question

    async def ask_or_find(
        self,
        bearer: Bearer,
        ask: Ask,
        *,
        agent: str = questions.KIND,
        labels: Mapping[str, str] | None = None,
        idempotency: Idempotency | None = None,
    ) -> tuple[Question, bool]:
        """Ask as `ask_alone` does; return the question, and whether this call made it. Raises what `ask_alone` does."""
        await self._transactions.presented(bearer, Verb.START_TASK)

        def run(state: State, caller: Caller) -> tuple[Question, bool]:
            if not caller.may(Verb.START_TASK, self._transactions.gate):
                raise RoleViolation(caller.role.value, Verb.START_TASK.value)

            def make() -> tuple[Question, bool]:
                return questions.ask_alone(state, self._cfg, caller, ask, agent=agent, labels=labels or {}), True

            return once(
                state,
                scope_of(caller, "question"),
                idempotency,
                make,
                name=lambda made: made[0].key,
                again=lambda key: (_found(state, key, caller), False),
                task_of=lambda made: made[0].task_id,
            )

        return await self._transactions.call("query_senior", bearer, Verb.QUERY_SENIOR, run)

    async def withdraw(self, bearer: Bearer, key: str, *, reason: str | None = None) -> Question:
        """Withdraw a question, for those who may cancel its task. A task that was made for it is cancelled.

        Idempotent. Raises ResumeKeyNotFound, TokenTaskMismatch, AlreadyAnswered, QuestionClosed, InvalidTransition.
        """
        return await self._transactions.call(
            "withdraw_question",
            bearer,
            Verb.CANCEL_TASK,
            lambda s, c: questions.withdraw(s, self._layers, c, key, reason),
        )

    async def consume(self, bearer: Bearer, key: str, digest: str, once: Idempotency) -> tuple[Question, Approval]:
        """Consume the approval of an action, for the asker's API keys, exactly once; the same key again is the same.

        Raises ResumeKeyNotFound, TokenTaskMismatch, RoleViolation, NotApproved, ActionMismatch, ApprovalExpired,
        AlreadyConsumed, IdempotencyMismatch.
        """
        return await self._transactions.call(
            "consume_approval", bearer, Verb.QUERY_SENIOR, lambda s, c: approvals.consume(s, c, key, digest, once)
        )

    async def record_outcome(self, bearer: Bearer, key: str, status: str, note: str | None = None) -> Question:
        """Record what came of an action whose approval was consumed. Idempotent.

        Raises ResumeKeyNotFound, TokenTaskMismatch, RoleViolation, NotConsumed, OutcomeRecorded.
        """
        return await self._transactions.call(
            "record_outcome",
            bearer,
            Verb.QUERY_SENIOR,
            lambda s, c: approvals.record_outcome(s, c, key, status, note),
        )

    async def answer_trusted(self, key: str, value: Json, *, by: str = "engine") -> None:
        """Answer a question, for code of this process. The first answer wins; repeating it changes nothing.

        Raises ResumeKeyNotFound, AlreadyAnswered, QuestionClosed, AnswerInvalid (it stays open).
        """
        caller = Caller(role=Role.SENIOR, subject=by, via="trusted", namespace=ALL_ID)
        await self._transactions.run(
            "resume", lambda s: questions.answer(s, self._layers, self._cfg.questions, caller, key, value)
        )

    async def answer(
        self, token: CapToken, key: str, value: Json, *, comment: str | None = None, connected_as: str | None = None
    ) -> Question:
        """Answer a question by a credential with `answer_query`; who answered is recorded.

        An operator answers what is addressed to an id of its session, or to the one that it is `connected_as`. Raises
        RoleViolation, IdTaken, AskerCannotAnswer, ResumeKeyNotFound, AlreadyAnswered, QuestionClosed, AnswerInvalid.
        """
        return await self._transactions.call(
            "resume",
            token,
            Verb.ANSWER_QUERY,
            lambda s, c: questions.answer(
                s, self._layers, self._cfg.questions, c, key, value, comment=comment, connected_as=connected_as
            ),
        )

    async def claim(self, token: CapToken, key: str, ttl: timedelta) -> Question:
        """Tell others that the caller is on an open question, until `ttl` has passed. It keeps nobody from answering.

        Raises RoleViolation, IdTaken, AskerCannotAnswer, ResumeKeyNotFound, QuestionClosed.
        """
        ttl_ms = ttl // timedelta(milliseconds=1)
        return await self._transactions.call(
            "claim_question",
            token,
            Verb.ANSWER_QUERY,
            lambda s, c: claims.claim(s, self._cfg.questions, c, key, ttl_ms),
        )

    async def release(self, token: CapToken, key: str) -> Question:
        """End the caller's own claim, if there is one. Raises RoleViolation, ResumeKeyNotFound."""
        return await self._transactions.call(
            "release_question", token, Verb.ANSWER_QUERY, lambda s, c: claims.release(s, c, key)
        )

    async def escalate(self, token: CapToken, key: str, to: str) -> Question:
        """Hand an open question over to another bridge now.

        Raises RoleViolation, IdTaken, AskerCannotAnswer, ResumeKeyNotFound, QuestionClosed, InvalidName.
        """
        return await self._transactions.call(
            "escalate_question",
            token,
            Verb.ANSWER_QUERY,
            lambda s, c: claims.escalate(s, self._cfg.questions, c, key, to),
        )

    async def await_answer(self, key: str, timeout: timedelta) -> Json:
        """Return the answer as soon as it is there. Zero checks once.

        Raises PollTimeout, ResumeKeyNotFound, QuestionClosed (withdrawn or expired). Cancelling is safe.
        """
        question, closed = await self._until_closed(key, self._transactions.hold_seconds(timeout))
        if not closed:
            raise PollTimeout(f"Question {key}", timeout.total_seconds())
        if question.status is not QuestionStatus.ANSWERED or question.answer is None:
            raise QuestionClosed(key, question.status.value)
        return question.answer

    async def watch(self, bearer: Bearer, key: str, hold: timedelta) -> tuple[Question, bool]:
        """Wait until the question is answered, withdrawn or expired; return it as it is at the end, and whether it is.

        A worker reads the questions of its own task. Raises ResumeKeyNotFound, TokenTaskMismatch; TokenRevoked or
        TokenExpired as soon as the credential is revoked or has expired.
        """
        seconds = self._transactions.hold_seconds(hold)
        presented = await self._transactions.presented(bearer, _EITHER)

        def run(state: State, caller: Caller) -> str | None:
            question = _found(state, key, caller)
            require_access(state, caller, question.task_id, Verb.QUERY_SENIOR)
            return caller.jti

        jti = await self._transactions.read_as(bearer, _EITHER, run)
        return await self._until_closed(key, seconds, presented, jti)

    async def _until_closed(
        self, key: str, hold_s: float, presented: Presented | None = None, jti: str | None = None
    ) -> tuple[Question, bool]:
        expiry = Expiry()

        def look(state: State) -> Question | None:
            if presented is not None:
                expiry.note(state, authenticate(state, presented, consume=False).expires_at)
            question = _found(state, key, ENGINE)
            return question if question.status is not QuestionStatus.OPEN else None

        topics = (f"question:{key}",) if jti is None else (f"question:{key}", revocation_of(jti))
        closed = await self._transactions.wait(topics, lambda: self._transactions.read(look), hold_s, expiry)
        if closed is not None:
            return closed, True
        return await self._transactions.read(lambda state: _found(state, key, ENGINE)), False

    async def page(
        self,
        token: CapToken,
        *,
        status: QuestionStatus | None = None,
        bridge_id: str | None = None,
        task_id: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Question]:
        """Return a page of the inbox, oldest first."""
        return await self._transactions.read_as(
            token,
            Verb.ANSWER_QUERY,
            lambda s, c: pages.questions(
                s,
                self._transactions.limits,
                c.namespace,
                status=status,
                bridge_id=bridge_id,
                task_id=task_id,
                limit=limit,
                cursor=cursor,
            ),
        )

    async def decided(
        self, token: CapToken, *, search: str | None = None, limit: int = 50, cursor: str | None = None
    ) -> Page[Question]:
        """Return a page of questions that are no longer open, the newest decision first.

        `search` keeps those that hold the text. A page may be empty, with a cursor, when much was searched.
        """
        return await self._transactions.read_as(
            token,
            Verb.ANSWER_QUERY,
            lambda s, c: pages.decided_questions(
                s, self._transactions.limits, c.namespace, search=search, limit=limit, cursor=cursor
            ),
        )

    async def read(self, token: CapToken, key: str) -> Question:
        """Return one question. Raises ResumeKeyNotFound."""
        return await self._transactions.read_as(token, Verb.ANSWER_QUERY, lambda s, c: _found(s, key, c))

    async def offered(self, token: CapToken, *, key: str | None = None, task_id: str | None = None) -> list[str]:
        """Return the keys of open questions that a door may put to the caller: a person, and none that asked.

        That is the question with this key, else those of the task, else the oldest of all. Raises ResumeKeyNotFound.
        """
        door = DOOR.get()

        def run(state: State, caller: Caller) -> list[str]:
            if key is not None:
                found: Iterable[Question] = (_found(state, key, caller),)
            elif task_id is not None:
                found = OPEN_QUESTIONS.all(state.db, task_id=require_task(state, task_id, caller).id)
            else:
                found = self._open(state, caller)
            offered = (question.key for question in found if questions.is_offered(state, caller, question, door))
            return list(offered if key or task_id else islice(offered, 1))

        return await self._transactions.read_as(token, Verb.ANSWER_QUERY, run)

    def _open(self, state: State, caller: Caller) -> Iterator[Question]:
        """Yield open questions, the oldest first; not all of very many."""
        cursor: str | None = None
        for _ in range(_PAGES):
            page = pages.questions(
                state,
                self._transactions.limits,
                caller.namespace,
                status=QuestionStatus.OPEN,
                bridge_id=None,
                task_id=None,
                limit=self._transactions.limits.page_items,
                cursor=cursor,
            )
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return

    async def ignore(self, bearer: Bearer, target: str, keys: Sequence[str]) -> None:
        """Record that answers which a client sent for these keys were ignored, as none of them was asked of it."""
        await self._transactions.call(
            "ignore_answers",
            bearer,
            (),
            lambda s, c: audit.record(s, c, "answers_ignored", target=target, count=len(keys), keys=[*keys[:_NAMED]]),
        )

    async def open_for(
        self, token: CapToken, bridge_id: str, *, after: str | None = None, limit: int = 200
    ) -> list[Question]:
        """Return open questions addressed to the bridge or to any bridge, after the key `after`, oldest first.

        For a connection that was authorized when it began: spends no use, but a revoked token is refused.
        """

        def run(state: State) -> list[Question]:
            caller = authenticate(state, presented, consume=False)
            return pages.addressed_questions(
                state, self._transactions.limits, caller.namespace, bridge_id, after=after or "", limit=limit
            )

        presented = await self._transactions.presented(token, Verb.ANSWER_QUERY)
        return await self._transactions.read(run)

    async def count_open_for(self, token: CapToken, bridge_id: str, *, addressed_only: bool = False) -> int:
        """Count what `open_for` would return in all; with `addressed_only` without those for any bridge."""

        def run(state: State) -> int:
            caller = authenticate(state, presented, consume=False)
            return questions.count_open(state, caller.namespace, bridge_id, addressed_only=addressed_only)

        presented = await self._transactions.presented(token, Verb.ANSWER_QUERY)
        return await self._transactions.read(run)

    async def mark_delivered(self, keys: Sequence[str], bridge_id: str) -> None:
        """Record that a bridge has shown these questions."""
        if keys:
            await self._transactions.run("mark_delivered", lambda s: questions.mark_delivered(s, list(keys), bridge_id))


def _found(state: State, key: str, caller: Caller) -> Question:
    question = QUESTIONS.get(state.db, key)
    if question is None or not reaches(caller, question.namespace):
        raise ResumeKeyNotFound(key)
    return question
