"""What a connection needs of credentials, of whatever kind they are (`auth`)."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Credentials"]


class Credentials(Protocol):
    """What proves to a peer who we are: a header Authorization, which may have to be fetched, and renewed."""

    async def header(self) -> str:
        """The header for the next request.

        Raises:
            Unreachable: there is none at present, which passes.
            Unauthorized: whoever issues it refuses us.
        """

    async def renewed(self, refused: str) -> str:
        """Another header than one that was refused (401), "" if there is none; it raises the same."""

    def advice(self, status: int) -> str:
        """What to look at where they are refused (401, 403), "" if there is nothing particular."""

    async def described(self) -> str:
        """What can be said of them to an operator; it raises the same."""

    async def close(self) -> None:
        """Let go of what they need."""
