"""What an answer, or none, comes to: the type of the error, what it carries, and how long to wait."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import httpx
import pytest

from dicomcast.auth.advice import Asked
from dicomcast.auth.given import Basic, BearerToken
from dicomcast.errors import (
    Conflict,
    DicomCastError,
    NotFound,
    NotItself,
    Rejected,
    Retriable,
    Stumbled,
    Unauthorized,
    Unreachable,
)
from dicomcast.http import Http
from tests.answers import BASE, SECRET, peer, refused

# --- Status codes ---

STATUS = {
    300: NotItself,
    301: NotItself,
    302: NotItself,
    303: NotItself,
    304: NotItself,
    307: NotItself,
    308: NotItself,
    400: Rejected,
    401: Unauthorized,
    403: Unauthorized,
    404: NotFound,
    405: NotItself,
    406: Rejected,
    408: Retriable,
    409: Conflict,
    410: NotFound,
    412: Conflict,
    413: Rejected,
    415: Rejected,
    422: Rejected,
    424: Retriable,
    425: Retriable,
    428: Rejected,
    429: Retriable,
    500: Stumbled,
    501: NotItself,
    502: Retriable,
    503: Retriable,
    504: Retriable,
    505: Rejected,
    507: Rejected,
}


@pytest.mark.parametrize(("status", "kind"), STATUS.items(), ids=str)
async def test_a_status_is_an_error_of_one_type(status: int, kind: type[DicomCastError]) -> None:
    """The type says what to do, the message who answered what to which request."""
    error = await refused(lambda _: httpx.Response(status))
    assert type(error) is kind
    assert f"fhir answered {status} to POST /fhir/Patient/_search" in str(error)
    if isinstance(error, Retriable | Rejected):
        assert (error.peer, error.status, error.codes) == ("fhir", status, ())
    if isinstance(error, Retriable):
        assert error.throttled is (status in (429, 503))


@pytest.mark.parametrize("status", [200, 201, 202, 204, 206])
async def test_success_is_an_answer(status: int) -> None:
    """2xx comes back with its content, and its header names in lower case."""
    content = b"" if status == 204 else b"{}"
    async with peer(lambda _: httpx.Response(status, content=content, headers={"ETag": 'W/"7"'})) as http:
        answer = await http.request("GET", "Patient/1")
    assert (answer.status, answer.content, answer.headers["etag"]) == (status, content, 'W/"7"')
    assert (http.requests, http.retries) == (1, 0)


async def test_refused_credentials_name_the_setting_and_the_role() -> None:
    """401 and 403 say where to look; the exit code is that of credentials."""
    error = await refused(lambda _: httpx.Response(403))
    assert "FHIR__AUTH" in str(error) and "role" in str(error)
    assert error.exit_code == 77


async def test_not_found_and_refused_are_told_apart_by_reason() -> None:
    """The slug of a parked row comes from the error."""
    for status, reason in ((404, "not-found"), (410, "not-found"), (422, "refused"), (507, "refused")):
        error = await refused(lambda _, status=status: httpx.Response(status))
        assert isinstance(error, Rejected) and error.reason == reason


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("target", ["https://evil.test/", "/elsewhere", "http://[::1", "http://fhir.test:999999/", ""])
async def test_redirects_are_never_followed(status: int, target: str) -> None:
    """A token goes to the origin it was meant for, whatever a peer answers."""
    asked = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(status, headers={"Location": target})

    async with peer(handler, credentials=BearerToken("token", Asked("fhir", ""))) as http:
        with pytest.raises(Retriable):
            await http.request("GET", "metadata")
    assert asked == [f"{BASE}/metadata"]


async def test_credentials_are_sent() -> None:
    """A bearer token (RFC 6750) and basic credentials (RFC 7617) go into the Authorization header."""
    sent = []

    def handler(request: httpx.Request) -> httpx.Response:
        sent.append(request.headers["Authorization"])
        return httpx.Response(200)

    for auth in (BearerToken("abc.def", Asked("fhir", "")), Basic("user", "päss:word")):
        async with peer(handler, credentials=auth) as http:
            await http.request("GET", "metadata")
    assert sent == ["Bearer abc.def", "Basic dXNlcjpww6Rzczp3b3Jk"]


# --- No answer ---

FAILURES = [
    httpx.ConnectTimeout,
    httpx.ReadTimeout,
    httpx.WriteTimeout,
    httpx.PoolTimeout,
    httpx.ConnectError,
    httpx.ReadError,
    httpx.WriteError,
    httpx.CloseError,
    httpx.ProxyError,
    httpx.RemoteProtocolError,
    httpx.LocalProtocolError,
    httpx.UnsupportedProtocol,
    httpx.DecodingError,
]


# What fails before anything is sent cannot have been done.
UNSENT = {httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol}


@pytest.mark.parametrize("failure", FAILURES)
async def test_no_answer_is_retriable(failure: type[httpx.TransportError]) -> None:
    """Time-outs, resets and protocol errors are named by their class alone; their text may hold a URL."""

    def handler(request: httpx.Request) -> httpx.Response:
        raise failure(f"could not reach {SECRET}", request=request)

    error = await refused(handler, params={"identifier": SECRET})
    assert type(error) is (Unreachable if failure in UNSENT else Retriable)
    assert failure.__name__ in str(error) and BASE in str(error)
    assert error.unsure is (failure not in UNSENT)
    assert (error.peer, error.status, error.throttled) == ("fhir", None, False)
    assert SECRET not in str(error)


@asynccontextmanager
async def wire(respond: Callable[[asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[str]:
    """A server on loopback that reads a request and then does as it likes; yields its URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await respond(writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def truncate(writer: asyncio.StreamWriter) -> None:
    """Promise a hundred bytes and send eleven."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + b'{"resource"')


async def truncate_chunks(writer: asyncio.StreamWriter) -> None:
    """End in the middle of a chunk."""
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n" + b'{"resource"')


async def hang_up(writer: asyncio.StreamWriter) -> None:
    """Close without a word."""


async def reset(writer: asyncio.StreamWriter) -> None:
    """Send half of the head, then RST instead of FIN."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-")
    await writer.drain()
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def mumble(writer: asyncio.StreamWriter) -> None:
    """Speak another protocol."""
    writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")


async def pretend_gzip(writer: asyncio.StreamWriter) -> None:
    """Send what is not what it says."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope")


@pytest.mark.parametrize("respond", [truncate, truncate_chunks, hang_up, reset, mumble, pretend_gzip])
async def test_a_broken_exchange_is_retriable(respond: Callable[[asyncio.StreamWriter], Awaitable[None]]) -> None:
    """On real sockets: half an answer is no answer."""
    async with wire(respond) as url:
        http = Http("dicom", url, budget=timedelta(0))
        with pytest.raises(Retriable, match="dicom at .* does not answer") as caught:
            await http.request("GET", "v2/changefeed")
        await http.close()
    assert caught.value.peer == "dicom"


async def test_nobody_listens() -> None:
    """A refused connection is retriable, too."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        http = Http("dicom", f"http://127.0.0.1:{listener.getsockname()[1]}", budget=timedelta(0))
        with pytest.raises(Unreachable, match="nobody listens on that port .DICOMCAST_DICOM__URL."):
            await http.request("GET", "v2/changefeed/latest")
        await http.close()


@pytest.mark.parametrize("url", ["http://[::1", "http://fhir.test:port/", "x\x00y"])
async def test_a_link_that_is_no_url_is_refused(url: str) -> None:
    """A peer's `next` link may be anything; what cannot be asked is an error of ours, and not repeated."""
    async with peer(lambda _: httpx.Response(200)) as http:
        with pytest.raises(Rejected, match="fhir: the address is not a URL") as caught:
            await http.request("GET", url)
    assert caught.value.reason == "bad-url"
    assert http.requests == 0


# --- Retry-After ---

NOW = "Wed, 21 Oct 2026 07:28:00 GMT"  # by the clock of the peer
RETRY_AFTER: dict[str, float | None] = {
    "0": 0.0,
    "30": 30.0,
    " 7 ": 7.0,
    "86400": 300.0,
    "9" * 400: 300.0,
    "Wed, 21 Oct 2026 07:29:30 GMT": 90.0,
    "Wednesday, 21-Oct-26 07:29:30 GMT": 90.0,
    "Wed Oct 21 07:29:30 2026": 90.0,
    "Wed, 21 Oct 2026 09:29:30 +0200": 90.0,
    "Wed, 21 Oct 2026 07:29:30 -0000": 90.0,
    "Wed, 21 Oct 2026 07:28:00 GMT": 0.0,
    "Wed, 21 Oct 2015 07:28:00 GMT": 0.0,
    "Fri, 31 Dec 9999 23:59:59 -2359": 300.0,
    "": None,
    "-5": None,
    "1.5": None,
    "soon": None,
    "\u00b2": None,
    "7, 8": None,
    "0x10": None,
    "Wed, 21 Oct 99999 07:28:00 GMT": None,
    "Wed, 21 Oct 2026 07:28:00 +9999999999": None,
    "Wed, 99 Oct 2026 99:99:99 GMT": None,
}


@pytest.mark.parametrize(("value", "seconds"), RETRY_AFTER.items(), ids=[name[:30] for name in RETRY_AFTER])
@pytest.mark.parametrize("status", [429, 503, 500])
async def test_retry_after(status: int, value: str, seconds: float | None) -> None:
    """Seconds or a date (RFC 9110 §10.2.3), never longer than five minutes, and nothing where it makes no sense."""
    headers = [(b"Retry-After", value.encode("latin-1")), (b"Date", NOW.encode())]
    error = await refused(lambda _: httpx.Response(status, headers=headers))
    assert isinstance(error, Retriable)
    assert error.retry_after == seconds


async def test_retry_after_as_a_date_without_a_clock() -> None:
    """A peer that does not say what time it has is measured by ours."""
    late = await refused(lambda _: httpx.Response(503, headers={"Retry-After": "Wed, 21 Oct 2222 07:28:00 GMT"}))
    past = await refused(lambda _: httpx.Response(503, headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}))
    assert isinstance(late, Retriable) and late.retry_after == 300.0
    assert isinstance(past, Retriable) and past.retry_after == 0.0
