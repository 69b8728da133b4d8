"""Answers that no Orthanc gives, and one UID under two PatientIDs, which it does give."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from dicomcast.errors import ConfigError, Retriable
from dicomcast.model import Checkpoint, Outcome
from tests.feeds import instances, scripted
from tests.scripted import Scripted

ROW = {"Seq": 2, "ChangeType": "NewInstance", "ID": "a"}
PAGE = {"Changes": [ROW], "Done": True, "Last": 2}
STUDY = {"ID": "a", "Type": "Study", "MainDicomTags": {"StudyInstanceUID": "1.2"}}
STRANGE: list[tuple[str, Any]] = [
    *(("/changes", one) for one in (None, [], 7, "x", {}, {"Changes": [], "Last": "2"}, {"Changes": {}, "Last": 2})),
    *(("/changes", {**PAGE, "Changes": [ROW | odd]}) for odd in ({"Seq": "2"}, {"ID": None}, {"ChangeType": 7})),
    *(("/changes", {**PAGE, "Changes": rows}) for rows in ([None], [[]], [{}])),
    ("/changes", {**PAGE, "Last": 2**80, "Changes": []}),
    ("/changes", {**PAGE, "Changes": [ROW | {"Seq": 2**80}]}),
    ("/changes", {**PAGE, "Changes": [ROW | {"Seq": -1}]}),
    ("/changes", {**PAGE, "Changes": [ROW | {"Seq": 1}]}),
    ("/changes", {**PAGE, "Changes": [ROW | {"Seq": 3}, ROW]}),
    ("/tools/bulk-content", None),
    ("/tools/bulk-content", {}),
    ("/tools/bulk-content", [7]),
    *(("/tools/bulk-content", [STUDY | odd]) for odd in ({"ID": 7}, {"MainDicomTags": None}, {"MainDicomTags": {}})),
    ("/studies", {}),
    ("/studies", ["a"]),
]


@pytest.fixture
async def harness() -> AsyncIterator[Scripted]:
    harness = scripted("orthanc-rest")
    yield harness
    await harness.close()


def answer(harness: Scripted, path: str, content: Any) -> None:
    def instead(peer: str, request: httpx.Request) -> httpx.Response | None:
        return httpx.Response(200, json=content) if (peer, request.url.path) == ("dicom", path) else None

    harness.instead = instead


async def drain(harness: Scripted, checkpoint: Checkpoint) -> None:
    windows = 0
    async for _ in harness.synchronizer.drain(checkpoint):
        windows += 1
        assert windows < 9, "it goes round in circles"


@pytest.mark.parametrize(("path", "content"), STRANGE)
async def test_a_strange_answer_is_waited_for(harness: Scripted, path: str, content: Any) -> None:
    """Whatever stands in its place, nothing is settled or removed for it, it comes to an end, and all goes on later."""
    harness.put("1.2", "1.2.1", "1.2.1.1")
    await harness.cast()
    harness.put("1.3", "1.3.1", "1.3.1.1")
    checkpoint = await harness.open()
    answer(harness, path, content)
    harness.now += timedelta(minutes=5)
    with pytest.raises(Retriable):
        await drain(harness, checkpoint)
    assert "1.2" in instances(harness)
    harness.instead = lambda peer, request: None
    await harness.cast()
    harness.now += timedelta(days=1)
    await harness.synchronizer.retry_parked()
    assert list(instances(harness)) == ["1.2", "1.3"]


@pytest.mark.parametrize("content", [None, {"ID": "a"}, [7], [{"Type": "Study"}]])
async def test_a_strange_answer_about_one_study(harness: Scripted, content: Any) -> None:
    """It is parked, since others may pass, and not removed."""
    harness.put("1.2", "1.2.1", "1.2.1.1")
    await harness.cast()
    answer(harness, "/tools/lookup", content)
    await harness.synchronizer.replay_studies(["1.2"])
    assert [row.key.study_uid for row in harness.state.rows()] == ["1.2"]
    assert list(instances(harness)) == ["1.2"]


@pytest.mark.parametrize("content", [None, [], 7, {}, {"Version": 1}, {"Name": "x", "ApiVersion": 1}])
async def test_what_is_no_orthanc(harness: Scripted, content: Any) -> None:
    """It is told at the first meeting, by the setting that points there."""
    answer(harness, "/system", content)
    with pytest.raises(ConfigError, match=r"DICOMCAST_DICOM__URL: http://dicom.test is not an Orthanc"):
        await harness.open()


@pytest.mark.parametrize("plugin", [None, [], "x"])
async def test_a_plugin_that_does_not_say_what_it_is(harness: Scripted, plugin: Any) -> None:
    """What answers there is no plugin's description."""
    answer(harness, "/plugins/dicom-web", plugin)
    with pytest.raises(ConfigError, match="is not an Orthanc"):
        await harness.open()


@pytest.mark.parametrize("uid", ["1.2*", "1.2?", "Doe^John", "", "1.2\ud800"])
async def test_a_study_whose_uid_is_none(harness: Scripted, uid: str) -> None:
    """It is a dead letter, it is never asked for, and when it is gone nobody waits for it."""
    harness.put("1.2", "1.2.1", "1.2.1.1")
    harness.put("1.3", "1.3.1", "1.3.1.1")
    shown = True

    def afterwards(peer: str, request: httpx.Request, answer: httpx.Response) -> httpx.Response | None:
        if peer != "dicom" or request.url.path not in ("/studies", "/tools/bulk-content"):
            return None
        rows = answer.json()
        for row in rows:
            if row["Type"] == "Study" and row["MainDicomTags"]["StudyInstanceUID"] == "1.2":
                row["MainDicomTags"]["StudyInstanceUID"] = uid
        rows = [row for row in rows if shown or row.get("MainDicomTags", {}).get("StudyInstanceUID") != uid]
        return httpx.Response(200, content=json.dumps(rows).encode())

    def instead(peer: str, request: httpx.Request) -> httpx.Response | None:
        wild = request.url.path == "/tools/lookup" and request.content.decode() not in ("1.2", "1.3")
        return httpx.Response(400) if wild else None  # "Wildcards are not allowed"

    harness.afterwards, harness.instead = afterwards, instead
    assert await harness.cast() == {Outcome.CREATED: 1, Outcome.PARKED: 1}
    (row,) = harness.state.rows()
    assert (row.key.study_uid, row.next_attempt, row.reason) == ("", None, "entry-not-understood")
    shown = False
    await harness.cast()
    await harness.cast()
    assert list(instances(harness)) == ["1.3"]


# --- One UID under two PatientIDs ---

ONE, OTHER = "Microsoft.Default", "other"


@pytest.fixture
async def twins() -> AsyncIterator[Scripted]:
    """An Orthanc that holds study 1.2 under two PatientIDs."""
    harness = scripted("orthanc-rest", partitions=True)
    harness.put("1.1", "1.1.1", "1.1.1.1")
    harness.put("1.2", "1.2.1", "1.2.1.1", ONE, PatientID="P1")
    harness.put("1.2", "1.2.2", "1.2.2.1", OTHER, PatientID="P2")
    yield harness
    await harness.close()


async def test_a_uid_under_two_patients_is_one_study(twins: Scripted) -> None:
    """It has the instances of both, and a second look changes nothing."""
    await twins.cast()
    assert instances(twins)["1.2"] == ["1.2.1.1", "1.2.2.1"]
    await twins.writes_nothing("1.1", "1.2")


@pytest.mark.parametrize("told", ["listed", "told"])
@pytest.mark.parametrize("window", [1, 2500])
@pytest.mark.parametrize("first", [ONE, OTHER])
async def test_one_of_the_two_is_deleted(twins: Scripted, first: str, window: int, told: str) -> None:
    """Whichever it is, also if a page of the listing showed the other last, or the log told of that alone."""
    twins.window = window
    twins.restart()
    await twins.cast()
    kept = OTHER if first == ONE else ONE
    if told == "told":
        twins.put("1.2", "1.2.3", "1.2.3.1", kept, PatientID="P1" if kept == ONE else "P2")
        await twins.cast(timedelta(seconds=1))
    more = ["1.2.3.1"] if told == "told" else []
    assert instances(twins)["1.2"] == ["1.2.1.1", "1.2.2.1", *more]
    twins.archive.delete(first, "1.2")
    await twins.cast()
    assert instances(twins)["1.2"] == ["1.2.2.1" if first == ONE else "1.2.1.1", *more]
    twins.archive.delete(kept, "1.2")
    await twins.cast()
    assert list(instances(twins)) == ["1.1"]
