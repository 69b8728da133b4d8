"""Law 3: infrastructure errors wait, data errors step aside. Whose trouble it is shows by who else has it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest

from dicomcast.errors import DicomCastError, NonePasses, Retriable, Unauthorized
from dicomcast.model import Outcome, StudyDelta
from tests.scripted import Scripted, bundle_of

REFUSALS = [400, 403, 404, 405, 422, 429, 500, 503]


def put_studies(harness: Scripted, count: int, first: int = 0) -> list[str]:
    """Studies of different patients, an instance each."""
    uids = [f"1.2.{first + number + 100}" for number in range(count)]
    for uid in uids:
        harness.put(uid, f"{uid}.1", f"{uid}.1.1", PatientID=f"P{uid}")
    return uids


def refuse(harness: Scripted, status: int, uids: list[str]) -> None:
    """The FHIR server answers this to the bundles of these studies; [""] is of all."""

    def instead(peer: str, request: httpx.Request) -> httpx.Response | None:
        return httpx.Response(status) if any(bundle_of(peer, request, uid) for uid in uids) else None

    harness.instead = instead


async def rows(harness: Scripted) -> dict[str, str]:
    return {row.key.study_uid: row.reason for row in await harness.state.parked(harness.feed.source)}


async def settled(harness: Scripted) -> int:
    cursor = (await harness.state.load(harness.feed.source)).cursor
    return cursor.sequence if cursor else 0


@pytest.mark.parametrize(("status", "count"), [*((status, 12) for status in REFUSALS), (422, 2), (503, 2)])
async def test_law_3_a_server_that_takes_nothing_parks_nobody(status: int, count: int) -> None:
    """Study after study fails and none passes: the feed waits where it is, and goes on when the server is mended."""
    harness = Scripted()
    await harness.cast()
    uids = put_studies(harness, count)
    refuse(harness, status, [""])
    for _ in range(2):
        with pytest.raises((Retriable, Unauthorized)):
            await harness.cast()
    assert await rows(harness) == {} and await settled(harness) == 0
    harness.instead = lambda peer, request: None
    assert await harness.cast() == {Outcome.CREATED: count}
    assert len(harness.studies()) == len(uids)
    await harness.close()


@pytest.mark.parametrize("status", REFUSALS)
async def test_law_3_a_study_that_alone_is_refused_steps_aside(status: int) -> None:
    """Others pass, so it is the study's: also where it is refused credentials, or throttled for ever."""
    harness = Scripted()
    uids = put_studies(harness, 6)
    refuse(harness, status, [uids[2]])
    assert await harness.cast() == {Outcome.CREATED: 5, Outcome.PARKED: 1}
    expected = {403: "forbidden", 404: "conflict"}.get(status, "refused" if status in (400, 422) else "")
    assert await rows(harness) == {uids[2]: expected or "no-usable-answer"}
    assert await settled(harness) == 6
    harness.instead = lambda peer, request: None
    harness.now += timedelta(minutes=2)
    assert [cast.outcome for cast in await harness.synchronizer.retry_parked()] == [Outcome.CREATED]
    await harness.close()


@pytest.mark.parametrize("status", [400, 403, 404, 405, 429, 500, 501, 503, 504])
async def test_law_3_a_study_that_cannot_be_searched_for_steps_aside(status: int) -> None:
    """The look-up of a whole window has it among the others: that it fails is no reason to hold them."""
    harness = Scripted()
    uids = put_studies(harness, 6)
    harness.instead = lambda peer, request: (
        httpx.Response(status) if request.url.path.endswith("_search") and uids[2].encode() in request.content else None
    )
    assert await harness.cast() == {Outcome.CREATED: 5, Outcome.PARKED: 1}
    assert set(await rows(harness)) == {uids[2]}
    for attempts in (2, 3):
        harness.now += timedelta(hours=1)
        assert [cast.outcome for cast in await harness.synchronizer.retry_parked()] == [Outcome.PARKED]
        (row,) = await harness.state.parked(harness.feed.source)
        assert row.attempts == attempts
    await harness.close()


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_token_is_not_tried_for_each_study(status: int) -> None:
    """A server may lock an account out that asks too often."""
    harness = Scripted()
    put_studies(harness, 40)
    refuse(harness, status, [""])
    with pytest.raises(Unauthorized):
        await harness.cast()
    assert len(harness.writes()) <= 14
    await harness.close()


async def test_a_refused_endpoint_is_no_studys_fault() -> None:
    """Every study refers to it: the feed waits."""
    harness = Scripted()
    put_studies(harness, 3)

    def instead(peer: str, request: httpx.Request) -> httpx.Response | None:
        return httpx.Response(422) if b'"resourceType":"Endpoint"' in bundle_of(peer, request) else None

    harness.instead = instead
    with pytest.raises(Retriable, match="Endpoint cannot be written"):
        await harness.cast()
    assert await rows(harness) == {} and await settled(harness) == 0
    await harness.close()


async def test_studies_that_are_refused_one_at_a_time() -> None:
    """A study that nobody stands beside is parked, until study after study has come to that."""
    harness = Scripted()
    put_studies(harness, 1, 50)
    assert await harness.cast() == {Outcome.CREATED: 1}
    refuse(harness, 422, [""])
    for number in range(2):
        put_studies(harness, 1, number)
        assert await harness.cast() == {Outcome.PARKED: 1}
    put_studies(harness, 1, 2)
    with pytest.raises(Retriable, match="study after study fails"):
        await harness.cast()
    assert len(await rows(harness)) == 2 and await settled(harness) == 3
    harness.instead = lambda peer, request: None
    assert await harness.cast() == {Outcome.CREATED: 1}
    await harness.close()


async def test_one_that_passes_behind_many_that_do_not() -> None:
    """Those in front are not always asked first, so that the one which passes is found."""
    harness = Scripted()
    bad = put_studies(harness, 15)
    (good,) = put_studies(harness, 1, 50)
    refuse(harness, 422, bad)
    for _ in range(300):
        try:
            await harness.cast()
            break
        except Retriable:
            assert await rows(harness) == {}
    assert set(await rows(harness)) == set(bad)
    assert [one["identifier"][0]["value"] for one in harness.studies()] == [f"urn:oid:{good}"]
    assert await settled(harness) == 16
    await harness.close()


async def test_two_that_fail_behind_hundreds_that_pass() -> None:
    """Studies are looked up some hundred at a time, but it is the window that tells whose trouble it is."""
    harness = Scripted()
    put_studies(harness, 201)
    bad = put_studies(harness, 2, 300)
    refuse(harness, 422, bad)
    assert await harness.cast() == {Outcome.CREATED: 201, Outcome.PARKED: 2}
    await harness.close()


async def test_a_window_that_is_full_of_what_fails() -> None:
    """One that passes is looked for in the windows behind it, else it would never be found."""
    harness = Scripted(window=2)
    bad = put_studies(harness, 6)
    put_studies(harness, 3, 50)
    refuse(harness, 422, bad)
    for _ in range(40):
        try:
            await harness.cast()
        except NonePasses:
            assert await settled(harness) == 0
    assert set(await rows(harness)) == set(bad)
    assert len(harness.studies()) == 3 and await settled(harness) == 9
    await harness.close()


async def test_an_archive_whose_metadata_cannot_be_read_at_all() -> None:
    """It fails at each study, though it answers searches and lists its entries: the feed waits."""
    harness = Scripted()
    put_studies(harness, 12)
    fails = True

    def instead(peer: str, request: httpx.Request) -> httpx.Response | None:
        metadata = request.url.path.endswith("/metadata") or request.url.params.get("includeMetadata") == "true"
        return httpx.Response(500) if peer == "dicom" and metadata and fails else None

    harness.instead = instead
    with pytest.raises(NonePasses, match="cannot read the metadata"):
        await harness.cast()
    assert await rows(harness) == {} and await settled(harness) == 0
    fails = False
    assert await harness.cast() == {Outcome.CREATED: 12}
    await harness.close()


async def test_what_failed_before_fails_again_and_the_feed_goes_on() -> None:
    """The retry of parked studies says nothing about the server, however many they are."""
    harness = Scripted()
    bad = put_studies(harness, 12)
    put_studies(harness, 3, 20)
    refuse(harness, 422, bad)
    while await settled(harness) < 15:
        try:
            await harness.cast()
        except Retriable:
            continue
    harness.now += timedelta(hours=1)
    while casts := await harness.synchronizer.retry_parked():
        assert {cast.outcome for cast in casts} == {Outcome.PARKED} and len(casts) <= 8
    assert set(await rows(harness)) == set(bad)
    put_studies(harness, 1, 30)
    assert await harness.cast(timedelta(seconds=31)) == {Outcome.CREATED: 1}
    await harness.close()


@pytest.mark.parametrize("peer", ["dicom", "fhir"])
async def test_a_peer_that_goes_away_in_the_middle_of_a_window(peer: str) -> None:
    """The first study that notices ends the window: the others are not tried one by one."""
    harness = Scripted()
    put_studies(harness, 60)
    down = False

    def instead(asked: str, request: httpx.Request) -> httpx.Response | None:
        nonlocal down
        down = down or bool(bundle_of(asked, request, "1.2.103"))
        if down and asked == peer:
            raise httpx.ConnectError("refused", request=request)
        return httpx.Response(500) if down and bundle_of(asked, request) else None

    harness.instead = instead
    with pytest.raises(Retriable):
        await harness.cast()
    noticed = next(at for at, (_, request) in enumerate(harness.seen) if bundle_of("fhir", request, "1.2.103"))
    assert len(harness.seen) - noticed < 60
    assert await rows(harness) == {} and await settled(harness) == 0
    await harness.close()


async def test_a_defect_of_ours_costs_its_study_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody foresaw is parked with the place where it arose, and never with what it said."""
    harness = Scripted()
    bad, good = put_studies(harness, 2)
    cast = harness.caster.cast

    async def stumbles(delta: StudyDelta, **options: Any) -> Outcome:
        if delta.key.study_uid == bad:
            raise KeyError("Doe^Jane")
        return await cast(delta, **options)

    monkeypatch.setattr(harness.caster, "cast", stumbles)
    assert await harness.cast() == {Outcome.CREATED: 1, Outcome.PARKED: 1}
    (row,) = await harness.state.parked(harness.feed.source)
    assert (row.key.study_uid, row.reason) == (bad, "defect")
    assert "KeyError in tests.sync.test_whose_trouble:" in row.message and "Doe" not in row.message
    assert [one["identifier"][0]["value"] for one in harness.studies()] == [f"urn:oid:{good}"]
    await harness.close()


async def test_an_instance_that_fhir_cannot_hold_is_left_out_and_seen() -> None:
    """A UID that is no FHIR id costs one instance; the rest is cast, and the study stays on the list."""
    harness = Scripted()
    harness.put("1.2", "1.2.1", "1.2.1.1")
    harness.put("1.2", "1.2.1", "1.2.1.2")

    def misspelt(peer: str, request: httpx.Request, answer: httpx.Response) -> httpx.Response | None:
        if peer == "fhir":
            return None
        content = answer.content.replace(b'"1.2.1.2"', b'"1.2.1_2"')
        return httpx.Response(answer.status_code, content=content, headers={"Date": answer.headers["Date"]})

    harness.afterwards = misspelt
    (bad,) = put_studies(harness, 1)
    refuse(harness, 422, [bad])
    assert await harness.cast() == {Outcome.PARKED: 2}
    assert harness.study()["numberOfInstances"] == 1, "it was written, so what is wrong with the other is its own"
    assert await rows(harness) == {"1.2": "instance-left-out", bad: "refused"}
    harness.archive.delete("Microsoft.Default", bad)
    harness.afterwards = lambda peer, request, answer: None
    harness.now += timedelta(minutes=2)
    outcomes = {cast.outcome for cast in await harness.synchronizer.retry_parked()}
    assert outcomes == {Outcome.UPDATED, Outcome.SKIPPED}
    assert await rows(harness) == {} and harness.study()["numberOfInstances"] == 2
    await harness.close()


async def test_probes_do_not_forget_what_the_server_can() -> None:
    """A proxy's page in the middle of the day is waited out, and not taken for a wrong setting."""
    harness = Scripted()
    put_studies(harness, 2)
    harness.instead = lambda peer, request: (
        httpx.Response(200, text="<html>")
        if peer == "fhir" and not request.url.path.endswith("_search") and len(harness.seen) > 12
        else None
    )
    for _ in range(4):
        put_studies(harness, 2, 10 + len(harness.seen))
        try:
            await harness.cast()
        except DicomCastError as error:
            assert type(error) is not Unauthorized
    assert harness.fhir.capabilities.transaction
    await harness.close()
