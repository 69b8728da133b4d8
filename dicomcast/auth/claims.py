"""What an access token says of itself, if it is a JWT (RFC 7519, RFC 9068): for people, never to trust it. Pure."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from typing import Any

__all__ = ["Claims", "claims_of"]


_SHOWN = re.compile(r"[!-~]{1,200}( [!-~]{1,200})*")


@dataclass(frozen=True, slots=True)
class Claims:
    """Whom a token is for, what it permits, and its times in seconds since 1970; None and () where it does not say."""

    audience: str = ""
    permits: tuple[str, ...] = ()
    issued: float | None = None
    begins: float | None = None
    ends: float | None = None

    @property
    def lifetime(self) -> float | None:
        """How long it is good for, by the clock of who issued it."""
        begun = self.issued if self.issued is not None else self.begins
        return self.ends - begun if self.ends is not None and begun is not None else None


def claims_of(token: str) -> Claims | None:
    """The claims of a token; None of one that only its server can read."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        said = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict):
        return None
    audiences = _texts(said.get("aud"))
    permits = [one for name in ("roles", "scp", "scope") for text in _texts(said.get(name)) for one in text.split()]
    return Claims(
        " ".join(audiences), tuple(permits), _time(said.get("iat")), _time(said.get("nbf")), _time(said.get("exp"))
    )


def _texts(value: Any) -> list[str]:
    """The texts that can be shown: one that a server made up may hold anything."""
    found = [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)]
    return [one for one in found if _SHOWN.fullmatch(one)]


def _time(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and abs(value) < 1e12 else None
