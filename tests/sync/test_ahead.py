"""Reading ahead: the order stays, errors keep their place, and nothing is read on when nobody listens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from dicomcast.ahead import ahead


async def counted(read: list[int], count: int, error: Exception | None = None) -> AsyncIterator[int]:
    """Numbers, which are noted when they are read, and an error behind them."""
    for number in range(count):
        await asyncio.sleep(0)
        read.append(number)
        yield number
    if error is not None:
        raise error


@pytest.mark.parametrize("count", [0, 1, 5])
async def test_the_order_is_kept(count: int) -> None:
    """And each comes once, a 0 too."""
    assert [number async for number in ahead(counted([], count))] == list(range(count))


async def test_one_is_read_while_the_one_before_is_worked_on() -> None:
    """One and no more: what is read waits in memory."""
    read: list[int] = []
    async with aclosing(ahead(counted(read, 5))) as numbers:
        async for number in numbers:
            await asyncio.sleep(0.01)
            assert read == list(range(min(number + 2, 5)))


@pytest.mark.parametrize("count", [0, 1, 3])
async def test_an_error_is_raised_behind_the_item_before_it(count: int) -> None:
    """It is known while that is worked on, and does not take its turn away."""
    numbers = ahead(counted([], count, ValueError("the end")))
    for expected in range(count):
        assert await anext(numbers) == expected
        await asyncio.sleep(0.01)
    with pytest.raises(ValueError, match="the end"):
        await anext(numbers)


async def test_closing_early_cancels_what_is_being_read() -> None:
    """Nothing is left under way that would touch a connection which is closed next."""
    ended: list[str] = []

    async def slow() -> AsyncIterator[int]:
        yield 1
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async with aclosing(ahead(slow())) as numbers:
        assert await anext(numbers) == 1
        await asyncio.sleep(0.01)
    assert ended == ["cancelled"]


async def test_an_error_of_reading_that_nobody_waits_for_is_not_raised() -> None:
    """Who closes early has an error of its own, or wants no more."""
    async with aclosing(ahead(counted([], 1, ValueError("the end")))) as numbers:
        assert await anext(numbers) == 0
        await asyncio.sleep(0.01)
