"""A reader of an embedded archive's change feed: of both APIs in turn, or of one."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.reader import Reader


@pytest.fixture(params=["v1", "v2"])
async def reader(request: pytest.FixtureRequest) -> AsyncIterator[Reader]:
    reader = Reader(api=request.param)
    yield reader
    await reader.close()


@pytest.fixture
async def v1() -> AsyncIterator[Reader]:
    reader = Reader(api="v1")
    yield reader
    await reader.close()


@pytest.fixture
async def v2() -> AsyncIterator[Reader]:
    reader = Reader(api="v2")
    yield reader
    await reader.close()
