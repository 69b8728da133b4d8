"""Credentials that an operator gave us: a password, a token, or a file whose token somebody else renews."""

from __future__ import annotations

import base64
import re

from dicomcast.auth.advice import Asked, advice, described
from dicomcast.errors import Unreachable

__all__ = ["Basic", "BearerFile", "BearerToken"]

# RFC 6750 §2.1, and what else servers put there: nothing that would not fit in a header.
_TOKEN = re.compile(r"[!-~]+")


class Basic:
    """User name and password (RFC 7617)."""

    def __init__(self, username: str, password: str) -> None:
        self._header = "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()

    async def header(self) -> str:
        """The same for ever."""
        return self._header

    async def renewed(self, refused: str) -> str:
        """There is no other."""
        return ""

    def advice(self, status: int) -> str:
        """Nothing but the usual."""
        return ""

    async def described(self) -> str:
        """What is sent, without telling it."""
        return "a user name and a password are sent"

    async def close(self) -> None:
        """There is nothing to close."""


class BearerToken:
    """A token that the operator gave us (RFC 6750)."""

    def __init__(self, token: str, asked: Asked) -> None:
        self._token = token
        self._asked = asked

    async def header(self) -> str:
        """The same for ever."""
        return f"Bearer {self._token}"

    async def renewed(self, refused: str) -> str:
        """There is no other."""
        return ""

    def advice(self, status: int) -> str:
        """What the token says of itself."""
        return advice(status, self._asked, self._token)

    async def described(self) -> str:
        """What the token says of itself."""
        await self.header()
        return described(self._token, self._asked)

    async def close(self) -> None:
        """There is nothing to close."""


class BearerFile(BearerToken):
    """A file that has the token alone, and that somebody else replaces in time: it is read anew for each request."""

    def __init__(self, path: str, asked: Asked) -> None:
        super().__init__("", asked)
        self._path = path

    async def header(self) -> str:
        """What is in the file now.

        Raises:
            Unreachable: no token is; whoever renews it may be about to.
        """
        self._token = self._read()
        return f"Bearer {self._token}"

    async def renewed(self, refused: str) -> str:
        """What is in the file by now, if that is another token."""
        header = await self.header()
        return "" if header == refused else header

    def _read(self) -> str:
        problem = "it is empty, or there is more in it than a token"
        try:
            with open(self._path, encoding="ascii") as file:
                token = file.read().strip()
            if _TOKEN.fullmatch(token):
                return token
        except OSError as error:
            problem = f"it cannot be read ({error.strerror})"
        except ValueError:
            pass
        said = f"no token for {self._asked.peer}: {problem} ({self._asked.setting}__TOKEN_FILE)"
        raise Unreachable(said, peer=self._asked.peer)
