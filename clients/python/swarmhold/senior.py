"""Seniors: they answer questions, overrule verdicts, direct tasks and pause dispatching."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from swarmhold.calls import read
from swarmhold.models.enums import QuestionStatus
from swarmhold.models.questions import AnswerRequest, EscalateRequest, Question, QuestionClaimRequest
from swarmhold.models.shapes import JsonValue, Page, given
from swarmhold.models.tasks import DirectiveRequest, OverrideRequest, Task
from swarmhold.sessions import SessionCalls
from swarmhold.traces import TraceCalls
from swarmhold.transport import segment

if TYPE_CHECKING:
    from swarmhold.console import Console
    from swarmhold.models.links import AnswerLink
    from swarmhold.models.server import LoopState

_SENIOR = "/v1/senior"


class Senior(SessionCalls, TraceCalls):
    """A senior's session, from `attach_senior` of the client or, with a kept token, from its `senior`."""

    def console(self, bridge_id: str) -> Console:
        """Return a console, to be connected under `bridge_id`."""
        from swarmhold.console import Console  # a WebSocket client, which most seniors do without

        return Console(self._transport, bridge_id)

    async def questions(
        self,
        *,
        status: QuestionStatus | None = None,
        bridge_id: str | None = None,
        task_id: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[Question]:
        """Return one page of questions, oldest first. Long ones are previews: `cut` names what was left out."""
        return read(
            Page[Question],
            await self._transport.get(
                f"{_SENIOR}/questions",
                params={
                    "status": status,
                    "bridge_id": bridge_id,
                    "task_id": task_id,
                    "limit": limit,
                    "cursor": cursor,
                },
            ),
        )

    async def open_questions(self, *, bridge_id: str | None = None) -> list[Question]:
        """Return all questions that wait for an answer."""
        params = {"status": QuestionStatus.OPEN, "bridge_id": bridge_id}
        found = await self._all(f"{_SENIOR}/questions", Page[Question], params)
        return [await self.question(one.key) if one.cut else one for one in found]

    async def question(self, key: str) -> Question:
        """Return one question."""
        return read(Question, await self._transport.get(f"{_SENIOR}/questions/{segment(key)}"))

    async def decided(
        self, *, search: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> Page[Question]:
        """Return one page of questions that are no longer open, the newest decision first.

        A page of a search may be empty while its `next_cursor` is not: each looks at a limited number.
        """
        params = {"order": "decided", "q": search, "limit": limit, "cursor": cursor}
        return read(Page[Question], await self._transport.get(f"{_SENIOR}/questions", params=params))

    async def answer(self, key: str, value: JsonValue, *, comment: str | None = None) -> Question:
        """Answer a question. The first answer wins; a repetition is accepted, so the call is repeated as needed.

        A comment goes with it where the question's `comment` is true.

        Raises:
            ApiProblem: `already-answered`, `question-closed`, `answer-invalid` (the question is still open).
        """
        path = f"{_SENIOR}/questions/{segment(key)}/answer"
        body = AnswerRequest(value=value, **given(comment=comment))
        return read(Question, await self._transport.post(path, body, repeatable=True))

    async def claim(self, key: str, *, ttl: timedelta | None = None) -> Question:
        """Tell others that this senior is on the question, for 15 minutes unless `ttl` is given.

        It keeps nobody from answering. A claim of another is taken over, an own one renewed.
        """
        path = f"{_SENIOR}/questions/{segment(key)}/claim"
        body = QuestionClaimRequest(**given(ttl=None if ttl is None else ttl.total_seconds()))
        return read(Question, await self._transport.post(path, body, repeatable=True))

    async def release(self, key: str) -> Question:
        """End this senior's own claim; that of another stays."""
        return read(Question, await self._transport.delete(f"{_SENIOR}/questions/{segment(key)}/claim"))

    async def escalate(self, key: str, to: str) -> Question:
        """Hand the question over to the bridge `to` now."""
        path = f"{_SENIOR}/questions/{segment(key)}/escalate"
        return read(Question, await self._transport.post(path, EscalateRequest(to=to), repeatable=True))

    async def make_link(
        self,
        key: str,
        person: str,
        *,
        ttl: timedelta,
        allow: Sequence[JsonValue] | None = None,
        idempotency_key: str | None = None,
    ) -> AnswerLink:
        """Make a link by which a person answers the question without signing in; `person` is a key's id or name.

        It lives as long as `ttl`, 7 days at most, and takes the answers of `allow` alone if they are given.
        The holder of its URL answers as the person.
        """
        from swarmhold.models.links import AnswerLink, LinkRequest

        path = f"{_SENIOR}/questions/{segment(key)}/links"
        some = None if allow is None else list(allow)
        body = LinkRequest(person=person, ttl=ttl.total_seconds(), **given(allow=some))
        return read(AnswerLink, await self._transport.create(path, body, key=idempotency_key))

    async def revoke_link(self, key: str, link_id: str) -> None:
        """Revoke a link. Revoking it again changes nothing."""
        await self._transport.delete(f"{_SENIOR}/questions/{segment(key)}/links/{segment(link_id)}")

    async def override_verdict(self, task_id: str, *, ok: bool, value: JsonValue) -> Task:
        """Make the task pass or blocked, whatever its worker or an operator said."""
        path = f"{_SENIOR}/tasks/{segment(task_id)}/verdict"
        return read(Task, await self._transport.post(path, OverrideRequest(ok=ok, value=value)))

    async def inject_directive(self, task_id: str, prompt: str) -> None:
        """Set the prompt of the task's next attempt."""
        path = f"{_SENIOR}/tasks/{segment(task_id)}/directive"
        await self._transport.post(path, DirectiveRequest(prompt=prompt), repeatable=True)

    async def pause_loop(self) -> LoopState:
        """Pause dispatching: no new attempt starts until `resume_loop`."""
        await self._transport.post(f"{_SENIOR}/loop/pause", repeatable=True)
        return await self.loop()

    async def resume_loop(self) -> LoopState:
        """Resume dispatching."""
        await self._transport.post(f"{_SENIOR}/loop/resume", repeatable=True)
        return await self.loop()

    async def loop(self) -> LoopState:
        """Return whether dispatching is paused, by whom and since when."""
        from swarmhold.models.server import LoopState

        return read(LoopState, await self._transport.get(f"{_SENIOR}/loop"))
