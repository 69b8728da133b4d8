"""The optional packages: what is missing is told by the extra that brings it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dicomcast.errors import ConfigError

__all__ = ["extra"]


@contextmanager
def extra(name: str, who: str) -> Iterator[None]:
    """Around the imports that an extra brings.

    Raises:
        ConfigError: `who` needs packages that are not installed.
    """
    try:
        yield
    except ImportError as error:
        raise ConfigError(f"{who} needs more packages ({error.name}): pip install '.[{name}]' in a clone") from None
