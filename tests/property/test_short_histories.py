"""Short random histories, which Hypothesis makes and can shrink.

`SWARMHOLD_TEST_SHRINK=1` has it look for the shortest history of a failure.
"""

import os

from hypothesis import HealthCheck, Phase, settings

from tests.property.histories import HISTORIES, Histories

SHRINK = bool(os.environ.get("SWARMHOLD_TEST_SHRINK"))

Histories.TestCase.settings = settings(
    max_examples=HISTORIES,
    stateful_step_count=50,
    deadline=None,
    # Shrinking a history takes minutes, so it is asked for; every failure is reported with what repeats it.
    phases=[phase for phase in Phase if SHRINK or phase is not Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    print_blob=True,
)

TestHistories = Histories.TestCase
