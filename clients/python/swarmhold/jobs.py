"""Jobs: attempts that a queue worker has claimed."""

from __future__ import annotations

from swarmhold.models.workers import AnsweredQuestion, ClaimedJob
from swarmhold.worker import Worker


class Job:
    """A claimed attempt, and the worker that acts for it: outputs, questions, child tasks."""

    def __init__(self, claim: ClaimedJob, worker: Worker) -> None:
        self.claim = claim
        self.worker = worker

    def __repr__(self) -> str:
        return f"Job({self.task_id}, attempt {self.attempt})"

    @property
    def task_id(self) -> str:
        """The task's id."""
        return self.claim.task_id

    @property
    def attempt(self) -> int:
        """The attempt's number, from 1."""
        return self.claim.attempt

    @property
    def agent(self) -> str:
        """Which agent is to act."""
        return self.claim.agent

    @property
    def prompt(self) -> str:
        """The prompt of the attempt."""
        return self.claim.prompt

    @property
    def system(self) -> str | None:
        """The system prompt, if there is one."""
        return self.claim.system

    @property
    def answers(self) -> list[AnsweredQuestion]:
        """What seniors answered in the task's earlier attempts, oldest first."""
        return self.claim.answers
