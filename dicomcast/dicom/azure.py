"""Microsoft's DICOM service, self-hosted or as the managed Azure service: change feed v1 and v2.

Version 1 is read where it is offered: it is ordered by sequence and has almost none of the hazards of
version 2. A cursor goes on in the version that wrote it, for as long as that is offered.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from dicomcast.dicom import by_sequence, by_time
from dicomcast.dicom.entries import entries
from dicomcast.dicom.refusals import met, refusals_waited_for
from dicomcast.dicom.ticks import TICKS, moment, text, ticks
from dicomcast.dicom.wado import Dicomweb
from dicomcast.errors import ConfigError, NotItself, Rejected, Retriable, SourceReset, Stumbled
from dicomcast.gathering import Gathering
from dicomcast.http import Answer, Http, parse_json
from dicomcast.identity import DEFAULT_PARTITION, canonical, dicomweb_base
from dicomcast.model import Cursor, Entry, Instance, InstanceKey, StudyDelta, StudyKey, Window

__all__ = ["AzureFeed"]

# What was committed up to so long before the last settled entry may have been numbered after it.
_CHANGE_OF_VERSION = timedelta(hours=1)

# No answer, or one that does not tell what failed; throttling (429) and a key that is gone (424) concern everything.
_MAYBE_THE_METADATA = (None, 408, 502, 503, 504)


class AzureFeed:
    """The change feed of one service, and the reads that go with it.

    `http` is at the service's URL without a version. `api` is `auto`, `v1` or `v2`. `lag` is how old an
    entry of v2 must be before it is read, and how young a gap of v1 must be to be waited for.
    """

    kind = "azure"
    sweeps = False
    measurable = True

    def __init__(self, http: Http, *, public_url: str, api: str = "auto", lag: timedelta = timedelta(seconds=30)):
        self._http = http
        self._dicomweb = Dicomweb(http)
        self._api = api
        self._lag = lag // timedelta(microseconds=1) * (TICKS // 1_000_000)
        self._offered: frozenset[str] = frozenset()
        self._partitioned = False
        self.source = canonical(public_url)
        self.version = ""
        self.newest = Cursor()

    async def open(self, cursor: Cursor | None, *, budget: float | None = None) -> None:
        """Choose the version, find out about partitions, and refuse a source that is not the one we know."""
        with met(self._http.base_url, "is not a DICOM service with a change feed"):
            self._offered = await self._versions(budget)
            self.version = self._choose(cursor)
            self._partitioned = await self._has_partitions()
            latest = await self.latest()
        if cursor is not None and cursor.timestamp:
            with refusals_waited_for():
                latest = await self._refuse_reset(cursor, latest)
                await self._recognise(cursor, latest)

    async def _versions(self, budget: float | None) -> frozenset[str]:
        """Ask the newest version which there are (`api-supported-versions`), or else each whether it is there."""
        offered = set()
        refused = None
        for version in ("v2", "v1"):
            try:
                answer = await self._latest(version, budget=budget)
            except Rejected as error:
                refused = error
                continue
            offered.add(version)
            names = re.findall(r"[\w.-]+", answer.headers.get("api-supported-versions", ""))
            if names:
                return frozenset(f"v{name.partition('.')[0]}" for name in names if "prerelease" not in name)
        if refused is not None and not offered:
            raise refused
        return frozenset(offered)

    def _choose(self, cursor: Cursor | None) -> str:
        wrote = str(cursor.position.get("api", "v1")) if cursor else ""
        wanted = self._api if self._api != "auto" else wrote if wrote in self._offered else "v1"
        if self._api == "auto" and wanted not in self._offered:
            wanted = "v2"
        if wanted not in self._offered:
            raise ConfigError(
                f"DICOM__API_VERSION: the service offers {', '.join(sorted(self._offered)) or 'neither v1 nor v2'}, "
                f"not {wanted}"
            )
        if wrote == "v2" and wanted == "v1":
            raise ConfigError(
                "DICOM__API_VERSION: the checkpoint was written while reading v2, which has no sequence to go on "
                "from in v1. Set it to v2 or auto, or start a new state store with WORKER__START"
            )
        return wanted

    async def _has_partitions(self) -> bool:
        try:
            await self._http.request("GET", f"{self.version}/partitions")
        except Rejected:
            return False
        return True

    async def _refuse_reset(self, cursor: Cursor, latest: Cursor) -> Cursor:
        """The newest entry, which is not behind the cursor; one odd answer is no proof that it is."""
        if self._is_behind(latest, cursor):
            latest = await self.latest()
        if self._is_behind(latest, cursor):
            raise self._reset(f"ends at sequence {latest.sequence}, but sequence {cursor.sequence} was settled before")
        return latest

    def _is_behind(self, one: Cursor, other: Cursor) -> bool:
        if self.version == "v2":
            return (_time(one), one.sequence) < (_time(other), other.sequence)
        return one.sequence < other.sequence

    async def _recognise(self, cursor: Cursor, latest: Cursor) -> None:
        """A recreated archive may have grown beyond the cursor: then another entry stands where it points to."""
        if "v1" in self._offered:
            query = {"offset": str(cursor.sequence - 1), "limit": "1"}
            rows = [row for row in await self._bare_rows("v1", query) if row.sequence == cursor.sequence]
            other = any(ticks(row.timestamp) != _time(cursor) for row in rows)
        else:
            end = text(_time(cursor) + 1)
            query = {"startTime": cursor.timestamp, "endTime": end, "limit": str(by_time.LIMIT)}
            rows = await self._bare_rows("v2", query)
            there = len(rows) == by_time.LIMIT or any(row.sequence == cursor.sequence for row in rows)
            other = latest.sequence < cursor.sequence and not there
        if other:
            raise self._reset(f"no longer has the entry of sequence {cursor.sequence} that was settled last")

    def _reset(self, what: str) -> SourceReset:
        return SourceReset(
            f"DICOM__URL: the change feed of {self.source} {what}: this is not the archive that was read, or it was "
            "restored from a backup. Nothing was written. To follow it from the start, give it a new STATE__URL"
        )

    async def start(self, start: str | int | datetime) -> Cursor:
        """The cursor before the first entry to read, which must not skip any that are still to come."""
        if start == "beginning":
            return Cursor(position=self._position(text(by_time.BEGINNING)) | {"whole": self.newest.sequence})
        answer = await self._latest()
        latest = self.newest = _newest(answer)
        if start == "latest":
            return Cursor(latest.sequence, latest.timestamp, self._position(latest.timestamp))
        if isinstance(start, int):
            if self.version != "v1":
                raise ConfigError("WORKER__START: a sequence needs change feed v1; this service is read by v2")
            if start > latest.sequence + 1:
                raise ConfigError(
                    f"WORKER__START: the feed ends at sequence {latest.sequence}, and {start} is beyond it"
                )
            return Cursor(max(start - 1, 0), position=self._position(""))
        if self.version != "v2" or isinstance(start, str):
            raise ConfigError("WORKER__START: a time needs change feed v2; set DICOM__API_VERSION to v2")
        now = moment(self._present(answer)) + TICKS  # its Date is cut to the second
        if moment(start) >= now:
            newest = f"its newest entry is of {latest.timestamp}" if latest.timestamp else "it has no entry"
            raise ConfigError(f"WORKER__START: by the feed's clock {text(moment(start))} is still to come; {newest}")
        return Cursor(position=self._position(text(moment(start))))

    def _position(self, start: str) -> dict[str, object]:
        if self.version == "v1":
            return {"api": "v1"}
        return by_time.Position(start or text(by_time.BEGINNING)).stored()

    def base_url(self, partition: str) -> str:
        """The public DICOMweb base URL of a partition."""
        return dicomweb_base(self.source, self.version, self._partition(partition))

    def _partition(self, partition: str) -> str:
        """The partition as the service knows it: once there are partitions, the unnamed one has a name."""
        return partition or (DEFAULT_PARTITION if self._partitioned else "")

    def _path(self, partition: str) -> str:
        name = self._partition(partition)
        return f"{self.version}/partitions/{quote(name, safe='')}" if name else self.version

    async def windows(self, after: Cursor, size: int) -> AsyncGenerator[Window, None]:
        """Windows up to the present end of the feed."""
        with refusals_waited_for():
            answer = await self._latest()
            now = moment(self._present(answer))
            latest = self.newest = _newest(answer)
            if after.timestamp:
                latest = await self._refuse_reset(after, latest)
            if self.version == "v1":
                reading = by_sequence.read(
                    self._page_v1, after=after.sequence, latest=latest.sequence, settled=now - self._lag, size=size
                )
            else:
                reading = by_time.read(
                    self._page_v2, self._resume(after), until=now - self._lag, overlap=self._lag, size=size, seen=after
                )
            async for window in reading:
                yield window

    @staticmethod
    def _present(answer: Answer) -> datetime:
        """The service's clock; the earlier of two clocks that disagree, since too late loses nothing."""
        ours = datetime.now(UTC)
        return min(answer.date, ours) if answer.date else ours

    def _resume(self, after: Cursor) -> by_time.Position:
        if after.position.get("api") == "v2":
            return by_time.Position.of(after)
        start = _time(after) - moment(datetime(1970, 1, 1, tzinfo=UTC) + _CHANGE_OF_VERSION)
        return by_time.Position(text(max(start, by_time.BEGINNING)))

    async def replay(self, first: int, last: int | None, size: int) -> AsyncIterator[Window]:
        """By v1 where it is offered; v2 cannot look for a sequence, so there the whole feed is searched."""
        last = by_sequence.LAST if last is None else last
        with refusals_waited_for():
            if "v1" in self._offered:
                end = min(last, _newest(await self._latest("v1")).sequence)
                after = max(first - 1, 0)
                reading = by_sequence.read(self._page_v1, after=after, latest=end, settled=by_time.END, size=size)
            else:
                position = by_time.Position()
                reading = by_time.read(self._page_v2, position, until=by_time.END, overlap=0, size=size, seen=Cursor())
            async for window in reading:
                wanted = tuple(entry for entry in window.entries if first <= entry.sequence <= last)
                if wanted:
                    yield Window(wanted, window.end)

    async def latest(self) -> Cursor:
        """The newest entry; in v2 the newest by time."""
        self.newest = _newest(await self._latest())
        return self.newest

    async def probe(self) -> None:
        """Ask for the newest entry, once."""
        with refusals_waited_for():
            self.newest = _newest(await self._latest(budget=0.0))

    async def _latest(self, version: str = "", *, budget: float | None = None) -> Answer:
        """Without metadata, which may be corrupt."""
        url = f"{version or self.version}/changefeed/latest"
        return await self._http.request("GET", url, params={"includeMetadata": "false"}, budget=budget)

    async def partitions(self) -> list[str]:
        """The names of the partitions, "" for the one without a name."""
        if not self._partitioned:
            return [""]
        answer = await self._http.request("GET", f"{self.version}/partitions")
        try:
            rows = parse_json(answer.content) if answer.content else []
            names = [str(row.get("partitionName", row.get("PartitionName", ""))) for row in rows or []]
        except (ValueError, TypeError, AttributeError):
            raise NotItself("the archive sent no list of its partitions; see DICOM__URL", peer="dicom") from None
        return ["" if name == DEFAULT_PARTITION else name for name in names]

    async def studies(self, partition: str, size: int) -> AsyncIterator[Sequence[str]]:
        """The UIDs of all studies of a partition."""
        with refusals_waited_for():
            async for rows in self._dicomweb.studies(f"{self._path(partition)}/studies", {}, size):
                yield [uid for uid, _ in rows]

    async def still(self, study_uids: Collection[str]) -> Mapping[str, str]:
        """Nothing is compared: the feed tells what changes."""
        return {}

    async def snapshot(self, key: StudyKey, gathering: Callable[[], Gathering] | None = None) -> StudyDelta:
        """The study as it is now."""
        return await self._dicomweb.snapshot(key, self._path(key.partition), gathering or (lambda: Gathering(key)))

    async def instance(self, key: StudyKey, instance: InstanceKey) -> Instance | None:
        """The instance as it is now."""
        return await self._dicomweb.instance(key, instance, self._path(key.partition))

    async def _page_v1(self, offset: int) -> list[Entry]:
        rows = await self._rows("v1", {"offset": str(offset), "limit": str(by_sequence.LIMIT)})
        return sorted(rows, key=lambda entry: entry.sequence)

    async def _page_v2(self, start: str, end: str, offset: int) -> list[Entry]:
        query = {"startTime": start, "endTime": end, "offset": str(offset), "limit": str(by_time.LIMIT)}
        return list(await self._rows("v2", query))

    async def _rows(self, version: str, query: dict[str, str]) -> Iterable[Entry]:
        """A page. One bad instance fails it: 400 for corrupt metadata, 500 for missing, or no JSON. Then without.

        Metadata that take too long, or that a gateway chokes on, look like a service that is away; it is if the
        page does not come without them either.
        """
        whole = query | {"includeMetadata": "true"}
        try:
            return _page(await self._http.request("GET", f"{version}/changefeed", params=whole, at_once=(Stumbled,)))
        except (Rejected, Stumbled, NotItself):
            return await self._bare_rows(version, query)
        except Retriable as error:
            if error.status not in _MAYBE_THE_METADATA or error.retry_after is not None:
                raise
            try:
                return await self._bare_rows(version, query, budget=0.0)
            except (Rejected, Retriable):
                raise error from None

    async def _bare_rows(self, version: str, query: dict[str, str], *, budget: float | None = None) -> list[Entry]:
        bare = query | {"includeMetadata": "false"}
        return _page(await self._http.request("GET", f"{version}/changefeed", params=bare, budget=budget))


def _page(answer: Answer) -> list[Entry]:
    if answer.status == 204 or not answer.content.strip():
        return []
    try:
        return list(entries(parse_json(answer.content), len(answer.content)))
    except ValueError:
        said = "what answers at DICOM__URL sent no JSON for a page of the change feed; is it a web page?"
        raise NotItself(said, peer="dicom") from None


def _newest(answer: Answer) -> Cursor:
    return next((Cursor(entry.sequence, entry.timestamp) for entry in _page(answer)), Cursor())


def _time(cursor: Cursor) -> int:
    return ticks(cursor.timestamp) if cursor.timestamp else by_time.BEGINNING
