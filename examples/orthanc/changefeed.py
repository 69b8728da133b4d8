"""Microsoft's DICOM change feed, version 1, served by Orthanc itself; README.md says how to install it.

An entry of the feed says that an instance was created, updated or deleted. Orthanc tells of that in callbacks from
several threads, in any order and some of them late, and a kill loses what it was about to tell. So they are not taken
at their word: whatever says that something has happened to an instance makes us look at what Orthanc has of it now,
and what differs from what was known is an entry. At the start everything is looked at.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from itertools import groupby
from math import isfinite
from pathlib import Path
from threading import Event, RLock, Thread
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import orthanc

JSON = dict[str, Any]
UIDs = tuple[str, str, str]  # of study, series and instance

# The global property in Orthanc's own index that holds the newest sequence. Those below 1024 are Orthanc's.
NEWEST = 7401
# How many instances are looked at while a store has to wait, and how many IDs are listed at once.
BATCH, PAGE = 100, 10_000
FEW = 10  # If more instances of a series are wanted at once, all of it is read.
RETRY = 10.0  # Seconds until what failed is tried again.

SCHEMA = """
    PRAGMA locking_mode = EXCLUSIVE;  -- no second Orthanc writes to this file
    PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;  -- an entry is on the disk before the store is answered

    CREATE TABLE IF NOT EXISTS entry (
        sequence INTEGER PRIMARY KEY, study TEXT, series TEXT, sop TEXT, action TEXT, timestamp TEXT
    );
    CREATE INDEX IF NOT EXISTS entry_by_uids ON entry (study, series, sop);

    -- What Orthanc has, as far as we know. Its ID is made of PatientID and UIDs; `file` is another after every store.
    CREATE TABLE IF NOT EXISTS instance (id TEXT PRIMARY KEY, study TEXT, series TEXT, sop TEXT, file TEXT);
    CREATE INDEX IF NOT EXISTS instance_by_uids ON instance (study, series, sop);
"""

# Entries as they are sent, with what has become of their instances since.
ENTRIES = """
    SELECT sequence, study AS studyInstanceUid, series AS seriesInstanceUid, sop AS sopInstanceUid, action, timestamp,
        CASE
            WHEN (study, series, sop) NOT IN (SELECT study, series, sop FROM instance) THEN 'Deleted'
            WHEN EXISTS (
                SELECT 1 FROM entry AS later
                WHERE (study, series, sop) = (entry.study, entry.series, entry.sop) AND later.sequence > entry.sequence
            ) THEN 'Replaced'
            ELSE 'Current'
        END AS state
    FROM entry
"""


class ChangeFeed:
    """The entries, and the instances that Orthanc had when the last of them was written."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = RLock()
        self._database = sqlite3.connect(folder / "changefeed.db", timeout=1, check_same_thread=False)
        self._database.row_factory = sqlite3.Row
        self._database.executescript(SCHEMA)
        self.doubt, self._stopping = Event(), Event()
        self.comparison = Thread(target=self._compare_when_in_doubt, daemon=True)
        self._compared, self._unsettled = False, set[str]()

    @cached_property
    def _remembered(self) -> int:
        """The newest sequence by Orthanc's own index: more than ours if our file was lost, or came from a backup.

        If it is much less, the index is another or an older one. What that lacks nobody has deleted, so we begin anew.
        """
        remembered = int(orthanc.GetGlobalProperty(NEWEST, "0"))
        if self._newest() > remembered + (BATCH if remembered else 0):
            orthanc.LogWarning("Change feed: Orthanc's index was recreated or restored, so the feed begins anew")
            self._database.executescript("BEGIN; DELETE FROM entry; DELETE FROM instance; COMMIT;")
        return remembered

    def settle(self, ids: Sequence[str]) -> int:
        """Look at these instances, and write what has changed. It is on the disk when the number of entries returns."""
        with self._lock:
            self._unsettled.update(ids)
            remembered = self._remembered
            with self._database:
                entries = sum([self._look(id) for id in ids])
            if entries:
                orthanc.SetGlobalProperty(NEWEST, str(max(remembered, self._newest())))
            self._unsettled.difference_update(ids)
        return entries

    def _look(self, id: str) -> bool:
        known = self._database.execute("SELECT * FROM instance WHERE id = ?", (id,)).fetchone()
        now = ask(f"/instances/{id}")
        if (known and known["file"]) == (now and now["FileUuid"]):
            return False
        try:
            uids = known[1:4] if known else (*series_uids(now["ParentSeries"]), now["MainDicomTags"]["SOPInstanceUID"])
        except Gone:
            return False  # Since we looked; and it never was in the feed.
        # Two patients may have the same UIDs: an instance is created with the first of them, and deleted with the last.
        had = bool(known) or self.has(uids)
        if now:
            self._database.execute("REPLACE INTO instance VALUES (?, ?, ?, ?, ?)", (id, *uids, now["FileUuid"]))
        else:
            self._database.execute("DELETE FROM instance WHERE id = ?", (id,))
        self._write(uids, had)
        return True

    def _write(self, uids: UIDs, had: bool) -> None:
        action = ("Update" if had else "Create") if self.has(uids) else "Delete"
        sequence = max(self._newest(), self._remembered) + 1
        timestamp = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}0Z"
        self._database.execute("INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?)", (sequence, *uids, action, timestamp))

    def _catch_up(self) -> None:
        """Do not end before what clients have read: say the last again, or delete something that nobody ever had."""
        with self._lock:
            if self._newest() < self._remembered:
                last = self._database.execute("SELECT * FROM entry ORDER BY sequence DESC LIMIT 1").fetchone()
                with self._database:
                    self._write(last[1:4] if last else (f"2.25.{uuid4().int}",) * 3, had=True)
                orthanc.SetGlobalProperty(NEWEST, str(self._newest()))

    def has(self, uids: Sequence[str]) -> bool:
        """Whether there is anything, as far as we know, of a study's UID, a series', and an instance's."""
        equal = " AND ".join(f"{column} = ?" for column, _ in zip(("study", "series", "sop"), uids, strict=False))
        with self._lock:
            return self._database.execute(f"SELECT 1 FROM instance WHERE {equal} LIMIT 1", uids).fetchone() is not None

    def _newest(self) -> int:
        return self._database.execute("SELECT max(sequence) FROM entry").fetchone()[0] or 0

    # What a client reads

    def page(self, offset: int, limit: int, *, metadata: bool) -> list[JSON]:
        """The entries whose sequence is more than `offset`, and at most `limit` more."""
        return self._read("WHERE sequence > ? AND sequence <= ? ORDER BY sequence", (offset, offset + limit), metadata)

    def latest(self, *, metadata: bool) -> JSON | None:
        """The newest entry, None if there is none."""
        return next(iter(self._read("ORDER BY sequence DESC LIMIT 1", (), metadata)), None)

    def _read(self, which: str, bounds: tuple[int, ...], metadata: bool) -> list[JSON]:
        with self._lock:
            if self._remembered > self._newest():
                raise Refused(503, "The change feed is being made anew.")
            rows = self._database.execute(ENTRIES + which, bounds).fetchall()
        found = metadata_of_all({row[1:4] for row in rows if metadata and row["state"] != "Deleted"})
        entries = [(dict(row), found.get(row[1:4])) for row in rows]
        return [entry | {"metadata": one} if one else entry for entry, one in entries]

    # The comparison with what Orthanc has, in a thread of its own; what happens meanwhile is settled in between

    def _compare_when_in_doubt(self) -> None:
        said = ""
        self.doubt.set()
        while self.doubt.wait() and not self._stopping.is_set():
            self.doubt.clear()
            try:
                left = self.compare()
                failed = f"instances that cannot be looked at: {left}" if left else ""
            except Exception as error:
                failed = f"the comparison failed ({type(error).__name__})"
            if failed:
                if failed != said:  # Once is enough.
                    orthanc.LogError(f"Change feed: {failed}; to be tried again")
                self.doubt.set()
                self._stopping.wait(RETRY)
            said = failed

    def stop(self) -> None:
        """Return when Orthanc is not asked any more."""
        self._stopping.set()
        self.doubt.set()
        self.comparison.join()

    def compare(self) -> int:
        """Look at all instances that Orthanc had, and at all that it has; after that at those that could not be."""
        missed = 0
        for ids in self._in_question():
            for start in range(0, len(ids), BATCH):
                if self._stopping.is_set():
                    return 0
                missed += self._settle_what_can_be(ids[start : start + BATCH])
        self._catch_up()
        if missed or not self._compared:
            orthanc.LogWarning(f"Change feed: compared with what Orthanc has; {missed} entries had been missed")
        self._compared = True
        with self._lock:
            return len(self._unsettled)

    def _settle_what_can_be(self, ids: list[str]) -> int:
        try:
            return self.settle(ids)
        except (orthanc.OrthancException, LookupError, ValueError):
            ask("/instances?since=0&limit=1")  # If that fails too, it is none of these instances' own trouble.
            return sum(self._settle_what_can_be([id]) for id in ids) if len(ids) > 1 else 0

    def _in_question(self) -> Iterator[list[str]]:
        if self._compared:
            yield list(self._unsettled)
            return
        ids = [""]
        while ids := self._ids("id > ? ORDER BY id LIMIT ?", ids[-1], BATCH):
            yield ids
        for page in listed():
            known = set(self._ids("id IN (SELECT value FROM json_each(?))", json.dumps(page)))
            yield [id for id in page if id not in known]

    def _ids(self, which: str, *values: str | int) -> list[str]:
        with self._lock:
            return [id for (id,) in self._database.execute(f"SELECT id FROM instance WHERE {which}", values)]


# What Orthanc has


class Gone(Exception):
    """Orthanc had it a moment ago."""


def ask(path: str) -> Any:
    """What the REST API answers, None if there is no such resource. Any other failure says nothing about that."""
    try:
        return json.loads(orthanc.RestApiGet(path))
    except orthanc.OrthancException as error:
        if error.args[0] == orthanc.ErrorCode.UNKNOWN_RESOURCE:
            return None
        raise


@lru_cache(maxsize=1000)
def series_uids(id: str) -> tuple[str, str]:
    """The UIDs that an ID was made of. In a large series it takes long to ask for them, but they never change."""
    study, series = ask(f"/series/{id}/study"), ask(f"/series/{id}")
    if not (study and series):
        raise Gone
    return study["MainDicomTags"]["StudyInstanceUID"], series["MainDicomTags"]["SeriesInstanceUID"]


def listed() -> Iterator[list[str]]:
    """The IDs of all instances, in pages.

    A delete moves forward what is listed behind it, so that a page might begin too late. Therefore pages overlap: if
    one does not begin with something of the page before, we go back.
    """
    since, before = 0, set()
    while True:
        page = ask(f"/instances?since={since}&limit={PAGE}")
        if since and before.isdisjoint(page[:1]):
            since = max(0, since - PAGE)
            continue
        yield page
        if len(page) < PAGE:
            return
        since, before = since + PAGE // 2, set(page)


def metadata_of(study: str, series: str, instance: str = "") -> list[JSON]:
    """DICOM JSON of a series or an instance; nothing if it is gone, cannot be read, or not the only one of its UID."""
    path = f"/studies/{study}/series/{series}" + (f"/instances/{instance}" if instance else "")
    try:
        return json.loads(orthanc.RestApiGetAfterPlugins(f"{DICOMWEB}{quote(path)}/metadata"), parse_float=_finite)
    except (orthanc.OrthancException, ValueError):
        return []


def _finite(text: str) -> float | None:
    number = float(text)
    return number if isfinite(number) else None  # There is no JSON for the other, and one would spoil a whole page.


def metadata_of_all(instances: set[UIDs]) -> dict[UIDs, JSON | None]:
    """The same of several instances. The larger a series, the longer each takes: many of it are read with all of it."""
    found = {}
    for series, some in groupby(sorted(instances), key=lambda uids: uids[:2]):
        sops = [uids[2] for uids in some]
        whole = metadata_of(*series) if len(sops) > FEW else []
        by_sop = {one["00080018"]["Value"][0]: one for one in whole}
        for sop in sops:
            found[*series, sop] = by_sop.get(sop) or next(iter(metadata_of(*series, sop)), None)
    return found


# What is served


class Refused(Exception):
    """The request gets this status, and this text."""


def get(handler: Callable[[Any, str, JSON], None]) -> Callable[..., None]:
    """A callback of Orthanc that takes GET alone, and answers where the handler refuses."""

    def respond(output: Any, path: str, **request: Any) -> None:
        if request["method"] != "GET":
            output.SendMethodNotAllowed("GET")
            return
        output.SetHttpHeader("api-supported-versions", "1.0")
        try:
            handler(output, path, request)
        except Refused as refused:
            status, text = refused.args
            output.SendHttpStatus(status, text, len(text))

    return respond


def parameter(request: JSON, name: str, default: str, pattern: str) -> str:
    """A parameter of the query, by its name in any case."""
    values = (value.lower() for given, value in request["get"].items() if given.lower() == name.lower())
    value = next(values, default)
    if not re.fullmatch(pattern, value):
        raise Refused(400, f"The query parameter '{name}' is invalid.")
    return value


@get
def changefeed(output: Any, path: str, request: JSON) -> None:
    """`/v1/changefeed` and `/v1/changefeed/latest`."""
    metadata = parameter(request, "includeMetadata", "true", "true|false") == "true"
    if path.endswith("/latest"):
        answer: Any = feed.latest(metadata=metadata)
    else:
        offset = int(parameter(request, "offset", "0", "[0-9]{1,18}"))
        limit = int(parameter(request, "limit", "10", "[1-9][0-9]?|100"))
        answer = feed.page(offset, limit, metadata=metadata)
    if answer is None:
        output.SendHttpStatusCode(204)
    else:
        output.AnswerBuffer(json.dumps(answer), "application/json")


@get
def dicomweb(output: Any, path: str, request: JSON) -> None:
    """Metadata and searches, which the DICOMweb plugin answers."""
    query = "&".join(f"{name}={value}" for name, value in request["get"].items())  # as it came, not decoded
    try:
        found = orthanc.RestApiGetAfterPlugins(f"{DICOMWEB}{quote(path.removeprefix('/v1'))}?{query}")
    except orthanc.OrthancException as error:
        # The plugin does not find what two patients have either, and then it is not gone.
        gone = error.args[0] == orthanc.ErrorCode.INEXISTENT_ITEM and not feed.has(path.split("/")[3::2])
        raise Refused(404 if gone else 500, "There is nothing that can be read.") from None
    output.AnswerBuffer(found, "application/dicom+json")


# What Orthanc tells


def settle(id: str) -> None:
    """Something has happened to an instance."""
    try:
        feed.settle([id])
    except Exception as error:
        orthanc.LogError(f"Change feed: an instance is left to a comparison ({type(error).__name__})")
        feed.doubt.set()


def changed(change: int, level: int, id: str) -> None:
    """Some time after it has happened, and also of the instance that an overwrite has deleted."""
    if change == orthanc.ChangeType.DELETED and level == orthanc.ResourceType.INSTANCE:
        settle(id)
    elif change == orthanc.ChangeType.ORTHANC_STARTED:
        feed.comparison.start()
    elif change == orthanc.ChangeType.ORTHANC_STOPPED:
        feed.stop()


def folder() -> Path:
    """Where the feed is: beside Orthanc's index, or as configured. Like Orthanc's, paths begin at the configuration."""
    given = CONFIG.get("ChangeFeed", {}).get("Path") or CONFIG.get("IndexDirectory") or CONFIG.get("StorageDirectory")
    configuration = Path(orthanc.GetConfigurationPath())
    return (configuration if configuration.is_dir() else configuration.parent) / (given or "OrthancStorage")


CONFIG = json.loads(orthanc.GetConfiguration())
DICOMWEB = "/" + CONFIG.get("DicomWeb", {}).get("Root", "/dicom-web/").strip("/")

feed = ChangeFeed(folder())
orthanc.RegisterOnStoredInstanceCallback(lambda _dicom, instance: settle(instance))  # before the store is answered
orthanc.RegisterOnChangeCallback(changed)
orthanc.RegisterRestCallback("/v1/changefeed(?:/latest)?", changefeed)
if DICOMWEB != "/v1":
    orthanc.RegisterRestCallback("/v1/(?:studies/.+/metadata|studies|series|instances)", dicomweb)
    # Images are too much to pass through here.
    elsewhere = get(lambda output, path, _: output.Redirect(DICOMWEB + quote(path.removeprefix("/v1"))))
    orthanc.RegisterRestCallback("/v1/studies/.+", elsewhere)
