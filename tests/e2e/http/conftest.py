"""Every store under the same routes."""

import pytest


@pytest.fixture(params=["sqlite", "postgres"])
def store_url(request: pytest.FixtureRequest) -> str:
    """Where an empty store is."""
    return ":memory:" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
