"""What we wrote a short while ago is not asked for again; and nobody loses by it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from dicomcast.model import Outcome
from tests.scripted import Scripted


async def trickle(harness: Scripted, count: int, first: int = 1) -> list[int]:
    """Instances of one study come one at a time, each in a window of its own: how many FHIR requests each costs."""
    asked = []
    for number in range(first, first + count):
        harness.put("1.2", "1.2.1", f"1.2.1.{number}")
        before = harness.server.requests
        harness.now += timedelta(minutes=1)
        checkpoint = await harness.state.load(harness.feed.source)
        async for _ in harness.synchronizer.drain(checkpoint):
            pass
        asked.append(harness.server.requests - before)
    return asked


async def begun(**options: object) -> Scripted:
    """A study is in FHIR, from a worker that goes on."""
    harness = Scripted(**options)
    harness.put("1.2", "1.2.1", "1.2.1.0")
    assert await harness.cast() == {Outcome.CREATED: 1}
    return harness


async def test_a_study_that_trickles_in_is_not_read_again() -> None:
    """One transaction for each window, and one version."""
    harness = await begun()
    assert await trickle(harness, 20) == [1] * 20
    study = harness.study()
    assert study["numberOfInstances"] == 21
    assert study["meta"]["versionId"] == "21"
    await harness.writes_nothing("1.2")
    await harness.close()


async def test_what_others_write_between_two_windows_stays() -> None:
    """Our update is refused (If-Match), so the study is read again, and merged again."""
    harness = await begun()
    await trickle(harness, 1)
    harness.store.put(harness.study() | {"note": [{"text": "by hand"}]})
    await trickle(harness, 1, first=2)
    study = harness.study()
    assert (study["numberOfInstances"], study["note"]) == (3, [{"text": "by hand"}])
    await harness.close()


async def test_what_others_delete_between_two_windows_comes_back_whole() -> None:
    """The study's next change finds that it is gone."""
    harness = await begun()
    await trickle(harness, 1)
    harness.store.delete("ImagingStudy", harness.study()["id"])
    await trickle(harness, 1, first=2)
    assert harness.study()["numberOfInstances"] == 3
    await harness.close()


async def test_who_replays_looks_at_what_is_there() -> None:
    """An operator who has changed something in FHIR by hand wants it mended, not remembered."""
    harness = await begun()
    harness.store.put({name: value for name, value in harness.study().items() if name != "started"})
    (cast,) = await harness.synchronizer.replay_studies(["1.2"])
    assert cast.outcome is Outcome.UPDATED
    assert "started" in harness.study()
    await harness.close()


async def test_a_server_without_versions_is_asked_again() -> None:
    """Nothing there would refuse an update over what somebody else wrote."""
    harness = await begun()
    harness.fhir.capabilities = replace(harness.fhir.capabilities, versioned=frozenset())
    assert (await trickle(harness, 3))[1:] == [2, 2]
    await harness.close()
