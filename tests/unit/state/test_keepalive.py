from datetime import timedelta

import pytest

from app.state.postgres.keepalive import MIN_TIMEOUT, Keepalive


@pytest.mark.parametrize("seconds", [6, 7, 30, 45, 3600])
def test_both_ends_give_up_within_the_limit(seconds: int) -> None:
    """Idle time and probes end within the limit, and no part is zero, which would mean two hours."""
    options = Keepalive(timedelta(seconds=seconds)).options()
    assert min(options.values()) >= 1
    spent = options["keepalives_idle"] + options["keepalives_interval"] * options["keepalives_count"]
    assert seconds * 0.7 <= spent <= seconds
    assert options["tcp_user_timeout"] == seconds * 1000


def test_postgres_is_told_the_same() -> None:
    """The settings of the session are those of this end."""
    silence = Keepalive(MIN_TIMEOUT)
    assert silence.statements() == (
        "SET tcp_keepalives_idle = 3; SET tcp_keepalives_interval = 1; SET tcp_keepalives_count = 3; "
        "SET tcp_user_timeout = 6000"
    )
    assert silence.options()["keepalives_idle"] == 3
