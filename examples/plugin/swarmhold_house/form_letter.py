"""A spawner whose worker fills in a form letter."""

from __future__ import annotations

from typing import Any

from app.domain.attempts import Phase
from app.domain.errors import DispatchFailed
from app.domain.json import Json
from app.domain.outputs import Final
from app.spawning.ports import Control, Exit, Job, SpawnFailed, Worker
from app.spawning.workers import FinishedWorker


class FormLetterSpawner:
    """`{kind: form_letter, text}`; `{prompt}` and `{agent}` are filled in."""

    kind = "form_letter"
    first_phase = Phase.SPAWNING
    outlives_server = False
    leased = False

    def __init__(self, text: str) -> None:
        self.text = text

    @property
    def spec(self) -> dict[str, Any]:
        """What is recorded with the attempt: enough to build this spawner again."""
        return {"kind": self.kind, "text": self.text}

    async def spawn(self, job: Job, control: Control) -> Worker:
        """Fill the letter in; the worker is done at once."""
        letter = self.text.replace("{agent}", job.agent).replace("{prompt}", job.prompt)
        return FinishedWorker(Exit(final=Final(value=Json.of(letter), ok=True)))

    async def rejoin(self, job: Job, control: Control) -> Worker:
        """A worker that dies with the server cannot be watched by the next one."""
        raise SpawnFailed("the letter was lost with the server that wrote it")

    async def reap(self, job: Job, grace_s: float) -> None:
        """Nothing is left of it."""


def build(spec: dict[str, Any]) -> FormLetterSpawner:
    """From the request's spec. Raises DispatchFailed for what the requester got wrong."""
    text = spec.get("text")
    if not isinstance(text, str):
        raise DispatchFailed("spawner 'form_letter' needs 'text', a text")
    return FormLetterSpawner(text)
