"""The official conformance program against a server: every check of its scenarios, but those that cannot pass."""

import os

import pytest

from tests.conformance.conftest import Run
from tests.conformance.expected import EXPECTED, QUICK, TASKS, Scenario

PASSED = frozenset({"SUCCESS", "INFO", "SKIPPED", "WARNING"})
in_full = pytest.mark.skipif(
    "SWARMHOLD_TEST_CONFORMANCE" not in os.environ,
    reason="the program's own deadlines need an idle machine: make conformance",
)


async def _check(run: Run, scenario: Scenario) -> None:
    """Check that what stands in the list fails, and nothing else."""
    checks = await run(*scenario)
    failed = {name: check.get("errorMessage") for name, check in checks.items() if check["status"] not in PASSED}
    assert failed.keys() == EXPECTED.get(scenario, {}).keys(), failed
    passed = [name for name, check in checks.items() if check["status"] == "SUCCESS"]
    assert passed or failed, "it checks nothing"


@pytest.mark.parametrize("scenario", QUICK, ids="-".join)
async def test_requests(run: Run, scenario: Scenario) -> None:
    """Discovery, lists, headers and what is unknown, by both revisions."""
    await _check(run, scenario)


@in_full
@pytest.mark.parametrize("scenario", TASKS, ids="-".join)
async def test_tasks(run: Run, scenario: Scenario) -> None:
    """Calls of published skills as tasks, from their creation to their results."""
    await _check(run, scenario)
