"""Long random histories, which seeds make.

`SWARMHOLD_TEST_STEPS` sets how long they are, `SWARMHOLD_TEST_SEED` where the seeds begin.
"""

import os
import random
from collections import Counter
from typing import Any

import pytest

from app.domain.questions import OnDeadline
from tests.property.histories import HISTORIES, SESSIONS, Histories

STEPS = int(os.environ.get("SWARMHOLD_TEST_STEPS", "200"))
SEED = int(os.environ.get("SWARMHOLD_TEST_SEED", "0"))


class Chance:
    """Arguments for the rules by a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def pick(self) -> int:
        """A number to pick by, as `PICK` generates."""
        return self._random.randrange(10**6)

    def flag(self) -> bool:
        """True or false, one as often as the other."""
        return self._random.random() < 0.5

    def one(self, *choices: Any) -> Any:
        """One of the choices."""
        return self._random.choice(choices)

    def seconds(self) -> int:
        """A time to pass, mostly short."""
        if self._random.random() < 0.8:
            return self.one(0, 1, 3, 5, 9)
        return self.one(10, 30, 61, 600, 1801, 8 * 86_400, -2, -700)

    def value(self) -> Any:
        """A value to answer or to end with."""
        return self.one(None, True, "a", "b", {"uphold": True}, [1, {"x": 2.5}])


def _step(history: Histories, chance: Chance) -> None:
    """One rule that is possible now, the common ones more often."""
    pick, flag, value = chance.pick, chance.flag, chance.value
    every = ("blocked", "timeout", "lost")
    retried = (None, every, every, every, ("blocked", "lost"), ("timeout",))
    rules: list[tuple[int, Any]] = [
        (3, lambda: history.start(pick(), chance.one(*retried), chance.one(None, None, 20, 700))),
        (5, history.claim),
        (3, lambda: history.pass_time(chance.seconds())),
        (1, lambda: history.die(chance.one(0, 1, 2, 3))),
        (4 if history.model.paused else 1, lambda: history.switch(paused=chance.one(True, False, False))),
        (1, lambda: history.revoke(chance.one(*range(6))) if len(history.model.revoked) < SESSIONS - 1 else None),
    ]
    if history.model.tasks:
        rules += [
            (4, lambda: history.dispatch_external(pick(), chance.one(None, 5, 60), flag())),
            (6, lambda: history.dispatch_to_queue(pick(), chance.one(0, 1), flag())),
            (6, lambda: history.ask(pick(), flag(), chance.one(*OnDeadline), chance.one(2, 40, 3600), value())),
            (1, lambda: history.cancel(pick())),
            (1, lambda: history.judge(pick(), flag(), flag(), value(), flag())),
            (1, lambda: history.post(pick(), value())),
            (1, lambda: history.mint(pick())),
            (1, lambda: history.inject(pick(), chance.one("d", "e", "f"))),
        ]
    if history.workers:
        rules += [
            (7, lambda: history.submit(pick(), value(), chance.one(True, False, False))),
            (2, lambda: history.emit(pick())),
            (2, lambda: history.beat(pick())),
            (4, lambda: history.start_child(pick())),
            (5, lambda: history.dispatch_child(pick(), pick())),
            (1, lambda: history.cancel_by_worker(pick(), pick())),
            (3, lambda: history.look(pick(), pick())),
            (2, lambda: history.fetch(pick())),
            (1, lambda: history.adopt(pick(), chance.one(0, 1), flag())),
        ]
    if any(task.questions for task in history.model.tasks):
        rules.append((8, lambda: history.answer(pick(), value())))
    chance.one(*(step for weight, step in rules for _ in range(weight)))()


@pytest.mark.slow
@pytest.mark.timeout(60 + 5 * HISTORIES)
def test_long_histories() -> None:
    """Seeded histories in which most things that can happen do; each failure names its seed."""
    counts: Counter[str] = Counter()
    for seed in range(SEED, SEED + HISTORIES):
        history, chance = Histories(), Chance(seed)
        try:
            history.begin()
            for _ in range(STEPS):
                _step(history, chance)
                history.everything_is_as_the_model_says()
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
        finally:
            history.teardown()
        counts += history.counts
    missing = {
        "done", "InvalidTransition", "LoopPaused", "AlreadyAnswered", "QuestionClosed", "AttemptSuperseded",
        "Cancelled", "TokenRevoked", "TokenTaskMismatch", "LateResultNotFound", "SpawnDepthExceeded", "submit None",
        "submit FinalConflict", "submit AttemptSuperseded", "submit Cancelled", "submit TokenRevoked",
    } - set(counts)  # fmt: skip
    assert HISTORIES < 40 or not missing, counts
