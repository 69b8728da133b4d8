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
        self._timeout = timeout.total_seconds()
        self._budget = budget.total_seconds()
        self._stop = asyncio.Event()
        self._limiter = Limiter(concurrency)
        self._client = httpx.AsyncClient(
            base_url=base_url + "/",
            auth=auth,
            timeout=self._timeout,
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
        at_once: tuple[type[Retriable], ...] = (),
        resend: bool = True,
    ) -> Answer:
        """Ask until there is an answer or the budget (in seconds) is spent; errors `at_once` are not worth a retry.

        Whatever we send may be sent twice and does no harm; but a create that was done already would make
        a second version, so without `resend` nothing is sent again that may have been done.

        Raises:
            Retriable: the peer did not answer usably within the budget (`Conflict` and `NotItself` at once).
            Rejected: it refused this request (`NotFound`: does not have it).
            Unauthorized: it refused our credentials.
        """
        end = _now() + (self._budget if budget is None else budget)

        def again(error: BaseException) -> bool:
            useless = isinstance(error, (Conflict, NotItself, *at_once))
            return isinstance(error, Retriable) and not useless and (resend or not error.unsure)

        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(again),
            wait=_wait,
            # Before the wait, not after it: a wait that outlasts the budget is not worth starting.
            stop=lambda state: self._stop.is_set() or _now() + state.upcoming_sleep > end,
            sleep=self._again,
            reraise=True,
        )
        try:
            request = self._client.build_request(method, url, params=params, content=content, headers=headers)
        except httpx.InvalidURL:
            raise Rejected(f"{self.peer}: the address is not a URL", reason="bad-url", peer=self.peer) from None
        return await retrying(self._send, request, end)

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

    async def _send(self, request: httpx.Request, end: float) -> Answer:
        async with self._limiter.slot():
            await self._leave_alone(end)
            began = _now()
            self.requests += 1
            try:
                return self._translate(request, await self._exchange(request))
            except Retriable as error:
                if error.throttled:
                    self._limiter.throttled(began, error.retry_after or 0.0)
                raise

    async def _leave_alone(self, end: float) -> None:
        """Wait while the peer wants to be left alone by everybody; those that wait for a slot wait behind us."""
        while (pause := self._limiter.pause) and not self._stop.is_set():
            if _now() + pause > end:
                said = f"{self.peer} at {self.base_url} throttles: it is to be left alone for {pause:.0f} s more"
                raise Retriable(said, peer=self.peer, status=429, retry_after=pause)
            await self._sleep(pause)

    async def _exchange(self, request: httpx.Request) -> httpx.Response:
        try:
            # httpx's own time-outs are for each step, so that a peer which trickles would never reach one.
            async with asyncio.timeout(self._timeout):
                return await self._client.send(request)
        except (httpx.HTTPError, TimeoutError) as error:
            # The text of an httpx error may hold the URL; its class says all that is needed.
            said = f"{self.peer} at {self.base_url} does not answer ({type(error).__name__})"
            raise Retriable(said, peer=self.peer) from None

    def _translate(self, request: httpx.Request, response: httpx.Response) -> Answer:
        headers = {name.lower(): value for name, value in response.headers.items()}
        answer = Answer(response.status_code, headers, response.content, str(request.url))
        codes = () if response.is_success else issue_codes(response.content)
        said = f"{self.peer} answered {response.status_code} to {request.method} {request.url.path}"
        said += f" ({', '.join(codes)})" if codes else ""
        after = _retry_after(headers.get("retry-after", ""), answer.date)
        error = refusal(response.status_code, said, peer=self.peer, codes=codes, retry_after=after)
        if error is not None:
            raise error
        self._limiter.answered()
        return answer


def _now() -> float:
    return asyncio.get_running_loop().time()


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
        case 500:
            return Stumbled(said, peer=peer, status=status, codes=codes, retry_after=retry_after)
        case 408 | 424 | 425 | 429 | 502 | 503 | 504:  # 424: the service cannot use the customer's key
            return Retriable(said, peer=peer, status=status, codes=codes, retry_after=retry_after)
        case status if status < 400:
            said = f"{said}, which is no answer: is the URL right, and what stands in between?"
            return NotItself(said, peer=peer, status=status)
        case _:
            return Rejected(said, reason="refused", peer=peer, status=status, codes=codes)


def _wait(state: tenacity.RetryCallState) -> float:
    """What the peer asked for, or full jitter below 0.5, 1, 2 … 60 s, whichever is longer."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, Retriable) else None
    jitter = tenacity.wait_random_exponential(multiplier=0.5, max=60)(state)
    return max(asked or 0.0, jitter)


def _retry_after(value: str, now: datetime | None) -> float | None:
    """Retry-After in seconds, which may be written as seconds or as a date by the peer's clock (RFC 9110 §10.2.3)."""
    if re.fullmatch(r"\s*[0-9]+\s*", value):
        return min(float(value), _LONGEST_WAIT)
    moment = _http_date(value)
    if moment is None:
        return None
    return min(max(0.0, (moment - (now or datetime.now(UTC))).total_seconds()), _LONGEST_WAIT)


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
    except ValueError:
        return ()
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
    try:
        return json.loads(text, strict=False, parse_float=Decimal if exact else None)
    except (RecursionError, ArithmeticError) as error:
        raise ValueError("this JSON is too deep, or has a number beyond all bounds") from error


def dump_json(value: Any) -> bytes:
    """Write JSON; a Decimal as the digits it was read with."""
    try:
        return orjson.dumps(value, default=_decimal)
    except orjson.JSONEncodeError:
        return orjson.dumps(_spelt_out(value), default=_decimal)


def _decimal(value: Any) -> orjson.Fragment:
    if isinstance(value, Decimal):
        return orjson.Fragment(str(value))
    raise TypeError(type(value).__name__)


def _spelt_out(value: Any) -> Any:
    """What the fast writer refuses, as text: a lone surrogate by its escape, an integer of more than 64 bits."""
    match value:
        case dict():
            return {name: _spelt_out(one) for name, one in value.items()}
        case list():
            return [_spelt_out(one) for one in value]
        case str() | int():
            return orjson.Fragment(json.dumps(value))
        case _:
            return value
