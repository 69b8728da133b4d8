"""HTTP to a peer: the only place that knows httpx, retries a request, and reads a status code.

What comes out is an answer that can be used, or an error whose type says what to do (`errors`).
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import orjson
import tenacity

from dicomcast.errors import Conflict, DicomCastError, NotFound, NotItself, Rejected, Retriable, Unauthorized
from dicomcast.limiter import Limiter

__all__ = ["Answer", "Http", "dump_json", "issue_codes", "parse_json", "refusal"]

# A wait between two tries never exceeds this, whatever a peer asks for.
_LONGEST_WAIT = 300.0
# issue.code is a code, and issue.expression a path, before a function whose arguments may be values. What else
# servers put there may tell of a patient.
_CODE = re.compile(r"[a-z]+(-[a-z]+)*")
_PATH = re.compile(r"([A-Z]\w*(?:\[\d+\])?(?:\.[a-z]\w*(?:\[\d+\])?)+)(\.\w+\(.*)?", re.ASCII | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Answer:
    """A usable answer: its status is 2xx, its header names are lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes
    url: str

    @property
    def date(self) -> datetime | None:
        """The peer's clock (RFC 9110 §6.6.1), to one second."""
        return _http_date(self.headers.get("date", ""))


class Http:
    """A peer: requests relative to `base_url`, retried within `budget`, for as long as nobody says `stop`."""

    def __init__(
        self,
        peer: str,
        base_url: str,
        *,
        auth: httpx.Auth | None = None,
        timeout: timedelta = timedelta(seconds=60),
        budget: timedelta = timedelta(minutes=2),
        concurrency: int = 8,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.peer = peer
        self.base_url = base_url
        self.requests = 0
        self.retries = 0
        self._budget = budget.total_seconds()
        self._stop = asyncio.Event()
        self._limiter = Limiter(concurrency)
        self._client = httpx.AsyncClient(
            base_url=base_url + "/",
            auth=auth,
            timeout=timeout.total_seconds(),
            transport=transport,
            headers={"User-Agent": "dicomcast"},
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    def give_up(self) -> None:
        """From now on a request is tried once: somebody wants us to stop."""
        self._stop.set()

    async def request(
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, str] | None = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        budget: float | None = None,
        resend: bool = True,
    ) -> Answer:
        """Ask until there is an answer or the budget (in seconds) is spent.

        Whatever we send may be sent twice and does no harm; but a create that was done already would make
        a second version, so without `resend` nothing is sent again that may have been done.

        Raises:
            Retriable: the peer did not answer usably within the budget (`Conflict` and `NotItself` at once).
            Rejected: it refused this request (`NotFound`: does not have it).
            Unauthorized: it refused our credentials.
        """
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(
                lambda e: (
                    isinstance(e, Retriable) and not isinstance(e, Conflict | NotItself) and (resend or not e.unsure)
                )
            ),
            wait=_wait,
            stop=self._spent(self._budget if budget is None else budget),
            sleep=self._again,
            reraise=True,
        )
        request = self._client.build_request(method, url, params=params, content=content, headers=headers)
        return await retrying(self._send, request)

    def _spent(self, budget: float) -> tenacity.stop.StopBaseT:
        # Before the wait, not after it: a wait that outlasts the budget is not worth starting.
        def spent(state: tenacity.RetryCallState) -> bool:
            passed = max(state.idle_for, state.seconds_since_start or 0.0)
            return self._stop.is_set() or passed + state.upcoming_sleep > budget

        return spent

    async def _again(self, seconds: float) -> None:
        self.retries += 1
        await self._sleep(seconds)

    async def _sleep(self, seconds: float) -> None:
        if not seconds:
            return
        try:
            await asyncio.wait_for(self._stop.wait(), seconds)
        except TimeoutError:
            return

    async def _send(self, request: httpx.Request) -> Answer:
        await self._sleep(self._limiter.pause)
        async with self._limiter.slot() as began:
            self.requests += 1
            try:
                return self._translate(request, await self._exchange(request))
            except Retriable as error:
                if error.throttled:
                    self._limiter.throttled(began, min(error.retry_after or 0.0, _LONGEST_WAIT))
                raise

    async def _exchange(self, request: httpx.Request) -> httpx.Response:
        try:
            return await self._client.send(request)
        except httpx.InvalidURL as error:
            raise Rejected(f"{self.peer}: the address is not a URL", reason="bad-url", peer=self.peer) from error
        except httpx.HTTPError as error:
            # The text of an httpx error may hold the URL; its class says all that is needed.
            said = f"{self.peer} at {self.base_url} does not answer ({type(error).__name__})"
            raise Retriable(said, peer=self.peer) from None

    def _translate(self, request: httpx.Request, response: httpx.Response) -> Answer:
        headers = {name.lower(): value for name, value in response.headers.items()}
        codes = issue_codes(response.content)
        said = f"{self.peer} answered {response.status_code} to {request.method} {request.url.path}"
        said += f" ({', '.join(codes)})" if codes else ""
        error = refusal(
            response.status_code,
            said,
            peer=self.peer,
            codes=codes,
            retry_after=_retry_after(headers.get("retry-after", "")),
        )
        if error is not None:
            raise error
        self._limiter.answered()
        return Answer(response.status_code, headers, response.content, str(request.url))


def refusal(
    status: int, said: str, *, peer: str, codes: tuple[str, ...] = (), retry_after: float | None = None
) -> DicomCastError | None:
    """What a status code means for what to do next, None if all is well: the one place that tells them apart."""
    match status:
        case status if 200 <= status < 300:
            return None
        case 401 | 403:
            return Unauthorized(f"{said}: check {peer.upper()}__AUTH, and the role that it has there")
        case 404 | 410:
            return NotFound(said, reason="not-found", peer=peer, status=status, codes=codes)
        case 409 | 412:
            return Conflict(said, peer=peer, status=status, codes=codes)
        case 408 | 425 | 429 | 500 | 502 | 503 | 504:
            return Retriable(said, peer=peer, status=status, codes=codes, retry_after=retry_after)
        case status if status < 400:
            said = f"{said}, which is no answer: is the URL right, and what stands in between?"
            return NotItself(said, peer=peer, status=status)
        case _:
            return Rejected(said, reason="refused", peer=peer, status=status, codes=codes)


def _wait(state: tenacity.RetryCallState) -> float:
    """What the peer asked for, or full jitter below 1, 2, 4 … 60 s, whichever is longer."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, Retriable) else None
    jitter = tenacity.wait_random_exponential(multiplier=0.5, max=60)(state)
    return min(max(asked or 0.0, jitter), _LONGEST_WAIT)


def _retry_after(value: str) -> float | None:
    """Retry-After in seconds, which may be written as seconds or as a date (RFC 9110 §10.2.3)."""
    if value.strip().isdigit():
        return float(value)
    moment = _http_date(value)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds()) if moment else None


def _http_date(value: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def issue_codes(content: bytes) -> tuple[str, ...]:
    """`issue.code` and `issue.expression` of an OperationOutcome; its free text may hold patient data."""
    if b"OperationOutcome" not in content:
        return ()
    try:
        outcome = orjson.loads(content)
        issues = outcome["issue"] if outcome["resourceType"] == "OperationOutcome" else []
        return tuple(filter(None, map(_issue, issues[:5])))
    except (ValueError, KeyError, TypeError, AttributeError):
        return ()


def _issue(issue: dict[str, Any]) -> str:
    code, paths = str(issue.get("code", "")), [_PATH.fullmatch(str(one)) for one in issue.get("expression", [])]
    said = [code if _CODE.fullmatch(code) else "", *(path[1] for path in paths if path)]
    return " ".join(filter(None, said))[:120]


def parse_json(content: bytes, *, exact: bool = False) -> Any:
    """Parse JSON; with `exact`, decimals keep their digits (FHIR R4 datatypes.html#decimal).

    What the fast parser refuses (NaN, raw control characters, lone surrogates, other encodings) is
    read tolerantly.

    Raises:
        ValueError: it is not JSON at all.
    """
    if not exact:
        try:
            return orjson.loads(content)
        except orjson.JSONDecodeError:
            pass
    text = content.decode("utf-8-sig", errors="replace")
    return json.loads(text, strict=False, parse_float=Decimal if exact else None)


def dump_json(value: Any) -> bytes:
    """Write JSON; a Decimal as the digits it was read with."""
    return orjson.dumps(value, default=_decimal)


def _decimal(value: Any) -> orjson.Fragment:
    if isinstance(value, Decimal):
        return orjson.Fragment(str(value))
    raise TypeError(type(value).__name__)
