"""A reader of the change feed alone: AzureFeed on the embedded DICOM service, with a clock that the test moves."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from dicomcast.demo.archive import DEFAULT_PARTITION, Archive, StoreStatus
from dicomcast.demo.dicom_service import Version, dicom_service
from dicomcast.dicom.azure import AzureFeed
from dicomcast.http import Http
from dicomcast.model import Cursor, Entry, EntryState, Window
from tests.harness import DICOM_URL, dataset

LAG = timedelta(seconds=30)

# What a test answers in the service's place; None lets the service answer.
Intercept = Callable[[httpx.Request], httpx.Response | None]


class Reader:
    """An archive and what was delivered of its feed; every `feed()` is a new process."""

    def __init__(self, *, api: str = "v1", partitions: bool = False, **service: Any) -> None:
        self.api = api
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.archive = Archive(partitions=partitions, clock=lambda: self.now)
        self.wire = Wire(dicom_service(self.archive, **service), self)
        self.cursor: Cursor | None = None
        self.delivered: list[Entry] = []
        self._open: list[Http] = []

    def store(self, instance: str, study: str = "1.2", partition: str = DEFAULT_PARTITION, **attributes: Any) -> None:
        """Store an instance of series `<study>.1`; one that is there already is refused."""
        status = self.archive.store(dataset(study, f"{study}.1", instance, **attributes), partition)
        assert status is not StoreStatus.INVALID, "a test that stores nothing shows nothing"

    def delete(self, instance: str, study: str = "1.2") -> None:
        self.archive.delete(DEFAULT_PARTITION, study, f"{study}.1", instance)

    def offer(self, versions: Sequence[Version]) -> None:
        """Have the service be updated: from now on it offers these versions."""
        self.wire = Wire(dicom_service(self.archive, versions=versions), self)

    def later(self, seconds: float = 31) -> None:
        self.now += timedelta(seconds=seconds)

    def feed(self, *, budget: timedelta = timedelta(0)) -> AzureFeed:
        http = Http("dicom", DICOM_URL, transport=self.wire, budget=budget)
        self._open.append(http)
        return AzureFeed(http, public_url=DICOM_URL, api=self.api, lag=LAG)

    async def opened(self) -> AzureFeed:
        """A feed that is open at the cursor; a first one begins at the beginning."""
        feed = self.feed()
        await feed.open(self.cursor)
        if self.cursor is None:
            self.cursor = await feed.start("beginning")
        return feed

    async def read(self, size: int = 2500, *, take: int | None = None, feed: AzureFeed | None = None) -> list[Window]:
        """What a new process reads: `take` windows, or all up to the present end of the feed."""
        feed = feed or await self.opened()
        assert self.cursor is not None, "an open feed has a cursor"
        windows: list[Window] = []
        async for window in feed.windows(self.cursor, size):
            windows.append(window)
            self.delivered += window.entries
            # Through JSON, as the state store keeps it.
            self.cursor = Cursor(
                window.end.sequence, window.end.timestamp, json.loads(json.dumps(dict(window.end.position)))
            )
            if len(windows) == take:
                break
        return windows

    @property
    def sequences(self) -> list[int]:
        """The sequences that were delivered, in order."""
        return [entry.sequence for entry in self.delivered]

    @property
    def states(self) -> list[EntryState]:
        """The states that were delivered, in order."""
        return [entry.state for entry in self.delivered]

    async def close(self) -> None:
        for http in self._open:
            await http.close()


class Wire(httpx.ASGITransport):
    """The way to the service: keeps the requests, sends the test's answers, dates them, and changes their headers."""

    def __init__(self, app: Any, reader: Reader) -> None:
        super().__init__(app)
        self.requests: list[httpx.Request] = []
        self.intercept: Intercept = lambda request: None
        self.dated = True
        self.headers: dict[str, str | None] = {}
        self._reader = reader

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        response = self.intercept(request) or await super().handle_async_request(request)
        if self.dated:
            response.headers["Date"] = self._reader.now.strftime("%a, %d %b %Y %H:%M:%S GMT")
        for name, value in self.headers.items():
            response.headers[name] = value or ""
            if value is None:
                del response.headers[name]
        return response

    def asked(self, path: str) -> list[httpx.QueryParams]:
        """The parameters of all requests for a path."""
        return [request.url.params for request in self.requests if request.url.path == path]
