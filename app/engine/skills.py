"""Published skills: make, list and delete them, and carry out calls of them."""

from __future__ import annotations

from collections.abc import Sequence

from app.domain.access import Caller, Verb
from app.domain.errors import RoleViolation
from app.domain.json import Json
from app.domain.namespaces import DEFAULT
from app.domain.skills import LABEL, Skill, SkillApproval, SkillSpec
from app.domain.tasks import TaskSpec
from app.domain.tokens import Bearer
from app.engine.api_keys import ApiKeys
from app.engine.dispatcher import Dispatcher
from app.engine.ops import credentials, dispatches, namespaces, pages, skill_approvals, skills, tasks
from app.engine.ops.dispatches import Prepared
from app.engine.ops.idempotency import Idempotency, once, scope_of
from app.engine.ops.pages import Page
from app.engine.ops.rules import EngineCfg
from app.engine.ops.skills import Published
from app.engine.transactions import Transactions
from app.state.state import State


class Skills:
    """Calls about skills. Making and deleting them needs the root key."""

    def __init__(self, transactions: Transactions, *, keys: ApiKeys, dispatcher: Dispatcher, cfg: EngineCfg) -> None:
        self._transactions = transactions
        self._keys = keys
        self._dispatcher = dispatcher
        self._cfg = cfg

    async def create(
        self, key_text: str, spec: SkillSpec, *, namespace: str = DEFAULT, idempotency: Idempotency | None = None
    ) -> Skill:
        """Publish a skill. Raises InvalidRequest, InvalidName, NameTaken, PayloadTooLarge."""
        digest = self._keys.digest(key_text)
        await self._keys.check_root(key_text)
        spec.check(self._cfg.limits.question_bytes)

        def run(state: State) -> Skill:
            key = credentials.find_key(state, digest)
            return once(
                state,
                f"key:{key.id}:skill",
                idempotency,
                lambda: skills.create(state, spec, namespace=namespaces.use(state, namespace, by=key), by=key),
                name=lambda made: made.id,
                again=lambda skill_id: skills.find(state, skill_id),
            )

        return await self._transactions.run("create_skill", run)

    async def page(
        self, key_text: str, *, namespace: str | None = None, limit: int = 50, cursor: str | None = None
    ) -> Page[Skill]:
        """Return a page of skills (of one namespace), oldest first."""
        await self._keys.check_root(key_text)
        limits = self._transactions.limits

        def run(state: State) -> Page[Skill]:
            place = namespaces.find_if_named(state, namespace)
            return pages.skills(state, limits, limit=limit, cursor=cursor, namespace=place)

        return await self._transactions.read(run)

    async def read(self, key_text: str, skill_id: str) -> Skill:
        """Return one skill. Raises SkillNotFound."""
        await self._keys.check_root(key_text)
        return await self._transactions.read(lambda state: skills.find(state, skill_id))

    async def delete(self, key_text: str, skill_id: str) -> None:
        """Delete a skill; what its calls started goes on. Raises SkillNotFound, InvalidRequest."""
        by = await self._keys.check_root(key_text)
        await self._transactions.run("delete_skill", lambda state: skills.delete(state, skill_id, by=by))

    async def keep(self, published: Sequence[Published]) -> None:
        """Let the skills of the settings be these. Raises what `create` raises."""
        for _, spec in published:
            spec.check(self._cfg.limits.question_bytes)
        await self._transactions.run("keep_skills", lambda state: skills.keep(state, published))

    async def offered(self, namespace: int) -> list[Skill]:
        """Return the skills of a namespace, by name."""
        return await self._transactions.read(lambda state: skills.of_namespace(state, namespace))

    async def named(self, namespace: int, name: str) -> Skill | None:
        """Return the skill of this name, None without one."""
        return await self._transactions.read(lambda state: skills.named(state, namespace, name))

    async def call(
        self, bearer: Bearer, skill: Skill, arguments: Json, *, idempotency: Idempotency | None = None
    ) -> str:
        """Make a task whose directive is the arguments, in the skill's queue; return its id.

        Where the skill says so, a senior is asked in the same transaction, and no worker gets it before the approval.
        The same idempotency key returns the same task. Raises what `tasks.start`, a dispatch and
        `skill_approvals.ask` raise.
        """
        request = self._dispatcher.request(self._dispatcher.build({"kind": "queue", "queue": skill.queue}))
        spec = TaskSpec(agent=skill.agent, initial_directive=arguments.text, labels={LABEL: skill.name})
        made: Prepared | None = None

        def make(state: State, caller: Caller) -> str:
            nonlocal made
            if not caller.may(Verb.START_TASK, self._transactions.gate):
                raise RoleViolation(caller.role.value, Verb.START_TASK.value)
            task = tasks.start(state, self._cfg, caller, spec, expands=False)
            prepared = dispatches.prepare(state, self._cfg, caller, task.id, request)
            if skill.approval is SkillApproval.ALWAYS:
                skill_approvals.ask(state, self._cfg, caller, prepared.attempt, skill, arguments)
            made = prepared
            return task.id

        def run(state: State, caller: Caller) -> str:
            nonlocal made
            made = None
            return once(
                state,
                scope_of(caller, "skill"),
                idempotency,
                lambda: make(state, caller),
                name=lambda task_id: task_id,
                again=str,
                task_of=lambda task_id: task_id,
            )

        async def prepare() -> tuple[str, Prepared | None]:
            return await self._transactions.call("call_skill", bearer, Verb.DISPATCH_ATTEMPT, run), made

        return await self._dispatcher.run_prepared(prepare)
