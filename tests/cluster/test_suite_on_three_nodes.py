"""A part of the end-to-end tests against three nodes; `make test-nodes` runs all of them."""

import os
import re
import subprocess
import sys

import pytest

from tests.support.sources import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

FILES = (
    "http/test_polls.py",
    "http/test_events.py",
    "http/test_idempotency.py",
    "ws/test_ids.py",
    "ws/test_backend.py",
)
FEWEST = 40


def test_requests_are_spread_over_three_nodes() -> None:
    """Waits, streams, repeats and WebSockets are served whichever node they come to."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nodes", "3"]
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [*command, *(f"tests/e2e/{file}" for file in FILES)], cwd=ROOT, env=own, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= FEWEST
