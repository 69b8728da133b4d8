"""What the tests of a worker's life share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, tzinfo

import pytest

from tests.virtual import VirtualHarness


@pytest.fixture
async def harness(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[VirtualHarness]:
    """A harness in whose time the scheduler lives too."""
    harness = VirtualHarness()

    class VirtualDatetime(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return harness.now.astimezone(tz)

    for module in ("schedulers.base", "triggers.interval"):
        monkeypatch.setattr(f"apscheduler.{module}.datetime", VirtualDatetime)
    yield harness
    await harness.close()


@pytest.fixture
async def study(harness: VirtualHarness) -> None:
    """A study in the archive."""
    for number in (1, 2, 3):
        harness.put("1.2", "1.2.1", f"1.2.1.{number}")
