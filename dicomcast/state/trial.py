"""Whether a state store can be written, found out by writing, and taking it back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

from dicomcast.errors import ConfigError, StateError
from dicomcast.state.store import StateStore

__all__ = ["try_out"]

# Of no archive, and so nobody's.
_FEED, _STUDY = "dicomcast check", "2.25.0"


async def try_out(url: str, opened: Callable[[str], StateStore]) -> None:
    """Write a row and take it out. Where there is no file yet, that is done to one beside it, which is removed.

    So a check by another user than the worker's leaves no file that the worker could not write.

    Raises:
        StateError, ConfigError: it cannot be written, or not be the store.
    """
    beside = _beside(url)
    store = opened(url + beside)
    try:
        await store.record(_FEED, {_STUDY: ""})
        await store.record(_FEED, {_STUDY: None})
    except (StateError, ConfigError) as error:
        raise type(error)(str(error).replace(beside, "") if beside else str(error)) from None
    finally:
        await store.close()
        if beside:
            _remove(url + beside)


def _beside(url: str) -> str:
    """What is put behind the address, so that it is another file; "" where there is a store already."""
    absent = url.startswith("sqlite:") and not Path(_path(url)).exists()
    return f".check-{uuid4().hex[:8]}" if absent else ""


def _remove(url: str) -> None:
    for part in ("", "-wal", "-shm"):
        Path(_path(url) + part).unlink(missing_ok=True)


def _path(url: str) -> str:
    return url.partition(":///")[2]
