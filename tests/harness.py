"""dicomcast on the embedded servers, in one process and without sockets."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import httpx
import orjson

from dicomcast.app import App
from dicomcast.casting import Caster
from dicomcast.demo.archive import Archive, StoreStatus
from dicomcast.demo.dicom_service import dicom_service
from dicomcast.demo.fhir_server import fhir_server
from dicomcast.demo.fhir_store import FhirStore
from dicomcast.dicom.azure import AzureFeed
from dicomcast.dicom.dicomweb import DicomwebFeed
from dicomcast.dicom.feed import Feed
from dicomcast.dicom.orthanc import OrthancFeed
from dicomcast.dicom.sweep import Sweeper
from dicomcast.fhir import FhirServer
from dicomcast.http import Http
from dicomcast.mapping.rules import Rules
from dicomcast.mapping.tags import tag
from dicomcast.model import Checkpoint, Issue, Outcome, Parked
from dicomcast.settling import Cast
from dicomcast.spans import SILENT, Spans
from dicomcast.state.sqlite import _SCHEMA, SqliteStore, _rows
from dicomcast.state.sqlite_file import open_file
from dicomcast.sync import Synchronizer
from dicomcast.tenure import Tenure
from dicomcast.vitals import Vitals
from tests.judge import R4, R5, problems
from tests.orthanc_double import orthanc_double

SYSTEM = "urn:oid:2.25.1"
DICOM_URL = "http://dicom.test"
CT = "1.2.840.10008.5.1.4.1.1.2"
SR = "1.2.840.10008.5.1.4.1.1.88.11"

T = TypeVar("T")

VR = {
    "StudyInstanceUID": "UI",
    "SeriesInstanceUID": "UI",
    "SOPInstanceUID": "UI",
    "SOPClassUID": "UI",
    "PatientName": "PN",
    "SeriesNumber": "IS",
    "InstanceNumber": "IS",
}


def dataset(study: str, series: str, instance: str, **attributes: Any) -> dict[str, Any]:
    """DICOM JSON of one instance; keyword arguments are DICOM keywords."""
    values = {
        "StudyInstanceUID": study,
        "SeriesInstanceUID": series,
        "SOPInstanceUID": instance,
        "SOPClassUID": CT,
        "Modality": "CT",
        "PatientID": "P1",
        "StudyDate": "20240102",
        **attributes,
    }
    elements = {}
    for keyword, value in values.items():
        if value is None:
            continue
        vr = VR.get(keyword, "LO")
        elements[tag(keyword)] = {"vr": vr, "Value": [{"Alphabetic": value} if vr == "PN" else value]}
    return elements


class Harness:
    """An archive, a FHIR server, and a synchronizer between them, whose clock the test moves."""

    budget = timedelta(0)  # how long a request is retried
    start: str | int = "beginning"  # where a first run starts
    search_lag = timedelta(0)  # how long searches are said to miss what was written
    count: Callable[[Outcome], None] = staticmethod(lambda _: None)  # hears of each study that was cast
    note: Callable[[Issue], None] = staticmethod(lambda _: None)  # hears of each issue
    spans: Spans = SILENT  # hears what is under way

    def __init__(
        self,
        *,
        api: str = "v1",
        partitions: bool = False,
        dicomweb: bool = True,
        window: int = 2500,
        mode: str = "own",
        rules: Rules | None = None,
        rival_of: Harness | None = None,
        **fhir_options: Any,
    ) -> None:
        """A `rival` has the same archive, FHIR server and state store, and is another worker.

        `api` is a version of the change feed, or the kind of an archive without it; `dicomweb` is for Orthanc.
        """
        self.api, self.window, self.mode = api, window, mode
        self.rules = rules or Rules(SYSTEM)
        self.problems: list[str] = []
        self.judged_as = R5 if fhir_options.get("version", R4).startswith("5.") else R4
        self.owner = "harness" if rival_of is None else "rival"
        if rival_of is not None:
            self.now, self.archive, self.store, self.state = (
                rival_of.now, rival_of.archive, rival_of.store, rival_of.state)  # fmt: skip
            self.judged_as = rival_of.judged_as
            self.dicom_app, self.fhir_app = rival_of.dicom_app, rival_of.fhir_app
            self.restart()
            return
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.archive = Archive(partitions=partitions, clock=self._tick)
        self.store = FhirStore()
        self.dicom_app = self._service(self.archive, dicomweb)
        self.fhir_app = fhir_server(self.store, **fhir_options)
        self.state = InlineStore(":memory:")
        self.restart()

    def _service(self, archive: Archive, dicomweb: bool) -> Any:
        return orthanc_double(archive, dicomweb=dicomweb) if self.api == "orthanc" else dicom_service(archive)

    def _feed(self) -> Feed:
        sweeper = Sweeper(self.state, DICOM_URL, timedelta(minutes=1), clock=lambda: self.now)
        match self.api:
            case "orthanc":
                return OrthancFeed(self.dicom, sweeper, public_url=DICOM_URL)
            case "dicomweb":
                return DicomwebFeed(self.dicom, sweeper, public_url=DICOM_URL, recent=timedelta(days=3))
            case version:
                return AzureFeed(self.dicom, public_url=DICOM_URL, api=version, lag=timedelta(seconds=30))

    def _tick(self) -> datetime:
        self.now += timedelta(milliseconds=1)
        return self.now

    def restart(self) -> None:
        """A new process: nothing is left but the state store."""
        dated = self.between("dicom", _Dated(self.dicom_app, self))
        judged = self.between("fhir", _Judged(self.fhir_app, self))
        base = f"{DICOM_URL}/v2" if self.api == "dicomweb" else DICOM_URL
        self.dicom = Http("dicom", base, transport=dated, budget=self.budget, spans=self.spans)
        self.server = Http("fhir", "http://fhir.test/fhir", transport=judged, budget=self.budget, spans=self.spans)
        self.feed = self._feed()
        self.fhir = FhirServer(
            self.server, fence=lambda: self.tenure.epoch, search_lag=self.search_lag, sleep=self.let_pass
        )
        passed = lambda: asyncio.get_running_loop().time()  # noqa: E731  # which is virtual in some tests
        self.tenure = _Tenure(
            self.state, self.feed.source, ttl=timedelta(minutes=1), clock=lambda: self.now, passed=passed
        )
        self.tenure.owner = self.owner
        self.caster = Caster(self.feed, self.fhir, self.rules, mode=self.mode, note=lambda issue: self.note(issue))
        self.synchronizer = Synchronizer(
            self.feed,
            self.fhir,
            self.state,
            self.tenure,
            self.caster,
            clock=lambda: self.now,
            count=lambda outcome: self.count(outcome),
            window=self.window,
            spans=self.spans,
        )

    def between(self, peer: str, transport: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
        """What stands between the client and a peer; a test may put something there."""
        return transport

    def app(self, *, start: str = "beginning") -> App:
        """All of it, for a worker."""

        def give_up() -> None:
            self.dicom.give_up()
            self.server.give_up()

        vitals = Vitals(source=self.feed.source, peers=(self.dicom, self.server))
        self.count = vitals.report.count
        return App(self.feed, self.fhir, self.state, self.tenure, self.synchronizer, vitals, start, give_up)  # type: ignore[arg-type]

    async def let_pass(self, seconds: float) -> None:
        """Searches find everything after so long."""
        self.fhir_app.state.index.catch_up()

    async def open(self) -> Checkpoint:
        await self.tenure.take()
        checkpoint = await self.state.load(self.feed.source)
        await self.feed.open(checkpoint.cursor)
        await self.fhir.open()
        if checkpoint.cursor is None:
            return Checkpoint(checkpoint.feed, await self.feed.start(self.start), checkpoint.revision)
        return checkpoint

    async def cast(self, after: timedelta = timedelta(minutes=5)) -> Counter[Outcome]:
        """What `run --once` does, some minutes later."""
        self.now += after
        return Counter(cast.outcome for cast in await self.drain())

    async def drain(self) -> list[Cast]:
        """Settle the feed up to its present end."""
        return [cast async for _, casts in self.synchronizer.drain(await self.open()) for cast in casts]

    async def replay(self, first: int = 1, last: int | None = None) -> list[Cast]:
        """Cast a stretch of the feed once more: all of it, if nothing else is said; nothing where there is no feed."""
        if self.api == "dicomweb":
            return []
        return [cast async for _, casts in self.synchronizer.replay(first, last) for cast in casts]

    async def writes_nothing(self, *study_uids: str) -> None:
        """Law 1: neither another run, nor a replay by another process, writes a version of anything or parks it."""
        versions = self.store.total_versions()
        await self.cast()
        self.restart()
        await self.open()
        await self.replay()
        assert self.state.rows() == []
        await self.synchronizer.replay_studies(study_uids)
        assert self.store.total_versions() == versions, "what was there already was written once more"

    def put(self, study: str, series: str, instance: str, partition: str = "", **attributes: Any) -> None:
        """Store an instance; one that is there already is replaced, as by deleting and storing it again."""
        name = partition or "Microsoft.Default"
        metadata = dataset(study, series, instance, **attributes)
        if self.archive.store(metadata, name) is StoreStatus.EXISTS:
            self.archive.delete(name, study, series, instance)
            self.archive.store(metadata, name)

    def studies(self) -> list[dict[str, Any]]:
        return self.store.resources("ImagingStudy")

    def study(self) -> dict[str, Any]:
        (only,) = self.studies()
        return only

    def patients(self) -> list[dict[str, Any]]:
        return self.store.resources("Patient")

    async def close(self) -> None:
        await self.dicom.close()
        await self.server.close()
        await self.state.close()
        assert not self.problems, f"what was sent to the FHIR server is no FHIR: {self.problems}"


class _Judged(httpx.ASGITransport):
    """Whatever is written to the FHIR server is judged first: the test fails here, and again when it closes."""

    def __init__(self, app: Any, harness: Harness) -> None:
        super().__init__(app)
        self._harness = harness

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if "fhir+json" in request.headers.get("Content-Type", ""):
            found = problems(orjson.loads(request.content), self._harness.judged_as)
            self._harness.problems += found
            assert not found, f"what is sent to the FHIR server is no FHIR: {found}"
        return await super().handle_async_request(request)


class InlineStore(SqliteStore):
    """The SQLite store without its thread, for which virtual time would not wait."""

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._database is None:
            self._database = open_file(self._path, _SCHEMA)
        return work(self._database)

    def rows(self) -> list[Parked]:
        """All rows of all feeds, without waiting for it."""
        assert self._database is not None
        feeds = [feed for (feed,) in self._database.execute("SELECT DISTINCT feed FROM parked")]
        return [row for feed in feeds for row in _rows(self._database, feed)]


class _Tenure(Tenure):
    """A lease that a test can let run out by our own clock."""

    def expire(self) -> None:
        self._until = 0.0


class _Dated(httpx.ASGITransport):
    """ASGI without a server has no Date header; the harness' clock stands in for the server's."""

    def __init__(self, app: Any, harness: Harness) -> None:
        super().__init__(app)
        self._harness = harness

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        response.headers["Date"] = self._harness.now.strftime("%a, %d %b %Y %H:%M:%S GMT")
        return response
