"""Maintenance: its loops run as long as the server."""

from dataclasses import replace
from datetime import timedelta

from app.bootstrap.maintenance import Maintenance
from app.config import RetentionSettings
from app.engine.engine import Engine
from tests.support.waiting import eventually


class FailingOnce(Maintenance):
    """Its first sweep fails as nothing of the engine does."""

    calls = 0

    async def sweep(self) -> int:
        """Fail, and sweep from the second time on."""
        self.calls += 1
        if self.calls == 1:
            raise ZeroDivisionError
        return await super().sweep()


async def test_an_unexpected_error_ends_no_loop() -> None:
    """The next run comes after the pause, and the stop raises nothing."""
    async with Engine.new() as engine:
        maintenance = FailingOnce(engine, replace(RetentionSettings(), interval=timedelta(milliseconds=1)))
        maintenance.start()
        await eventually(lambda: maintenance.calls >= 3)
        await maintenance.stop()
