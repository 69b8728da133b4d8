"""A backfill of every kind of archive: what is cast, what a second process has left to do, and what comes meanwhile."""

from __future__ import annotations

import contextlib
from collections import Counter
from datetime import timedelta

import httpx
import pytest

from dicomcast.app import App
from dicomcast.backfill import Backfill
from dicomcast.errors import Retriable
from dicomcast.identity import study_id
from dicomcast.mapping.rules import Rules
from dicomcast.model import Checkpoint, Outcome, StudyKey
from tests.feeds import KINDS, fill, harness_of, instances, scripted, study_reads
from tests.filling import Killed, backfill, everything, partitioned, worked
from tests.harness import DICOM_URL, SYSTEM, Harness
from tests.history import idle_versions
from tests.scripted import Scripted, bundle_of
from tests.trouble import Crash

PARTITION = "Microsoft.Default"

harness = harness_of(KINDS)


async def test_all_that_is_there_is_cast_once(harness: Scripted) -> None:
    """Then the feed goes on from where it was at the start: nothing is told twice, and nothing is missed."""
    fill(harness, 5)
    work = await backfill(harness)
    assert work.complete and work.progress.outcomes == {Outcome.CREATED: 5}
    assert set(instances(harness)) == {f"1.{number}" for number in range(1, 6)}
    assert study_reads(harness) == 5
    assert (await harness.feed.latest()).sequence == (await harness.state.load(DICOM_URL)).cursor.sequence  # type: ignore[union-attr]
    harness.put("1.6", "1.6.1", "1.6.1.1")
    assert told(await harness.cast()) == {Outcome.CREATED: 1}
    assert await harness.cast() == {}
    assert study_reads(harness) <= 6


def told(outcomes: Counter[Outcome]) -> Counter[Outcome]:
    """What was news: by v2 the last entries before the cursor are read once more, for there may be late ones."""
    return outcomes - Counter({Outcome.UNCHANGED: outcomes[Outcome.UNCHANGED]})


async def test_a_second_one_is_a_new_one(harness: Scripted) -> None:
    """What an earlier one has noted is gone with it; nothing is written where FHIR is right, and what lacks comes back.

    The cursor that is there stays, as with a new FHIR server beside an old state store.
    """
    fill(harness, 3)
    await backfill(harness)
    before = await harness.state.load(DICOM_URL)
    assert before.cursor is not None and "backfill" not in before.cursor.position
    harness.restart()
    assert (await backfill(harness)).progress.outcomes == {Outcome.UNCHANGED: 3}
    harness.store.delete("ImagingStudy", study_id(StudyKey(DICOM_URL, "", "1.2")))
    harness.restart()
    assert (await backfill(harness)).progress.outcomes == {Outcome.UNCHANGED: 2, Outcome.CREATED: 1}
    assert (await harness.state.load(DICOM_URL)).cursor == before.cursor or harness.api in ("orthanc", "dicomweb")
    assert idle_versions(harness.store) == []


async def test_what_is_settled_is_not_cast_again(harness: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed and begun again: each study is read once, but those that were in hand; and it is said how many."""
    monkeypatch.setattr("dicomcast.backfill._STUDIES", 4)
    fill(harness, 20)
    harness.now += timedelta(minutes=1)
    harness.put("1.1", "1.1.1", "1.1.1.2")  # which v2 reads again, and nothing before it
    killed = Killed(harness)
    step = Backfill.step
    settled: list[int] = []

    async def stepped(self: Backfill, checkpoint: Checkpoint, *args: object) -> object:
        settled.append(self.progress.settled)
        killed.dead = self.progress.settled >= 12
        return await step(self, checkpoint, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Backfill, "step", stepped)
    with pytest.raises(Crash):
        await worked(harness, 100)
    monkeypatch.setattr(Backfill, "step", step)
    assert settled[-1] == 12
    Killed(harness)
    harness.restart()
    del harness.seen[:]
    work = await backfill(harness)
    assert (work.progress.before, work.progress.total) == (12, 20)
    assert work.progress.outcomes == {Outcome.CREATED: 8}
    assert study_reads(harness) == 8
    assert len(harness.studies()) == 20


async def test_restart_forgets_what_was_settled(harness: Scripted) -> None:
    """All is listed and cast anew."""
    fill(harness, 4)
    app = harness.app(start="latest")
    await app.tenure.take()
    first = Backfill(app)
    checkpoint = await pinned(app)
    while first.progress.total is None:
        checkpoint, _ = await first.step(checkpoint, lambda: False)
    harness.archive.delete(PARTITION, "1.1")
    harness.restart()
    work = await backfill(harness, restart=True)
    assert (work.progress.total, work.progress.before) == (3, 0)
    assert work.progress.outcomes == {Outcome.CREATED: 3}


async def pinned(app: App) -> Checkpoint:
    """A cursor at the present end of the feed, as the worker has it before a backfill begins."""
    checkpoint = await app.open()
    assert checkpoint.cursor is not None
    return await app.store.advance(checkpoint, to=checkpoint.cursor)


async def test_a_study_that_cannot_be_cast_is_parked(harness: Scripted) -> None:
    """The others are cast; it is tried again later, as everywhere, and is no longer of the backfill."""
    fill(harness, 5)

    def instead(peer: str, request: httpx.Request) -> httpx.Response | None:
        return httpx.Response(422) if bundle_of(peer, request, "1.3") else None

    harness.instead = instead
    work = await backfill(harness)
    assert work.complete and work.progress.outcomes == {Outcome.CREATED: 4, Outcome.PARKED: 1}
    assert [row.key.study_uid for row in harness.state.rows()] == ["1.3"]
    harness.instead = lambda peer, request: None
    harness.now += timedelta(minutes=2)
    await harness.open()
    assert [cast.outcome for cast in await harness.synchronizer.retry_parked()] == [Outcome.CREATED]


async def test_a_study_that_is_deleted_after_it_was_listed(harness: Scripted) -> None:
    """It is no error: it is not cast, and what FHIR has of it goes."""
    fill(harness, 4)
    await harness.cast()
    app = harness.app(start="latest")
    await app.tenure.take()
    work = Backfill(app)
    checkpoint = await app.open()
    while work.progress.total is None:
        checkpoint, _ = await work.step(checkpoint, lambda: False)
    harness.archive.delete(PARTITION, "1.2")
    while not work.complete:
        checkpoint, _ = await work.step(checkpoint, lambda: False)
    assert work.progress.outcomes == {Outcome.UNCHANGED: 3, Outcome.DELETED: 1}
    assert harness.state.rows() == []


@pytest.mark.parametrize("kind", ["v1", "v2"])
async def test_each_partition_is_swept(kind: str) -> None:
    """One UID in two partitions is two studies."""
    harness = partitioned(kind)
    for partition, study in (("north", "1.2"), ("south", "1.2"), ("south", "1.3")):
        harness.put(study, f"{study}.1", f"{study}.1.1", partition, PatientID=study)
    assert (await backfill(harness)).progress.outcomes == {Outcome.CREATED: 3}
    assert sum(map(len, everything(harness).values())) == len(harness.studies()) == 3
    await harness.close()


@pytest.mark.parametrize("kind", ["v1", "v2"])
async def test_a_feed_that_does_not_reach_back(kind: str) -> None:
    """Its first entries are gone, so that no reading of the feed would find these studies."""
    harness = scripted(kind)
    fill(harness, 6)
    archive = harness.archive
    archive._by_sequence, archive._by_time = archive._by_sequence[4:], archive._by_time[4:]
    missing = scripted(kind)
    missing.archive, missing.dicom_app, missing.now = archive, harness.dicom_app, harness.now
    missing.restart()
    await missing.cast()
    assert set(instances(missing)) == {"1.5", "1.6"}
    assert (await backfill(harness)).progress.outcomes == {Outcome.CREATED: 6}
    archive.delete(PARTITION, "1.1")
    assert told(await harness.cast()) == {Outcome.DELETED: 1}
    for one in (harness, missing):
        await one.close()


@pytest.mark.parametrize("gone", [False, True])
async def test_law_1_an_older_snapshot_never_overwrites_what_the_feed_told(gone: bool) -> None:
    """A study changes between its snapshot and its write, and another worker settles that before we wake up."""
    harness = Scripted()
    harness.put("1.2", "1.2.1", "1.2.1.1")
    harness.put("1.2", "1.2.1", "1.2.1.2")
    rival: list[Harness] = []

    async def before(peer: str, request: httpx.Request) -> None:
        if rival or not bundle_of(peer, request, "1.2"):
            return
        harness.archive.delete(PARTITION, "1.2", *([] if gone else ["1.2.1", "1.2.1.2"]))
        harness.now += timedelta(minutes=5)
        rival.append(Harness(rival_of=harness))
        await rival[0].drain()
        harness.tenure.expire()

    harness.before = before
    with contextlib.suppress(Exception):
        await worked(harness, 100)
    assert rival
    # What was sent late is looked at once more, by whoever is active then.
    harness.now += timedelta(minutes=5)
    await rival[0].open()
    await rival[0].synchronizer.retry_parked()
    await rival[0].drain()
    assert instances(harness) == ({} if gone else {"1.2": ["1.2.1.1"]})
    await harness.close()


async def test_small_studies_share_transactions(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read is written together, and looked up with one search; only so many instances are in memory at once."""
    harness = Scripted()
    for number in range(1, 41):
        harness.put(f"1.{number}", f"1.{number}.1", f"1.{number}.1.1", PatientID=f"P{number}")
    await backfill(harness)
    assert len(harness.studies()) == 40
    assert len([bundle for bundle in harness.writes() if b"ImagingStudy" in bundle]) <= 8
    monkeypatch.setattr("dicomcast.backfill._INSTANCES", 1)
    harness.restart()
    del harness.seen[:]
    assert (await backfill(harness)).progress.outcomes == {Outcome.UNCHANGED: 40}
    assert study_reads(harness) == 40
    await harness.close()


@pytest.mark.parametrize("left", [1, 3, 12])
async def test_the_last_ones_fail(left: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where others have passed before, studies that fail at the end are parked: nobody is left to pass beside them."""
    monkeypatch.setattr("dicomcast.backfill._STUDIES", 4)
    harness = Scripted()
    for number in range(10, 30):
        harness.put(f"1.{number}", f"1.{number}.1", f"1.{number}.1.1", PatientID=f"P{number}")
    bad = [f"1.{number}" for number in range(30 - left, 30)]

    def instead(peer: str, request: httpx.Request) -> httpx.Response | None:
        return httpx.Response(422) if any(bundle_of(peer, request, uid) for uid in bad) else None

    harness.instead = instead
    await worked(harness, 100)
    assert sorted(row.key.study_uid for row in harness.state.rows()) == bad
    assert len(harness.studies()) == 20 - left
    await harness.close()


async def test_where_nobody_passes_nobody_is_parked() -> None:
    """Law 3: a server that refuses all there is has a trouble of its own, which is waited for."""
    harness = Scripted()
    fill(harness, 3)
    harness.instead = lambda peer, request: httpx.Response(422) if bundle_of(peer, request) else None
    app = harness.app(start="latest")
    await app.tenure.take()
    work, checkpoint = Backfill(app), await pinned(app)
    while work.progress.total is None:
        checkpoint, _ = await work.step(checkpoint, lambda: False)
    with pytest.raises(Retriable, match="none passes"):
        await work.step(checkpoint, lambda: False)
    assert harness.state.rows() == [] and await harness.state.count_enlisted(DICOM_URL) == 3
    await harness.close()


async def test_what_was_being_stored_when_the_cursor_was_pinned() -> None:
    """It is numbered before the cursor and shows only later: the list is made when the safety lag has passed."""
    harness = Scripted()
    fill(harness, 2)
    harness.archive.hold(1)
    harness.put("1.8", "1.8.1", "1.8.1.1")
    harness.put("1.9", "1.9.1", "1.9.1.1")
    app = harness.app(start="latest")
    await app.tenure.take()
    work, checkpoint = Backfill(app, lag=timedelta(milliseconds=20)), await pinned(app)
    checkpoint, _ = await work.step(checkpoint, lambda: False)
    assert work.progress.listed == 0
    harness.archive.release()
    while not work.complete:
        checkpoint, _ = await work.step(checkpoint, lambda: False)
    assert set(instances(harness)) == {"1.1", "1.2", "1.8", "1.9"}
    await harness.close()


async def test_a_name_that_is_no_uid_is_parked() -> None:
    """Nobody can ask for such a study."""
    harness = Scripted()
    fill(harness, 2)

    def instead(peer: str, request: httpx.Request) -> httpx.Response | None:
        if peer == "dicom" and request.url.path == "/v1/studies" and request.url.params["offset"] == "0":
            rows = [{"0020000D": {"vr": "UI", "Value": [uid]}} for uid in ("1.1", "../x", "1.2")]
            return httpx.Response(200, json=rows)
        return None

    harness.instead = instead
    work = await backfill(harness)
    assert work.progress.outcomes == {Outcome.CREATED: 2, Outcome.PARKED: 1}
    (row,) = harness.state.rows()
    assert (row.key.study_uid, row.reason) == ("", "entry-not-understood")
    await harness.close()


async def test_a_study_that_is_too_large_to_be_listed() -> None:
    """Read ahead, it is known by its counts; what others wrote on one of its instances keeps that one listed."""
    harness = Scripted()
    for study, count in (("1.2", 3), ("1.3", 3), ("1.4", 1)):
        for number in range(count):
            harness.put(study, f"{study}.1", f"{study}.1.{number}")
    await backfill(harness)
    marked = next(one for one in harness.studies() if one["identifier"][0]["value"] == "urn:oid:1.2")
    marked["series"][0]["instance"][2]["extension"] = [{"url": "https://viewer.test/key", "valueBoolean": True}]
    harness.store.put(marked)
    harness.rules = Rules(SYSTEM, most_listed=2)
    harness.restart()
    assert (await backfill(harness)).progress.outcomes == {Outcome.UPDATED: 2, Outcome.UNCHANGED: 1}
    series = {one["identifier"][0]["value"][8:]: one["series"][0] for one in harness.studies()}
    assert {uid: (one["numberOfInstances"], len(one.get("instance", []))) for uid, one in series.items()} == {
        "1.2": (3, 1),
        "1.3": (3, 0),
        "1.4": (1, 1),
    }
    assert series["1.2"]["instance"] == [marked["series"][0]["instance"][2]]
    await harness.close()
