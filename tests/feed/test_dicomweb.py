"""An archive without a feed: what of a search's answer says that a study has changed, and what is asked how often."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest

from dicomcast.dicom.dicomweb import DicomwebFeed
from dicomcast.errors import ConfigError
from dicomcast.mapping.tags import tag
from dicomcast.model import Outcome
from tests.feeds import instances, scripted, study_reads
from tests.scripted import Scripted
from tests.searched import JSON, Qido

PARTITION = "Microsoft.Default"
MINUTE = timedelta(seconds=10)  # between two polls, of which the next sweep is not due yet


@pytest.fixture
async def harness() -> AsyncIterator[Scripted]:
    harness = scripted("dicomweb")
    harness.put("1.2", "1.2.1", "1.2.1.1", PatientName="Doe^Jane", StudyDescription="a")
    yield harness
    await harness.close()


def keywords(row: JSON) -> JSON:
    names = {
        tag(name): name for name in ("StudyInstanceUID", "StudyDate", "PatientID", "NumberOfStudyRelatedInstances")
    }
    return {names.get(name, name): element for name, element in row.items()}


def lower(row: JSON) -> JSON:
    return {name.lower(): element for name, element in row.items()}


@pytest.mark.parametrize("spelt", [keywords, lower])
async def test_rows_are_spelt_in_more_than_one_way(harness: Scripted, spelt: Callable[[JSON], JSON]) -> None:
    """With keywords, or tags in lower case; a server that changes its mind is no change of a study."""
    qido = Qido(harness)
    qido.spelt = spelt
    assert await harness.cast() == {Outcome.CREATED: 1}
    qido.spelt = lambda row: row
    assert await harness.cast() == {}
    assert qido.listed == []


@pytest.mark.parametrize("name", ["RetrieveURL", "RetrieveAETitle", "InstanceAvailability"])
async def test_how_to_get_at_a_study_is_no_part_of_it(harness: Scripted, name: str) -> None:
    """A token in a URL, or a study that went to the tape, causes no cast."""
    qido, count = Qido(harness), 0

    def spelt(row: JSON) -> JSON:
        nonlocal count
        count += 1
        return row | {tag(name): {"vr": "UR", "Value": [f"http://dicom.test/{count}"]}}

    qido.spelt = spelt
    assert await harness.cast() == {Outcome.CREATED: 1}
    assert await harness.cast() == {}


def turned(node: Any) -> Any:
    """The same JSON with its members in the opposite order."""
    if isinstance(node, dict):
        return {name: turned(value) for name, value in reversed(node.items())}
    return [turned(one) for one in node] if isinstance(node, list) else node


async def test_the_order_of_members_says_nothing(harness: Scripted) -> None:
    """Neither of a row nor below it."""
    name = {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane", "Ideographic": "x"}]}
    codes = {"vr": "SQ", "Value": [{tag("CodeValue"): {"vr": "SH", "Value": ["1"]}, tag("CodeMeaning"): {"vr": "LO"}}]}
    qido = Qido(harness)
    qido.spelt = lambda row: row | {tag("PatientName"): name, tag("ProcedureCodeSequence"): codes}
    assert await harness.cast() == {Outcome.CREATED: 1}
    straight = qido.spelt
    qido.spelt = lambda row: turned(straight(row))
    assert await harness.cast() == {}


async def test_whatever_else_changes_in_a_row_causes_a_cast(harness: Scripted) -> None:
    """A description, a name, a count: the study is read whole."""
    qido = Qido(harness)
    await harness.cast()
    for change in ({tag("StudyDescription"): {"vr": "LO", "Value": ["b"]}}, {tag("AccessionNumber"): {"vr": "SH"}}):
        qido.spelt = lambda row, change=change: row | change  # type: ignore[misc]
        assert await harness.cast() == {Outcome.UNCHANGED: 1}
        assert await harness.cast() == {}


@pytest.mark.parametrize("counts", [True, False])
async def test_with_and_without_counts(harness: Scripted, counts: bool) -> None:
    """Where a server does not say how many instances there are they are listed; else nothing more is asked."""
    qido = Qido(harness, counts=counts)
    qido.cap = 2
    assert await harness.cast() == {Outcome.CREATED: 1}
    for number in range(2, 7):
        harness.put("1.2", "1.2.1", f"1.2.1.{number}", StudyDescription="a")
    assert await harness.cast() == {Outcome.UPDATED: 1}
    harness.archive.delete(PARTITION, "1.2", "1.2.1", "1.2.1.5")
    assert await harness.cast() == {Outcome.UPDATED: 1}
    assert await harness.cast() == {}
    assert bool(qido.listed) is not counts
    # One instance for another leaves the count as it was.
    harness.archive.delete(PARTITION, "1.2", "1.2.1", "1.2.1.6")
    harness.put("1.2", "1.2.1", "1.2.1.7", StudyDescription="a")
    assert await harness.cast() == ({} if counts else {Outcome.UPDATED: 1})


async def test_recent_studies_are_seen_at_each_poll_and_the_others_by_a_sweep(harness: Scripted) -> None:
    """By StudyDate, from three days ago to tomorrow, which it is in some places."""
    Qido(harness)
    await harness.cast()
    today = harness.now
    dates = {f"1.{days + 9}": f"{today + timedelta(days=days):%Y%m%d}" for days in (-4, -3, 0, 1, 2)}
    for study, date in [*dates.items(), ("1.99", None)]:
        harness.put(study, f"{study}.1", f"{study}.1.1", StudyDate=date)
    assert await harness.cast(MINUTE) == {Outcome.CREATED: 3}
    assert {"1.6", "1.9", "1.10"} <= instances(harness).keys()
    assert await harness.cast(MINUTE) == {}
    assert await harness.cast() == {Outcome.CREATED: 3}
    harness.put("1.9", "1.9.1", "1.9.1.2", StudyDate=dates["1.9"])
    harness.put("1.99", "1.99.1", "1.99.1.2", StudyDate=None)
    assert await harness.cast(MINUTE) == {Outcome.UPDATED: 1}
    assert await harness.cast() == {Outcome.UPDATED: 1}


async def test_at_a_start_at_the_latest_nothing_recent_is_cast() -> None:
    """Note is taken of all there is first: what was there before is no change."""
    harness = scripted("dicomweb")
    qido = Qido(harness)
    harness.put("1.2", "1.2.1", "1.2.1.1", StudyDate=f"{harness.now:%Y%m%d}")
    checkpoint = await harness.open()
    begun = await harness.state.advance(checkpoint, to=await harness.feed.start("latest"))
    assert begun.cursor is not None
    assert await harness.cast() == {}
    assert not [query for query in qido.queries if "StudyDate" in query]
    harness.put("1.2", "1.2.1", "1.2.1.2", StudyDate=f"{harness.now:%Y%m%d}")
    assert await harness.cast(MINUTE) == {Outcome.CREATED: 1}
    await harness.close()


async def test_what_a_poll_of_a_thousand_studies_costs() -> None:
    """Two requests, and a sweep about a dozen; nothing is read that has not changed."""
    harness = scripted("dicomweb")
    qido = Qido(harness)
    for number in range(1000):
        harness.put(f"1.{number}", f"1.{number}.1", f"1.{number}.1.1")
    checkpoint = await harness.open()
    await harness.state.advance(checkpoint, to=await harness.feed.start("latest"))
    for after, most in ((MINUTE, 14), (MINUTE, 2), (timedelta(minutes=9), 15)):
        del qido.queries[:]
        assert await harness.cast(after) == {}
        assert len(qido.queries) <= most
    assert study_reads(harness) == 0
    await harness.close()


async def test_a_replay_by_sequence_is_refused(harness: Scripted) -> None:
    """There is none to replay: what can be done instead is said."""
    await harness.cast()
    with pytest.raises(ConfigError, match=r"no sequences to replay; name the studies with --replay-study"):
        await anext(harness.synchronizer.replay(1, None))
    assert [cast.outcome for cast in await harness.synchronizer.replay_studies(["1.2"])] == [Outcome.UNCHANGED]


async def test_law_5_no_patient_of_a_search_stays_anywhere(
    harness: Scripted, capfd: pytest.CaptureFixture[str]
) -> None:
    """Rows hold names and ids: neither a URL, nor the log, nor the state store has them."""
    harness.put("1.3", "1.3.1", "1.3.1.1", PatientID="MRN-4711", PatientName="Doe^Jane", StudyDate=None)
    Qido(harness)
    await harness.cast()
    assert isinstance(harness.feed, DicomwebFeed)
    database: sqlite3.Connection = harness.state._database  # type: ignore[assignment]
    written = "\n".join(database.iterdump()) + "".join(str(request.url) for peer, request in harness.seen)
    out = capfd.readouterr()
    assert "1.3" in written
    for secret in ("MRN-4711", "Doe", "Jane"):
        assert secret not in written + out.out + out.err
