"""Orthanc: its change log says which resources are new, and a sweep finds what the log does not tell.

A row names a resource of Orthanc's, whose study is then read whole. The log shows no deletion, and a deletion
takes the earlier rows of what it deletes out of it; so what vanished is found by comparing (`sweep`).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Sequence
from dataclasses import replace
from datetime import datetime

import structlog

from dicomcast.dicom.orthanc_rest import LAST, Change, Changes, OrthancRest
from dicomcast.dicom.orthanc_tags import dicom_json
from dicomcast.dicom.pages import paged
from dicomcast.dicom.refusals import met, refusals_waited_for
from dicomcast.dicom.sweep import Page, Sweeper
from dicomcast.dicom.wado import Dicomweb, instance_of
from dicomcast.errors import ConfigError, NotFound, Retriable, SourceReset
from dicomcast.gathering import Gathering
from dicomcast.grouping import is_uid
from dicomcast.http import Http
from dicomcast.identity import canonical
from dicomcast.model import Cursor, Instance, InstanceKey, StudyDelta, StudyKey, Window

__all__ = ["OrthancFeed"]

_log = structlog.get_logger()

# An archive is recognised by so many rows that were read: a deletion takes single ones out of the log.
_KNOWN = 8
# What these report is no change of what is mapped, or was reported by a row before.
_SILENT = ("Stable", "Updated")


class OrthancFeed:
    """One Orthanc. `http` is at its root, `public_url` is the DICOMweb base URL for FHIR clients."""

    kind = "orthanc"
    sweeps = True

    def __init__(self, http: Http, sweeper: Sweeper, *, public_url: str) -> None:
        self._http = http
        self._rest = OrthancRest(http)
        self._dicomweb = Dicomweb(http)
        self._sweeper = sweeper
        self._public_url = public_url
        self._root = ""
        self.source = canonical(public_url)
        self.version = ""
        self.newest = Cursor()
        self.measurable = False

    async def open(self, cursor: Cursor | None, *, budget: float | None = None) -> None:
        """Meet Orthanc, find its DICOMweb plugin, and refuse one that is not the one we know."""
        with met(self._http.base_url, "is not an Orthanc"):
            self.version = f"Orthanc {await self._rest.version(budget=budget)}"
            self._root = await self._rest.dicomweb_root()
            await self.latest()
        if not self._root:
            _log.warning("orthanc.no-dicomweb", reason="without its DICOMweb plugin, Endpoint.address leads nowhere")
        if cursor is not None:
            with refusals_waited_for():
                await self._refuse_behind(cursor)
                await self.recognise(cursor)
            self.measurable = self._sweeper.has_swept(cursor)

    async def _refuse_behind(self, cursor: Cursor) -> None:
        """One odd answer is no proof that the log ends in front of the cursor."""
        if self.newest.sequence < cursor.sequence:
            await self.latest()
        if self.newest.sequence < cursor.sequence:
            raise self._reset(
                f"has given out no sequence beyond {self.newest.sequence}, and {cursor.sequence} was settled before"
            )

    async def recognise(self, cursor: Cursor) -> None:
        """Another database may have grown beyond the cursor: then other resources stand in rows that we know."""
        for sequence, resource in reversed(cursor.position.get("known", [])):
            for row in (await self._rest.changes(sequence - 1, 1)).rows:
                if row.sequence == sequence:
                    if row.resource != resource:
                        raise self._reset(f"has another resource at sequence {sequence} than it had")
                    return

    def _reset(self, what: str) -> SourceReset:
        return SourceReset(
            f"DICOM__URL: the change log of {self.source} {what}: this is not the Orthanc that was read, or it was "
            "restored from a backup. Nothing was written. To follow it from the start, give it a new STATE__URL"
        )

    async def start(self, start: str | int | datetime) -> Cursor:
        """The newest sequence, and a sweep that casts all there is, or only takes note of it."""
        newest = (await self.latest()).sequence
        known = {"known": [[row.sequence, row.resource] for row in await self._rest.last_rows()]}
        if start == "beginning":
            return Cursor(newest, position=known)
        if isinstance(start, datetime):
            raise ConfigError("WORKER__START: Orthanc's times have no zone; write beginning, latest or a sequence")
        if isinstance(start, int) and start > newest + 1:
            raise ConfigError(f"WORKER__START: the change log ends at sequence {newest}, and {start} is beyond it")
        return Cursor(max(start - 1, 0) if isinstance(start, int) else newest, position=known | self._sweeper.baseline)

    def base_url(self, partition: str) -> str:
        """The public DICOMweb base URL: an Orthanc has no partitions."""
        return self._public_url

    async def partitions(self) -> list[str]:
        """None but the one without a name."""
        return [""]

    async def latest(self) -> Cursor:
        """The newest sequence that was ever given out, whether its row is still there or not."""
        self.newest = Cursor((await self._rest.changes(LAST, 1)).last)
        return self.newest

    async def probe(self) -> None:
        """Ask for the newest sequence, once."""
        with refusals_waited_for():
            self.newest = Cursor((await self._rest.changes(LAST, 1, budget=0.0)).last)

    async def windows(self, after: Cursor, size: int) -> AsyncGenerator[Window, None]:
        """The changes up to the present end of the log, and what a sweep finds."""
        with refusals_waited_for():
            async for window in self._sweeper.windows(self, after, size):
                self.measurable = self._sweeper.has_swept(window.end)
                yield window

    async def replay(self, first: int, last: int | None, size: int) -> AsyncIterator[Window]:
        """The studies of the rows that are still in the log."""
        with refusals_waited_for():
            here = max(first - 1, 0)
            while (page := await self._rest.changes(here, size)).rows:
                rows = [row for row in page.rows if last is None or row.sequence <= last]
                here = page.rows[-1].sequence
                if rows:
                    seen = await self._seen(rows)
                    yield Window((), Cursor(rows[-1].sequence), tuple(seen))
                if len(rows) < len(page.rows):
                    return

    async def tail(self, after: Cursor, size: int) -> AsyncIterator[Window]:
        """The rows behind a cursor, a window of them at a time."""
        here = after
        while (page := await self._rest.changes(here.sequence, size)).rows:
            if here is after:
                await self.recognise(after)  # It may have been recreated between two polls.
            seen = await self._seen(page.rows)
            here = self._behind(here, page)
            yield Window((), here, tuple(seen), seen)
        self.newest = Cursor(page.last)
        await self._refuse_behind(here)
        # The last rows were deleted. Asked once more: one that came between the rows and `last` would show now.
        if page.last > here.sequence and not (await self._rest.changes(here.sequence, size)).rows:
            yield Window((), self._sweeper.hasten(replace(here, sequence=page.last)))

    def _behind(self, here: Cursor, page: Changes) -> Cursor:
        """The cursor behind a page. A gap in it is a deletion, or a log that was emptied."""
        last = page.rows[-1]
        known = [*here.position.get("known", []), [last.sequence, last.resource]][-_KNOWN:]
        end = Cursor(last.sequence, position={**here.position, "known": known})
        gap = last.sequence - here.sequence > len(page.rows)
        return self._sweeper.hasten(end) if gap else end

    async def _seen(self, rows: list[Change]) -> Page:
        """The studies that rows are of, and their fingerprints; what is gone by now is left out."""
        resources = {row.resource for row in rows if not row.kind.startswith(_SILENT)}
        studies = await self._rest.studies_of(resources)
        return await self._rest.fingerprints(studies | await self._named(set(studies.values())))

    async def _named(self, study_uids: Collection[str]) -> dict[str, str]:
        """All that stand under these UIDs: a fingerprint of one alone would not show that another of its UID goes."""
        return {one: uid for uid in study_uids if is_uid(uid) for one in await self._rest.lookup(uid)}

    async def studies(self, partition: str, size: int) -> AsyncIterator[Sequence[str]]:
        """The UIDs of all studies."""
        with refusals_waited_for():
            async for rows in self._listed(size):
                yield [uid for _, uid in rows]

    async def listing(self, size: int) -> AsyncIterator[Page]:
        """All studies, and their fingerprints."""
        async for rows in self._listed(size):
            yield await self._rest.fingerprints(dict(rows))

    def _listed(self, size: int) -> AsyncIterator[Sequence[tuple[str, str]]]:
        """Orthanc's ids of all studies, with their UIDs."""

        async def page(since: int, limit: int) -> list[tuple[str, str]]:
            return list((await self._rest.studies(since, limit)).items())

        return paged(page, size)

    async def still(self, study_uids: Collection[str]) -> Page:
        """What is there of some studies."""
        return await self._rest.fingerprints(await self._named(study_uids))

    async def snapshot(self, key: StudyKey, gathering: Callable[[], Gathering] | None = None) -> StudyDelta:
        """The study as it is now, by DICOMweb where that is there."""
        gathering = gathering or (lambda: Gathering(key))
        studies = await self._rest.lookup(key.study_uid)
        if len(studies) == 1 and self._root:
            return await self._dicomweb.snapshot(key, self._root, gathering)
        gathered = gathering()
        await self._read(key, studies, gathered.add)
        return gathered.delta()

    async def instance(self, key: StudyKey, instance: InstanceKey) -> Instance | None:
        """The instance as it is now."""
        studies = await self._rest.lookup(key.study_uid)
        if len(studies) == 1 and self._root:
            return await self._dicomweb.instance(key, instance, self._root)
        found: dict[InstanceKey, Instance] = {}
        await self._read(key, studies, lambda one: found.update({one.key: one} if one.key == instance else {}))
        return found.get(instance)

    async def _read(self, key: StudyKey, studies: Collection[str], take: Callable[[Instance], object]) -> None:
        """The instances of all that stands under a UID: under two PatientIDs it is two studies to Orthanc, and none to
        its DICOMweb."""
        try:
            for study in studies:
                await self._rest.tags(study, lambda tags: take(instance_of(key, dicom_json(tags))))
        except NotFound:
            raise Retriable(f"study {key.study_uid} was deleted while it was read", peer="dicom") from None
