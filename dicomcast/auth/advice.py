"""What is said where credentials are refused: whom the token is for, and which role is missing."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta

from dicomcast.auth.claims import Claims, claims_of
from dicomcast.durations import format_duration

__all__ = ["Asked", "advice", "described"]


@dataclass(frozen=True, slots=True)
class Asked:
    """What credentials are for: the peer, the role that it takes on Azure, and what a token is asked for.

    `on_azure` says that the role is what is missing, and nothing else can be.
    """

    peer: str
    role: str
    what: str = ""
    on_azure: bool = False

    @property
    def setting(self) -> str:
        """The group of settings, as it is written."""
        return f"DICOMCAST_{self.peer.upper()}__AUTH"


def advice(status: int, asked: Asked, token: str) -> str:
    """What to do about a 401 that a renewed token came to, or about a 403."""
    claims = claims_of(token)
    whose = [f"was asked for {asked.what}"] if asked.what else []
    whose += [f"is for {claims.audience}"] if claims and claims.audience else []
    about = f"the token {' and '.join(whose)}" if whose else "it is a token that tells nothing of itself"
    if status == 403:
        role = f"the role {asked.role}"
        missing = f"{role} is missing there" if asked.on_azure else f"{role} (on Azure) or a scope is missing"
        return f"{missing}; {about} ({asked.setting})"
    ended = _when(claims)
    clocks = f"; {ended}" if ended else ""
    if asked.what:
        clocks += "; if that is the server's audience, the clocks may differ"
    return f"the server does not accept it: {about}{clocks} ({asked.setting})"


def _when(claims: Claims | None) -> str:
    """What is odd about its times, by the clock here."""
    if claims is None:
        return ""
    now = time.time()
    if claims.ends is not None and claims.ends <= now:
        return f"by the clock here it ended {_ago(now - claims.ends)} ago"
    if claims.begins is not None and claims.begins > now + 1:
        return f"by the clock here it begins in {_ago(claims.begins - now)}"
    return ""


def described(token: str, asked: Asked) -> str:
    """What there is to say of a token that is in use."""
    claims = claims_of(token)
    said = [f"a token for {claims.audience}" if claims and claims.audience else "a token"]
    said += [f"permits {', '.join(claims.permits)}"] if claims and claims.permits else []
    if odd := _when(claims):
        said.append(odd)
    elif claims and claims.ends is not None:
        said.append(f"ends in {_ago(claims.ends - time.time())}")
    return ", ".join(said) + (f" (asked for {asked.what})" if asked.what else "")


def _ago(seconds: float) -> str:
    return format_duration(timedelta(seconds=round(seconds)))
