"""Answer links: for a person who answers one question without signing in."""

from __future__ import annotations

from app.domain.access import Caller, Verb
from app.domain.answer_links import AnswerLink, new_secret, read_secret
from app.domain.handles import HandleMint
from app.domain.json import Json
from app.domain.questions import Question
from app.domain.tokens import CapToken
from app.engine.ops import links
from app.engine.ops.idempotency import Idempotency, once, scope_of
from app.engine.ops.links import LinkWish, Opened
from app.engine.ops.rules import EngineCfg
from app.engine.transactions import Transactions
from app.spawning.ports import LayerRegistry
from app.state.state import State


class AnswerLinks:
    """Calls about answer links. A `secret` is what a link has in its fragment."""

    def __init__(self, transactions: Transactions, *, layers: LayerRegistry, mint: HandleMint, cfg: EngineCfg) -> None:
        self._transactions = transactions
        self._layers = layers
        self._mint = mint
        self._cfg = cfg

    async def make(
        self, token: CapToken, key: str, wish: LinkWish, *, idempotency: Idempotency | None = None
    ) -> tuple[AnswerLink, str]:
        """Make a link to an open question; return it and its secret, which is shown this once.

        The same idempotency key returns the same link with a new secret. Raises what `ops.links.make` raises.
        """
        secret = new_secret()
        digest = self._mint.keyed_digest(secret)

        def run(state: State, caller: Caller) -> AnswerLink:
            return once(
                state,
                scope_of(caller, "link"),
                idempotency,
                lambda: links.make(state, self._cfg, caller, key, wish, digest),
                name=lambda made: made.id,
                again=lambda link_id: links.renew_secret(state, caller, link_id, digest),
                task_of=lambda made: made.task_id,
            )

        return await self._transactions.call("make_link", token, Verb.ANSWER_QUERY, run), secret

    async def revoke(self, token: CapToken, key: str, link_id: str) -> None:
        """Revoke a link. Idempotent. Raises ResumeKeyNotFound, LinkNotFound, RoleViolation."""
        await self._transactions.call(
            "revoke_link", token, Verb.ANSWER_QUERY, lambda s, c: links.revoke(s, c, key, link_id)
        )

    async def open(self, secret: str) -> Opened:
        """Return what a link shows. It may be read any number of times. Raises LinkNotFound."""
        digest = self._mint.keyed_digest(read_secret(secret))
        return await self._transactions.read(lambda state: links.find(state, digest))

    async def answer(self, secret: str, value: Json, *, address: str) -> Question:
        """Answer a link's question, which spends the link. Raises what `ops.links.answer_by` raises."""
        digest = self._mint.keyed_digest(read_secret(secret))
        return await self._transactions.run(
            "answer_by_link",
            lambda s: links.answer_by(s, self._layers, self._cfg, digest, value, address=address),
        )
