"""SIGTERM and Ctrl-C ask for an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator

import structlog

__all__ = ["stopping"]

_log = structlog.get_logger()


@contextlib.contextmanager
def stopping(stop: Callable[[], None]) -> Iterator[None]:
    """Have the signals call `stop` while the context lasts; a second one is as abrupt as ever."""
    loop = asyncio.get_running_loop()

    def once(number: signal.Signals) -> None:
        _log.info("worker.stopping", signal=number.name)
        loop.remove_signal_handler(number)
        stop()

    numbers = (signal.SIGTERM, signal.SIGINT)
    # No signals on this platform, or not in the main thread: Ctrl-C is a KeyboardInterrupt then.
    unsupported = contextlib.suppress(NotImplementedError, RuntimeError, ValueError)
    with unsupported:
        for number in numbers:
            loop.add_signal_handler(number, once, number)
    try:
        yield
    finally:
        with unsupported:
            for number in numbers:
                loop.remove_signal_handler(number)
