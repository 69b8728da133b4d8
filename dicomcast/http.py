"""HTTP to a peer: the only place that knows httpx and retries a request.

What comes out is an answer that can be used, or an error whose type says what to do (`errors`, `answers`).
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

import httpx
import tenacity

from dicomcast.answers import http_date, issue_codes, refusal, retry_after
from dicomcast.credentials import Credentials
from dicomcast.errors import Conflict, DicomCastError, LeaseLost, NotItself, Rejected, Retriable, Stumbled, Unreachable
from dicomcast.json_text import dump_json, parse_json
from dicomcast.limiter import Limiter
from dicomcast.obstacles import obstacle, refused_at, supposed, told_by_proxy
from dicomcast.spans import SILENT, Facts, Spans
from dicomcast.standing import Standing
from dicomcast.tls import Files, introduce, trusting

__all__ = ["Answer", "Http", "Receive", "dump_json", "parse_json", "tls_context", "wait_before_retry"]

# Nothing was sent when these happened.
_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)
# Somebody hung up. Many servers do so without a word where TLS is amiss.
_CUT = (httpx.ReadError, httpx.RemoteProtocolError)
_PUBLIC = Files()
# A body that is received in pieces has the time-out for each so many bytes: as a whole it may be of any size.
_MEBIBYTE, _PIECE = 2**20, 2**16

# Begins to receive a body, and gives what takes its pieces: each time that the request is sent.
Receive = Callable[[], Callable[[bytes], object]]


@dataclass(frozen=True, slots=True)
class Answer:
    """A usable answer: its status is 2xx, its header names are lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def date(self) -> datetime | None:
        """The peer's clock (RFC 9110 §6.6.1), to one second."""
        return http_date(self.headers.get("date", ""))


class Http:
    """A peer: requests relative to `base_url`, retried within `budget`, for as long as nobody says `stop`.

    The budget is the outage's and not each request's: a peer that has been away for that long is asked once.
    `trouble` says why it gives no usable answers at present, "" while it does; `standing` what it is to us, since when.
    `settings` is how the names of its settings begin, by default with the peer's. `seconds` is how long its answers
    took.
    """

    def __init__(
        self,
        peer: str,
        base_url: str,
        *,
        credentials: Credentials | None = None,
        settings: str = "",
        tls: Files = _PUBLIC,
        timeout: timedelta = timedelta(seconds=60),
        budget: timedelta = timedelta(minutes=2),
        concurrency: int = 8,
        transport: httpx.AsyncBaseTransport | None = None,
        spans: Spans = SILENT,
    ) -> None:
        self.peer = peer
        self.spans = spans
        self.base_url = base_url
        self.credentials = credentials
        self.requests = 0
        self.retries = 0
        self.seconds = 0.0
        self.trouble = ""
        self.standing = Standing()
        self._away_since = 0.0
        self._met = False
        self._settings = settings or f"{peer.upper()}__"
        self._tls = tls
        self._timeout = timeout.total_seconds()
        self._budget = budget.total_seconds()
        self._stop = asyncio.Event()
        self._limiter = Limiter(concurrency)
        self._client = httpx.AsyncClient(
            base_url=base_url + "/",
            verify=tls_context(tls) if transport is None else True,
            timeout=self._timeout,
            transport=transport,
            headers={"User-Agent": "dicomcast"},
        )
        url = self._client.base_url
        # A span tells the server and not the address, in which there are UIDs.
        self._server: Facts = {"dicomcast.peer": peer, "server.address": url.host, "server.port": _port(url)}

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()
        if self.credentials is not None:
            await self.credentials.close()

    def give_up(self) -> None:
        """From now on a request is tried once: somebody wants us to stop."""
        self._stop.set()

    def is_ours(self, url: str) -> bool:
        """Whether an address is relative, or on this peer's scheme, host and port: our credentials go there alone."""
        here = self._client.base_url
        try:
            there = here.join(url)
        except httpx.InvalidURL:
            return False
        return (there.scheme, there.host, there.port) == (here.scheme, here.host, here.port)

    async def request(
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, str] | None = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        shown: str = "",
        budget: float | None = None,
        at_once: tuple[type[Retriable], ...] = (),
        resend: bool = True,
        fence: Callable[[], object] | None = None,
        receive: Receive | None = None,
    ) -> Answer:
        """Ask until there is an answer or the budget (in seconds) is spent; errors `at_once` are not worth a retry.

        Whatever we send may be sent twice and does no harm; but a create that was done already would make
        a second version, so without `resend` nothing is sent again that may have been done. `fence` is called
        before each sending, and raises where it may not happen. `shown` is what errors call the address, where
        it may tell of a patient. With `receive` the body of a 200 is not in the answer, but was received.

        Raises:
            Retriable: the peer did not answer usably within the budget (`Conflict` and `NotItself` at once).
            Rejected: it refused this request (`NotFound`: does not have it).
            Unauthorized: it refused our credentials.
        """
        end = (self._away_since if self.trouble else _now()) + (self._budget if budget is None else budget)

        def again(error: BaseException) -> bool:
            useless = isinstance(error, (Conflict, NotItself, *at_once))
            return isinstance(error, Retriable) and not useless and (resend or not error.unsure)

        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(again),
            wait=wait_before_retry,
            # Before the wait, not after it: a wait that outlasts the budget is not worth starting.
            stop=lambda state: self._stop.is_set() or _now() + state.upcoming_sleep > end,
            sleep=self._again,
            reraise=True,
        )
        try:
            request = self._client.build_request(method, url, params=params, content=content, headers=headers)
        except httpx.InvalidURL:
            raise Rejected(f"{self.peer}: the address is not a URL", reason="bad-url", peer=self.peer) from None
        if not self.is_ours(url):
            said = f"{self.peer}: the address is on another host, which must not get our credentials"
            raise Rejected(said, reason="foreign-link", peer=self.peer)
        return await retrying(self._send, request, end, shown or request.url.path, fence, receive)

    async def rest(self, seconds: float) -> None:
        """Wait before something is tried again, but no longer than the budget, or than somebody wants us to stop."""
        await self._sleep(min(seconds, self._budget))

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

    async def _send(
        self,
        request: httpx.Request,
        end: float,
        shown: str,
        fence: Callable[[], object] | None,
        receive: Receive | None,
    ) -> Answer:
        async with self._limiter.slot():
            await self._leave_alone(end)
            began = _now()
            try:
                with self.spans.request(request.method, self._server) as span:
                    request.headers.update(self.spans.headers)
                    answer = self._translate(
                        *await self._authorized(request, fence, receive), f"{request.method} {shown}"
                    )
                    span.note({"http.response.status_code": answer.status})
            except LeaseLost:
                raise
            except DicomCastError as error:
                self._note(error, began)
                raise
            self.trouble = ""
            self.standing.note(None)
            return answer

    def _note(self, error: DicomCastError, began: float) -> None:
        """Keep an eye on whether the peer is there at all; a refusal is an answer, and one study may stumble."""
        self.standing.note(error)
        if isinstance(error, Retriable) and error.throttled:
            self._limiter.throttled(began, error.retry_after or 0.0)
        if not isinstance(error, Retriable) or isinstance(error, Conflict):
            self.trouble = ""
        elif not isinstance(error, Stumbled):
            self._away_since = self._away_since if self.trouble else began
            self.trouble = str(error)

    async def _leave_alone(self, end: float) -> None:
        """Wait while the peer wants to be left alone by everybody; those that wait for a slot wait behind us."""
        while (pause := self._limiter.pause) and not self._stop.is_set():
            if _now() + pause > end:
                said = f"{self.peer} at {self.base_url} throttles: it is to be left alone for {pause:.0f} s more"
                raise Retriable(said, peer=self.peer, status=429, retry_after=pause)
            await self._sleep(pause)

    async def _authorized(
        self, request: httpx.Request, fence: Callable[[], object] | None, receive: Receive | None
    ) -> tuple[httpx.Response, bytes]:
        """Send it with our credentials; where these are refused, which did nothing, once more with renewed ones."""
        if self.credentials is None:
            return await self._exchange(request, fence, receive)
        request.headers["Authorization"] = header = await self.credentials.header()
        response, content = await self._exchange(request, fence, receive)
        if response.status_code == 401 and (renewed := await self.credentials.renewed(header)):
            request.headers["Authorization"] = renewed
            response, content = await self._exchange(request, fence, receive)
        return response, content

    async def _exchange(
        self, request: httpx.Request, fence: Callable[[], object] | None, receive: Receive | None
    ) -> tuple[httpx.Response, bytes]:
        """The response and its body, b"" if that was received in pieces."""
        if fence is not None:
            fence()
        self.requests += 1
        began = _now()
        try:
            # httpx's own time-outs are for each step, so that a peer which trickles would never reach one.
            async with asyncio.timeout(self._timeout) as limit:
                response = await self._client.send(request, stream=True)
                try:
                    if receive is None or response.status_code != 200:
                        return response, await response.aread()
                    await self._receive(response, receive(), limit)
                    return response, b""
                finally:
                    await response.aclose()
        except (httpx.HTTPError, ssl.SSLError, TimeoutError) as error:  # httpx lets some of TLS's own errors through
            if isinstance(error, _UNSENT) or refused_at(error):
                why = obstacle(error, self._settings, self._tls)
                said = f"{self.peer} at {self.base_url} cannot be reached: {why}"
                raise Unreachable(said, peer=self.peer) from None
            # The text of an httpx error may hold the URL; its class says all that is needed.
            said = f"{self.peer} at {self.base_url} does not answer ({type(error).__name__})"
            if isinstance(error, _CUT) and not self._met:
                said += supposed(self._settings, self.base_url, self._tls)
            raise Retriable(said, peer=self.peer) from None
        finally:
            self.seconds += _now() - began

    async def _receive(self, response: httpx.Response, take: Callable[[bytes], object], limit: asyncio.Timeout) -> None:
        received = 0
        async for piece in response.aiter_bytes(_PIECE):
            take(piece)
            received += len(piece)
            if received >= _MEBIBYTE:
                received = 0
                limit.reschedule(_now() + self._timeout)

    def _translate(self, response: httpx.Response, content: bytes, shown: str) -> Answer:
        self._met = True
        headers = {name.lower(): value for name, value in response.headers.items()}
        answer = Answer(response.status_code, headers, content)
        codes = () if response.is_success else issue_codes(content)
        said = f"{self.peer} answered {response.status_code} to {shown}"
        said += f" ({', '.join(codes)})" if codes else ""
        said += told_by_proxy(content, self._settings) if response.status_code == 400 else ""
        after = retry_after(headers.get("retry-after", ""), answer.date)
        advice = ""
        if response.status_code in (401, 403) and self.credentials is not None:
            advice = self.credentials.advice(response.status_code)
        error = refusal(response.status_code, said, peer=self.peer, codes=codes, after=after, advice=advice)
        if error is not None:
            raise error
        self._limiter.answered()
        return answer


def _port(url: httpx.URL) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


def _now() -> float:
    return asyncio.get_running_loop().time()


def wait_before_retry(state: tenacity.RetryCallState) -> float:
    """What the peer asked for, or full jitter below 0.5, 1, 2 … 60 s, whichever is longer."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, Retriable) else None
    jitter = tenacity.wait_random_exponential(multiplier=0.5, max=60)(state)
    return max(asked or 0.0, jitter)


@lru_cache(maxsize=1)
def _trusting_public_cas(*_where: str | None) -> ssl.SSLContext:
    """One context for both peers: to load the public CAs takes longer than to ask a feed that has nothing new."""
    return httpx.create_ssl_context()


def tls_context(tls: Files) -> ssl.SSLContext:
    """How a server's certificate is verified, which it always is, and with what we prove who we are."""
    if tls == _PUBLIC:
        return _trusting_public_cas(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))
    context = trusting(tls.ca) if tls.ca else httpx.create_ssl_context()
    if tls.certificate:
        introduce(context, tls.certificate, tls.key)
    return context
