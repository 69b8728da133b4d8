"""Small studies share transactions, and none of them pays for another."""

from __future__ import annotations

from collections.abc import Callable

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


async def test_a_server_that_takes_less_at_once_is_given_less() -> None:
    """What it refused is written all the same, and it is seldom asked for so much again."""
    harness = Scripted()
    put_studies(harness, 400)
    refuse(harness, 400, lambda bundle: bundle.count(b'"ImagingStudy"') > 10)
    assert await harness.cast() == {Outcome.CREATED: 400}
    assert max(sizes(harness)[-10:]) <= 10
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
