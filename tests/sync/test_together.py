"""Small studies share transactions, and none of them pays for another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import orjson
import pytest

from dicomcast.model import Outcome
from tests.scripted import Scripted, bundle_of


def put_studies(harness: Scripted, count: int, *, patients: int = 1000) -> list[str]:
    """Studies of an instance each."""
    uids = [f"1.2.{number + 100}" for number in range(count)]
    for number, uid in enumerate(uids):
        harness.put(uid, f"{uid}.1", f"{uid}.1.1", PatientID=f"P{number % patients}")
    return uids


def sizes(harness: Scripted) -> list[int]:
    """How many ImagingStudies there are in each bundle that was sent."""
    return [
        kinds.count("ImagingStudy")
        for sent in harness.writes()
        if "ImagingStudy" in (kinds := [one["resource"]["resourceType"] for one in orjson.loads(sent)["entry"]])
    ]


def refuse(harness: Scripted, status: int, condition: Callable[[bytes], bool]) -> None:
    """The FHIR server answers this to the bundles of which it is true."""

    def instead(peer: str, request: httpx.Request) -> httpx.Response | None:
        bundle = bundle_of(peer, request)
        return httpx.Response(status) if bundle and condition(bundle) else None

    harness.instead = instead


async def test_small_studies_share_transactions() -> None:
    """A hundred of them are written in a few, and are all there."""
    harness = Scripted()
    put_studies(harness, 100)
    assert await harness.cast() == {Outcome.CREATED: 100}
    assert sum(sizes(harness)) == 100
    assert len(sizes(harness)) <= 5
    await harness.writes_nothing("1.2.100")
    await harness.close()


async def test_studies_of_one_patient_are_written_one_after_the_other() -> None:
    """Each of them may change the Patient: the newest speaks, whoever came first."""
    harness = Scripted()
    for number in range(20):
        name, date = f"Doe^{number:02}", f"202401{number + 1:02}"
        harness.put(f"1.2.{number}", f"1.2.{number}.1", f"1.2.{number}.1.1", PatientName=name, StudyDate=date)
    assert await harness.cast() == {Outcome.CREATED: 20}
    (patient,) = harness.patients()
    assert patient["name"][0]["given"] == ["19"]
    await harness.writes_nothing("1.2.0")
    await harness.close()


@pytest.mark.parametrize("status", [400, 403, 409, 412, 413, 422, 429, 500, 503])
async def test_one_that_is_refused_costs_no_other(status: int) -> None:
    """It is parked alone, or is written when the server will have it; the others are written at once, and once."""
    harness = Scripted()
    uids = put_studies(harness, 40)
    refuse(harness, status, lambda bundle: f'"urn:oid:{uids[7]}"'.encode() in bundle)
    assert await harness.cast() == {Outcome.CREATED: 39, Outcome.PARKED: 1}
    (row,) = harness.state.rows()
    assert row.key.study_uid == uids[7]
    assert harness.store.total_versions() == 39 * 2 + 1, "studies, Patients, and the Endpoint, of one version each"
    await harness.close()


@pytest.mark.parametrize("answered", [httpx.Response(504), httpx.Response(200, content=b"<html>back soon</html>")])
async def test_a_transaction_without_an_answer_is_looked_up(answered: httpx.Response) -> None:
    """It was done, and nobody knew: each study is looked at again, and nothing is written twice."""
    harness = Scripted()
    put_studies(harness, 40)
    lost: list[int] = []

    def afterwards(peer: str, request: httpx.Request, answer: httpx.Response) -> httpx.Response | None:
        if b'"ImagingStudy"' in bundle_of(peer, request) and not lost:
            lost.append(answer.status_code)
            return answered
        return None

    harness.afterwards = afterwards
    await harness.cast()
    assert lost == [200]
    assert len(harness.studies()) == 40
    assert harness.store.total_versions() == 40 * 2 + 1
    await harness.writes_nothing("1.2.100")
    await harness.close()


@pytest.mark.parametrize("status", [400, 504])
async def test_a_server_that_takes_less_at_once_is_given_less(status: int) -> None:
    """What it refused, or took too long for, is written all the same, and it is seldom asked for so much again."""
    harness = Scripted()
    put_studies(harness, 600)
    refuse(harness, status, lambda bundle: bundle.count(b'"ImagingStudy"') > 10)
    assert await harness.cast() == {Outcome.CREATED: 600}
    assert sum(size > 10 for size in sizes(harness)) <= 8
    assert 1 < max(sizes(harness)[-10:]) <= 10
    await harness.close()


async def test_a_refused_pair_does_not_end_sharing() -> None:
    """The first two of a backlog share a transaction, and one of them is refused: later ones share all the same."""
    harness = Scripted(window=2)
    refused, *_ = put_studies(harness, 20)
    refuse(harness, 422, lambda bundle: f'"urn:oid:{refused}"'.encode() in bundle)
    assert await harness.cast() == {Outcome.CREATED: 19, Outcome.PARKED: 1}
    assert [size for size in sizes(harness) if size > 1] == [2] * 10
    await harness.close()


async def test_studies_that_are_read_whole_are_not_read_side_by_side() -> None:
    """Each may be large, so no more of them are in memory than are cast at once."""
    harness = Scripted()
    harness.put("1.1", "1.1.1", "1.1.1.1")
    await harness.cast()  # what is new from now on may have been there before, in part
    put_studies(harness, 100)
    under_way, most = 0, 0
    snapshot = harness.feed.snapshot

    async def counted(*asked: Any) -> Any:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.001)
        try:
            return await snapshot(*asked)
        finally:
            under_way -= 1

    harness.feed.snapshot = counted  # type: ignore[method-assign]
    assert await harness.cast() == {Outcome.CREATED: 100}
    assert 1 < most <= 4
    await harness.close()


async def test_a_patient_that_replaces_another_is_written_once_in_a_transaction() -> None:
    """By `replaced-by` two PatientIDs lead to one Patient: the studies of both are not written together."""
    harness = Scripted()
    for number in "12":
        harness.put(f"1.{number}", f"1.{number}.1", f"1.{number}.1.1", PatientID=f"P{number}", PatientName="Doe^Old")
    await harness.cast()
    first, second = sorted(harness.patients(), key=lambda one: str(one["identifier"][0]["value"]))
    link = {"type": "replaced-by", "other": {"reference": f"Patient/{second['id']}"}}
    harness.store.put({**first, "link": [link]})
    del harness.seen[:]
    for number, date in (("3", "20250101"), ("4", "20250202")):
        harness.put(
            f"1.{number}",
            f"1.{number}.1",
            f"1.{number}.1.1",
            PatientID=f"P{int(number) - 2}",
            PatientName=f"Doe^{number}",
            StudyDate=date,
        )
    assert await harness.cast() == {Outcome.CREATED: 2}
    for sent in harness.writes():
        urls = [entry["request"]["url"] for entry in orjson.loads(sent)["entry"]]
        assert len(urls) == len(set(urls))
    assert all(study["subject"]["reference"] == f"Patient/{second['id']}" for study in harness.studies()[2:])
    again = await harness.synchronizer.replay_studies(["1.3", "1.4"])
    assert {cast.outcome for cast in again} == {Outcome.UNCHANGED}
    await harness.close()


async def test_a_run_that_is_stopped_during_a_shared_transaction() -> None:
    """What was under way is asked for once more, and in the end each study is written once."""
    harness = Scripted()
    put_studies(harness, 100)
    arrived = asyncio.Event()

    async def before(peer: str, request: httpx.Request) -> None:
        if bundle_of(peer, request).count(b'"ImagingStudy"') > 1:
            arrived.set()
            await asyncio.Event().wait()

    harness.before = before
    run = asyncio.create_task(harness.cast())
    await arrived.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert harness.synchronizer.interrupted

    async def nothing(peer: str, request: httpx.Request) -> None:
        """The server answers again."""

    harness.before = nothing
    harness.restart()
    await harness.cast()
    while harness.state.rows():
        await harness.synchronizer.retry_parked()
    assert len(harness.studies()) == 100
    assert harness.store.total_versions() == 100 * 2 + 1
    await harness.close()


async def test_large_studies_go_alone() -> None:
    """A transaction is no larger than a server that takes one large study has to take anyway."""
    harness = Scripted(window=10_000)
    for study in "234":
        for number in range(1500):
            harness.put(f"1.{study}", f"1.{study}.1", f"1.{study}.1.{number}", PatientID=study)
    assert await harness.cast() == {Outcome.CREATED: 3}
    assert sizes(harness)[-3:] == [1, 1, 1]
    await harness.close()


async def test_without_transactions_nothing_is_shared() -> None:
    """A batch may be done in part, so each study has batches of its own."""
    harness = Scripted(transactions=False)
    put_studies(harness, 10)
    assert await harness.cast() == {Outcome.CREATED: 10}
    assert sizes(harness) == [1] * 10
    await harness.close()
