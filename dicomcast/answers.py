"""What an answer means for what to do next: the one place that tells status codes apart.

Free text of a server may hold patient data: of an OperationOutcome, codes and paths alone get through.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from dicomcast.errors import (
    Conflict,
    DicomCastError,
    NotFound,
    NotItself,
    Rejected,
    Retriable,
    Stumbled,
    Unauthorized,
)

__all__ = ["http_date", "issue_codes", "outcome_codes", "refusal", "retry_after"]

# A wait between two tries never exceeds this, whatever a peer asks for.
_LONGEST_WAIT = 300.0
# RFC 6749 §5.2 and those that extend it.
_ERROR = re.compile(r"[a-z]+(_[a-z]+)+")
# issue.code is a code, and issue.expression a path, before a function whose arguments may be values. What else
# servers put there may tell of a patient.
_CODE = re.compile(r"[a-z]+(-[a-z]+)*")
_PATH = re.compile(r"([A-Z]\w*(?:\[\d+\])?(?:\.[a-z]\w*(?:\[\d+\])?)+)(\.\w+\(.*)?", re.ASCII | re.DOTALL)


def refusal(
    status: int,
    said: str,
    *,
    peer: str,
    codes: tuple[str, ...] = (),
    after: float | None = None,
    advice: str = "",
) -> DicomCastError | None:
    """What a status code means for what to do next, None if all is well: the one place that tells them apart.

    `advice` is what the credentials have to say where they are refused.
    """
    match status:
        case status if 200 <= status < 300:
            return None
        case 401 | 403:
            advice = advice or f"check DICOMCAST_{peer.upper()}__AUTH, and the role that it has there"
            return Unauthorized(f"{said}: {advice}", peer=peer, status=status)
        case 404 | 410:
            return NotFound(said, reason="not-found", peer=peer, status=status, codes=codes)
        case 409 | 412:
            return Conflict(said, peer=peer, status=status, codes=codes)
        case 500:
            return Stumbled(said, peer=peer, status=status, codes=codes, retry_after=after)
        case 408 | 424 | 425 | 429 | 502 | 503 | 504:  # 424: the service cannot use the customer's key
            return Retriable(said, peer=peer, status=status, codes=codes, retry_after=after)
        case status if status < 400 or status in (405, 501):
            said = f"{said}, which is no answer: is the URL right, and what stands in between?"
            return NotItself(said, peer=peer, status=status)
        case _:
            return Rejected(said, reason="refused", peer=peer, status=status, codes=codes)


def retry_after(value: str, now: datetime | None) -> float | None:
    """Retry-After in seconds, which may be written as seconds or as a date by the peer's clock (RFC 9110 §10.2.3)."""
    if re.fullmatch(r"\s*[0-9]+\s*", value):
        return min(float(value), _LONGEST_WAIT)
    moment = http_date(value)
    if moment is None:
        return None
    return min(max(0.0, (moment - (now or datetime.now(UTC))).total_seconds()), _LONGEST_WAIT)


def http_date(value: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def issue_codes(content: bytes) -> tuple[str, ...]:
    """`issue.code` and `issue.expression` of an OperationOutcome, or the `error` of OAuth2, as an answer has it."""
    if b"OperationOutcome" not in content and b'"error"' not in content:
        return ()
    try:
        said = orjson.loads(content)
    except ValueError:
        return ()
    refused = said.get("error") if isinstance(said, dict) else None
    if isinstance(refused, str) and _ERROR.fullmatch(refused):
        return (refused,)
    return outcome_codes(said)


def outcome_codes(outcome: Any) -> tuple[str, ...]:
    """The same of one that is parsed; () of anything else."""
    if not isinstance(outcome, dict) or outcome.get("resourceType") != "OperationOutcome":
        return ()
    issues = outcome.get("issue")
    return tuple(filter(None, map(_issue_code, issues[:5] if isinstance(issues, list) else ())))


def _issue_code(issue: Any) -> str:
    if not isinstance(issue, dict):
        return ""
    code, where = issue.get("code"), issue.get("expression")
    paths = [_PATH.fullmatch(one) for one in (where if isinstance(where, list) else [where]) if isinstance(one, str)]
    said = [code if isinstance(code, str) and _CODE.fullmatch(code) else "", *(path[1] for path in paths if path)]
    return " ".join(filter(None, said))[:120]
