"""What networks, proxies and busy servers do to requests: an ASGI application in front of another."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx
import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Fault", "Faults", "Gate", "answer", "outcome", "refuse"]

# A gate opens by itself when the test that should have opened it has failed.
_LONGEST = 60.0


@dataclass(slots=True)
class Gate:
    """Holds a request until the test lets it go on, so that something can happen in the middle of it."""

    arrived: threading.Event = field(default_factory=threading.Event)
    opened: threading.Event = field(default_factory=threading.Event)

    async def passed(self) -> None:
        """Come to the gate, and wait in front of it."""
        self.arrived.set()
        await asyncio.to_thread(self.opened.wait, _LONGEST)


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to a request: it waits, then it is answered in the application's place, lost, or passed on.

    A lost `request` never reaches the application; of a lost `response` everything was done but the answer. In
    front of a `gate` a request waits before it reaches the application, behind `late` its answer waits.
    """

    status: int = 0
    body: bytes = b""
    headers: Sequence[tuple[str, str]] = ()
    delay: float = 0.0
    gate: Gate | None = None
    late: Gate | None = None
    lose: Literal["", "request", "response"] = ""


def answer(body: Any, *, status: int = 200, kind: str = "application/json") -> Fault:
    """Answer this: bytes as they are, anything else as JSON."""
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    return Fault(status, content, (("content-type", kind),))


def refuse(status: int, *, retry_after: str = "", body: bytes = b"") -> Fault:
    """Answer with an error, and perhaps with when to come again."""
    headers = [("content-type", "application/fhir+json"), *([("retry-after", retry_after)] if retry_after else [])]
    return Fault(status, body, headers)


def outcome(code: str, *, text: str = "", expression: str = "") -> bytes:
    """An OperationOutcome with one issue; servers put whatever they like into `text`."""
    texts = {"diagnostics": text, "details": {"text": text}} if text else {}
    issue = {"severity": "error", "code": code, **texts, **({"expression": [expression]} if expression else {})}
    return orjson.dumps({"resourceType": "OperationOutcome", "issue": [issue]})


@dataclass(frozen=True, slots=True)
class _Which:
    """Which requests are meant."""

    pattern: re.Pattern[str]
    having: bytes

    def meets(self, request: str, body: bytes) -> bool:
        return bool(self.pattern.search(request)) and self.having in body


class Faults:
    """An application whose requests can be made to go wrong, each by a script of its own.

    `on` is a pattern that is searched for in "METHOD /path?query", `having` a text that the body must have.
    `requests` lists the former of all requests, and `callers` the credentials that came with them.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._lock = threading.Lock()
        self._scripts: list[tuple[_Which, list[Fault]]] = []
        self._standing: list[tuple[_Which, Fault]] = []
        self.requests: list[str] = []
        self.callers: list[str] = []

    def script(self, *faults: Fault, on: str = "", having: str = "") -> None:
        """Let the next of these requests meet the first fault, the one after it the second, and so on."""
        with self._lock:
            self._scripts.append((_Which(re.compile(on), having.encode()), list(faults)))

    def always(self, fault: Fault, on: str = "", having: str = "") -> None:
        """Let all of these requests meet it, until `heal`."""
        with self._lock:
            self._standing.append((_Which(re.compile(on), having.encode()), fault))

    def heal(self) -> None:
        """From now on nothing goes wrong."""
        with self._lock:
            self._scripts.clear()
            self._standing.clear()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        connection = receive
        body = await _body(receive)  # whoever hangs up later, the request came through
        fault, receive = self._fault(scope, body), _Read(body, receive)
        await asyncio.sleep(fault.delay)
        if fault.gate is not None:
            await fault.gate.passed()
        if fault.status:
            await _answer(fault, send)
        elif fault.lose:
            if fault.lose == "response":
                await self.app(scope, receive, _nowhere)
            await _cut(connection)
        elif fault.late is not None:
            await self.app(scope, receive, _Late(send, fault.late))
        else:
            await self.app(scope, receive, send)

    def _fault(self, scope: Scope, body: bytes) -> Fault:
        query = scope["query_string"].decode()
        request = f"{scope['method']} {scope['path']}" + (f"?{query}" if query else "")
        with self._lock:
            self.requests.append(request)
            self.callers.append(dict(scope["headers"]).get(b"authorization", b"").decode())
            for which, faults in self._scripts:
                if faults and which.meets(request, body):
                    return faults.pop(0)
            return next((fault for which, fault in self._standing if which.meets(request, body)), Fault())


class _Read:
    """What is received of a request that was read already."""

    def __init__(self, body: bytes, rest: Receive) -> None:
        self._messages: list[Message] = [{"type": "http.request", "body": body}]
        self.rest = rest

    async def __call__(self) -> Message:
        return self._messages.pop() if self._messages else await self.rest()


class _Late:
    """Sends nothing before a gate is opened."""

    def __init__(self, send: Send, gate: Gate) -> None:
        self._send, self._gate = send, gate

    async def __call__(self, message: Message) -> None:
        await self._gate.passed()
        await self._send(message)


async def _body(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    return body


async def _answer(fault: Fault, send: Send) -> None:
    headers = [(name.encode(), value.encode()) for name, value in fault.headers]
    headers.append((b"content-length", str(len(fault.body)).encode()))
    await send({"type": "http.response.start", "status": fault.status, "headers": headers})
    await send({"type": "http.response.body", "body": fault.body})


async def _nowhere(_: Message) -> None:
    """Where a lost response goes."""


async def _cut(receive: Receive) -> None:
    """Close the connection. ASGI has no word for that: uvicorn's own transport does it, in process httpx's error."""
    transport = getattr(getattr(receive, "__self__", None), "transport", None)
    if transport is None:
        raise httpx.ReadError("the connection was closed")
    transport.abort()
    while (await receive())["type"] != "http.disconnect":
        continue
