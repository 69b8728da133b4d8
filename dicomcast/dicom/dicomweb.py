"""An archive without a feed: QIDO-RS is asked what there is, again and again (PS3.18 §10.6).

At each poll the studies of the last days, by their StudyDate, and now and then all of them (`sweep`). What a
search says of a study is compared with what it said before; a study that differs is read whole. So a change
that no search shows, such as an instance that was replaced by another, is not noticed.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from dicomcast.dicom.refusals import met, refusals_waited_for
from dicomcast.dicom.sweep import Page, Sweeper, complete, fingerprint
from dicomcast.dicom.wado import JSON, Dicomweb, Row
from dicomcast.errors import ConfigError
from dicomcast.gathering import Gathering
from dicomcast.grouping import is_uid
from dicomcast.http import Http
from dicomcast.identity import canonical
from dicomcast.mapping.dataset import Dataset
from dicomcast.mapping.tags import canonical as canonical_tags
from dicomcast.mapping.tags import tag
from dicomcast.model import Cursor, Instance, InstanceKey, StudyDelta, StudyKey, Window

__all__ = ["DicomwebFeed"]

_log = structlog.get_logger()

_COUNT = tag("NumberOfStudyRelatedInstances")
# A server need not send StudyDescription, and some send the others only if asked (PS3.18 Table 10.6.3-3).
_WANTED = ("NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances", "StudyDescription")
_ASKED = {"includefield": ",".join(map(tag, _WANTED))}
# What says how to get at a study, and not what it is.
_VOLATILE = frozenset(map(tag, ("RetrieveURL", "RetrieveAETitle", "InstanceAvailability")))
_PAGE = 100


class DicomwebFeed:
    """One DICOMweb archive at `http`. `recent` is how far back, by StudyDate, each poll looks."""

    kind = "dicomweb"
    sweeps = True
    measurable = False
    version = "DICOMweb"

    def __init__(self, http: Http, sweeper: Sweeper, *, public_url: str, recent: timedelta) -> None:
        self._http = http
        self._dicomweb = Dicomweb(http)
        self._sweeper = sweeper
        self._public_url = public_url
        self._recent = recent
        self.source = canonical(public_url)
        self.newest = Cursor()

    async def open(self, cursor: Cursor | None, *, budget: float | None = None) -> None:
        """Find out that it can be searched."""
        with met(self._http.base_url, "is not a DICOMweb service"):
            rows = await self._dicomweb.search("studies", {"limit": "1"} | _ASKED, budget=budget)
        if rows and not Dataset(canonical_tags(rows[0])).values(_COUNT):
            _log.warning(
                "dicomweb.no-counts",
                reason="it does not tell how many instances a study has, so they are listed, which takes longer",
            )
        self.newest = cursor or Cursor()

    async def start(self, start: str | int | datetime) -> Cursor:
        """A sweep that casts all there is, or only takes note of it."""
        if start not in ("beginning", "latest"):
            raise ConfigError("WORKER__START: this archive has no feed; write beginning or latest")
        return Cursor(position=self._sweeper.baseline if start == "latest" else {})

    def base_url(self, partition: str) -> str:
        """The public DICOMweb base URL."""
        return self._public_url

    async def partitions(self) -> list[str]:
        """None but the one without a name."""
        return [""]

    async def latest(self) -> Cursor:
        """How many changes were noticed: there is nothing else to count by."""
        return self.newest

    async def probe(self) -> None:
        """Ask for one study, once."""
        with refusals_waited_for():
            await self._dicomweb.search("studies", {"limit": "1"}, budget=0.0)

    async def windows(self, after: Cursor, size: int) -> AsyncGenerator[Window, None]:
        """What differs from what was seen before; the sequence counts it."""
        with refusals_waited_for():
            noticed = after.sequence
            async for window in self._sweeper.windows(self, after, size):
                noticed += len(window.studies)
                self.newest = Cursor(noticed)
                yield replace(window, end=replace(window.end, sequence=noticed))

    async def replay(self, first: int, last: int | None, size: int) -> AsyncIterator[Window]:
        """Impossible: without a feed there is nothing to read once more."""
        raise ConfigError(
            "DICOM__KIND: an archive without a feed has no sequences to replay; name the studies with --replay-study"
        )
        yield

    async def tail(self, after: Cursor, size: int) -> AsyncIterator[Window]:
        """The studies of the last days that differ; none, as long as no note was taken of what was there at first."""
        if self._sweeper.is_noting(after):
            return
        now = self._sweeper.clock()
        days = f"{now - self._recent:%Y%m%d}-{now + timedelta(days=1):%Y%m%d}"  # it is tomorrow in some places
        async for page in complete(self, self._pages({"StudyDate": days}, min(size, _PAGE)), set()):
            if news := await self._sweeper.news(page):
                yield Window((), after, tuple(news), news)

    async def recognise(self, cursor: Cursor) -> None:
        """A search alone does not tell one archive from another."""

    async def studies(self, partition: str, size: int) -> AsyncIterator[Sequence[str]]:
        """The UIDs of all studies."""
        with refusals_waited_for():
            async for rows in self._dicomweb.studies("studies", {}, size):
                yield [uid for uid, _ in rows]

    async def listing(self, size: int) -> AsyncIterator[Page]:
        """All studies, and what the search says of them."""
        async for page in self._pages({}, size):
            yield page

    async def still(self, study_uids: Collection[str]) -> Page:
        """What is there of some studies."""
        found: dict[str, str] = {}
        for uid in filter(is_uid, study_uids):
            rows = await self._dicomweb.rows("studies", {"StudyInstanceUID": uid} | _ASKED)
            found |= await self._seen([row for row in rows if row[0] == uid])
        return found

    async def _pages(self, query: Mapping[str, str], size: int) -> AsyncIterator[Page]:
        async for rows in self._dicomweb.studies("studies", {**query, **_ASKED}, size):
            yield await self._seen(rows)

    async def _seen(self, rows: Sequence[Row]) -> Page:
        """The fingerprints of studies, of which one that stands under two PatientIDs has two rows."""
        facts: dict[str, list[str]] = {}
        for uid, row in rows:
            if uid:
                facts[uid] = facts.get(uid, []) + await self._facts(uid, row)
        return {uid: fingerprint(some) for uid, some in facts.items()}

    async def _facts(self, uid: str, row: JSON) -> list[str]:
        facts = [f"{name} {json.dumps(value, sort_keys=True)}" for name, value in row.items() if name not in _VOLATILE]
        if Dataset(row).values(_COUNT):
            return facts
        return [*facts, *await self._dicomweb.instance_uids(uid)]

    async def snapshot(self, key: StudyKey, gathering: Callable[[], Gathering] | None = None) -> StudyDelta:
        """The study as it is now."""
        return await self._dicomweb.snapshot(key, "", gathering or (lambda: Gathering(key)))

    async def instance(self, key: StudyKey, instance: InstanceKey) -> Instance | None:
        """The instance as it is now."""
        return await self._dicomweb.instance(key, instance, "")
