"""What is under way, told as spans: the part that the core knows, which does nothing until somebody wants traces.

A span says how long something took and what came of it. No fact of one names a study, a patient or an address below a
server: counts, outcomes and reasons alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

__all__ = ["SILENT", "Facts", "Origin", "Span", "Spans"]

Facts = Mapping[str, str | int | bool]
# A span as seen from elsewhere; only who makes spans looks into it.
Origin = object


class Span(Protocol):
    """A span under way."""

    def note(self, facts: Facts) -> None:
        """Add what is known by now."""

    def failed(self, error: BaseException) -> None:
        """Say that nothing came of it: by the kind of error, never by its text."""


class Spans:
    """Makes no spans at all."""

    def span(
        self, name: str, facts: Facts, *, under: Origin | None = None, beside: Sequence[Origin | None] = ()
    ) -> AbstractContextManager[Span]:
        """A span for as long as the context lasts, below what is under way here, or `under` another; an error that
        leaves it has failed it. Those `beside` share it.
        """
        return _NOTHING

    def request(self, method: str, facts: Facts) -> AbstractContextManager[Span]:
        """A span of a request to a peer, if something else is under way: a poll that finds nothing is no story."""
        return _NOTHING

    @property
    def here(self) -> Origin | None:
        """What is under way here."""
        return None

    @property
    def headers(self) -> Mapping[str, str]:
        """What tells a peer of it (W3C Trace Context)."""
        return {}

    @property
    def ids(self) -> Mapping[str, str]:
        """What a line in the log says of it."""
        return {}


class _Nothing:
    def note(self, facts: Facts) -> None:
        """Nobody asked."""

    def failed(self, error: BaseException) -> None:
        """Nobody asked."""

    def __enter__(self) -> Span:
        return self

    def __exit__(self, *_: object) -> None:
        return None


_NOTHING = _Nothing()
SILENT = Spans()
