"""A small HTTP/1.1 server for a double: it counts what passes, and keeps its answers back for as long as it is told.

What lies below /control is the benchmark's own, is not counted and is answered at once.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import orjson

__all__ = ["Answer", "Double", "Traffic", "run"]

_CONTROL = "/control/"
_PHRASES = {
    200: "OK",
    201: "Created",
    204: "No Content",
    400: "Bad Request",
    404: "Not Found",
    412: "Precondition Failed",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """A status and a body; `headers` are whole lines."""

    body: bytes
    status: int = 200
    type: str = "application/json"
    headers: str = ""


class Double(Protocol):
    """What the server asks: an answer to a request, and what the benchmark wants."""

    def answer(self, method: str, path: str, query: str, body: bytes) -> Answer:
        """Answer a request."""

    def control(self, name: str, argument: Any) -> Any:
        """Do what the benchmark asks, and answer with JSON."""


@dataclass(slots=True)
class Traffic:
    """What came in and went out, heads and bodies, in bytes."""

    requests: int = 0
    received: int = 0
    sent: int = 0


class _Server:
    """What the connections share. Counting starts anew with `reset`, which the double hears of as well."""

    def __init__(self, double: Double) -> None:
        self.double = double
        self.traffic = Traffic()
        self.latency = 0.0

    def control(self, name: str, argument: Any) -> Any:
        match name:
            case "latency":
                self.latency = float(argument)
                return None
            case "traffic":
                return asdict(self.traffic)
            case "reset":
                self.traffic = Traffic()
        return self.double.control(name, argument)


class _Connection(asyncio.Protocol):
    """One connection, kept alive; a client sends its next request when it has its answer."""

    def __init__(self, server: _Server) -> None:
        self._server = server
        self._received = bytearray()
        self._head: bytes = b""
        self._missing = 0
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._head:
            end = self._received.find(b"\r\n\r\n")
            if end < 0:
                return
            self._head = bytes(self._received[:end])
            del self._received[: end + 4]
            self._missing = _content_length(self._head)
        if len(self._received) >= self._missing:
            head, body = self._head, bytes(self._received)
            self._head, self._received = b"", bytearray()
            self._respond(head, body)

    def _respond(self, head: bytes, body: bytes) -> None:
        server = self._server
        method, target, _ = head.partition(b"\r\n")[0].decode("ascii").split(" ")
        path, _, query = target.partition("?")
        if path.startswith(_CONTROL):
            result = server.control(path.removeprefix(_CONTROL), orjson.loads(body) if body else None)
            self._transport.write(_encoded(Answer(orjson.dumps(result))))
            return
        answer = _encoded(server.double.answer(method, path, query, body))
        server.traffic.requests += 1
        server.traffic.received += len(head) + 4 + len(body)
        server.traffic.sent += len(answer)
        if server.latency:
            asyncio.get_running_loop().call_later(server.latency, self._transport.write, answer)
        else:
            self._transport.write(answer)


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


def _encoded(answer: Answer) -> bytes:
    head = (
        f"HTTP/1.1 {answer.status} {_PHRASES.get(answer.status, 'Other')}\r\n{answer.headers}"
        f"Content-Type: {answer.type}\r\nContent-Length: {len(answer.body)}\r\n\r\n"
    )
    return head.encode() + answer.body


async def _serve(double: Double) -> None:
    """Tell the port on stdout, and serve until stdin ends: a double never outlives who started it."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    shared = _Server(double)
    listener = socket.create_server(("127.0.0.1", 0))
    server = await loop.create_server(lambda: _Connection(shared), sock=listener)
    print(listener.getsockname()[1], flush=True)
    loop.add_reader(sys.stdin, ended.set)
    await ended.wait()
    server.close()


def run(double: Double) -> None:
    """Be a server process."""
    asyncio.run(_serve(double))
