"""The health port: /livez, /readyz, /metrics and the status page, answered by a thread of its own.

The thread answers also while the event loop is stuck, which is what /livez is there to tell.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any

from dicomcast import __version__
from dicomcast.errors import ConfigError
from dicomcast.metrics import Metrics
from dicomcast.page import POLICY, render
from dicomcast.vitals import Vitals

__all__ = ["serve_health"]

# The page is for eyes: nothing is fetched for it, and nobody is told who looks.
_ALONE = {
    "Content_Security_Policy": POLICY,
    "X_Content_Type_Options": "nosniff",
    "Referrer_Policy": "no-referrer",
}
# The loop beats every second; a window of thousands of instances may hold it up for some.
STALE = 30.0


@contextmanager
def serve_health(vitals: Vitals, address: str, port: int, *, stale: float = STALE) -> Iterator[int]:
    """Answer on a port while the context lasts (0: any that is free); yields the port.

    Raises:
        ConfigError: the port cannot be had.
    """
    metrics = Metrics.of(vitals)

    class Handler(_Handler):
        def do_GET(self) -> None:
            match self.path.partition("?")[0]:
                case "/" | "/status":
                    alive = time.monotonic() - vitals.beat < stale
                    page = render(vitals, datetime.now(UTC), version=__version__, alive=alive)
                    self.send(200, "text/html; charset=utf-8", page.encode(), **_ALONE)
                case "/livez":
                    age = time.monotonic() - vitals.beat
                    self.answer(200 if age < stale else 503, {"alive": age < stale, "beat_seconds_ago": round(age, 1)})
                case "/readyz":
                    ready = vitals.ready
                    self.answer(200 if ready else 503, {"ready": ready, **summary(vitals, datetime.now(UTC))})
                case "/metrics" if metrics is None:
                    self.answer(501, {"error": "metrics need more packages: pip install '.[prometheus]' in a clone"})
                case "/metrics" if metrics is not None:
                    self.send(200, metrics.content_type, metrics.exposition())
                case _:
                    self.answer(404, {"error": "there are /status, /livez, /readyz and /metrics"})

        do_HEAD = do_GET  # noqa: N815

    try:
        server = _Server((address, port), Handler)
    except OSError as error:
        raise ConfigError(f"HEALTH__PORT: cannot listen on {address} port {port}: {error.strerror}") from None
    threading.Thread(target=server.serve_forever, args=(0.1,), name="health", daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def summary(vitals: Vitals, now: datetime) -> dict[str, Any]:
    """What the worker is at, and how far behind, for a person or a program; null is what is not known."""
    backlog, lag = vitals.backlog, vitals.lag_seconds(now)
    return {
        "phase": vitals.phase.value,
        "reason": vitals.reason or vitals.trouble,
        "since": vitals.since.isoformat(timespec="seconds"),
        "source": vitals.source,
        "settled": backlog.settled.sequence if backlog else None,
        "latest": backlog.latest.sequence if backlog else None,
        "lag_entries": backlog.entries if backlog else None,
        "lag_seconds": _rounded(lag),
        "polled_at": vitals.polled_at.isoformat(timespec="seconds") if vitals.polled_at else None,
        "parked": backlog.parked if backlog else None,
        "dead": backlog.dead if backlog else None,
        "oldest_parked_seconds": _rounded(backlog.oldest_seconds(now)) if backlog else None,
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


class _Server(ThreadingHTTPServer):
    """On IPv4 or IPv6, as the address says."""

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, handler)

    def server_bind(self) -> None:
        """Bind alone: http.server's own also looks the host's name up, which may take long and is of no use here."""
        TCPServer.server_bind(self)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A probe that hangs up is no error of ours."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """One JSON object, or text, or a page, an answer; nothing is logged, since probes come every few seconds."""

    timeout = 10  # seconds, for a client that connects and says nothing

    def answer(self, status: int, body: dict[str, Any]) -> None:
        self.send(status, "application/json", json.dumps(body).encode() + b"\n")

    def send(self, status: int, kind: str, body: bytes, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent."""
