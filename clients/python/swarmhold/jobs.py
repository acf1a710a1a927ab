"""Jobs: attempts that a queue worker has claimed, and the renewal of their leases."""

from __future__ import annotations

from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

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
        """The answers of seniors in the task's earlier attempts, oldest first."""
        return self.claim.answers


_SHORTEST = timedelta(milliseconds=50)
_DATE_RESOLUTION = timedelta(seconds=2)
_NONE = timedelta(0)


def clock_skew(date_header: str | None, *, local_now: datetime) -> timedelta:
    """Return how far the server's clock is ahead of the local one, judged by the Date header of a fresh reply.

    The header counts whole seconds, so a difference of less than two counts as none.
    """
    if date_header is None:
        return _NONE
    try:
        skew = parsedate_to_datetime(date_header) - local_now
    except (ValueError, TypeError):  # no date, or one without its zone
        return _NONE
    return _NONE if abs(skew) < _DATE_RESOLUTION else skew


def renewal_pause(expires_at: datetime | None, *, server_now: datetime, longest: timedelta) -> timedelta:
    """Return a third of what is left of the lease, so that two renewals may fail; `longest` when there is no lease."""
    if expires_at is None:
        return longest
    return max(_SHORTEST, min(longest, (expires_at - server_now) / 3))
