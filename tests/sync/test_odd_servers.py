"""Answers that a FHIR server should not give, but some do: nothing is lost by them, and nobody's study is anybody's."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import orjson
import pytest

from dicomcast.errors import ConfigError, Rejected
from dicomcast.model import Outcome
from tests.scripted import Scripted


async def test_a_search_that_ignores_case_makes_no_patient_of_another() -> None:
    """The look-up knows p1 from P1; the condition of a create would not, and hang the study on somebody else."""
    harness = Scripted(update_create=False)
    harness.put("1.2", "1.2.1", "1.2.1.1", PatientID="P1", PatientName="Doe^Jane")
    await harness.cast()

    async def careless(peer: str, request: httpx.Request) -> None:
        if peer == "fhir":
            request.stream = httpx.ByteStream(request.content.replace(b"%7Cp1", b"%7CP1"))  # type: ignore[attr-defined]

    harness.before = careless
    harness.put("1.3", "1.3.1", "1.3.1.1", PatientID="p1", PatientName="Roe^Rick")
    assert await harness.cast() == {Outcome.CREATED: 1}
    names = {f"Patient/{one['id']}": one["name"][0]["text"] for one in harness.patients()}
    studies = {one["identifier"][0]["value"]: names[one["subject"]["reference"]] for one in harness.studies()}
    assert studies == {"urn:oid:1.2": "Jane Doe", "urn:oid:1.3": "Rick Roe"}
    await harness.close()


ODD: list[dict[str, Any]] = [
    {"entry": None},
    {"entry": "x"},
    {"entry": [None, {"resource": []}]},
    {"link": None},
    {"link": ["x", {"relation": "next"}]},
    {"link": {}},
]


@pytest.mark.parametrize("members", ODD, ids=str)
async def test_a_bundle_of_the_wrong_shape_finds_nothing(members: dict[str, Any]) -> None:
    """It ends no worker."""
    harness = Scripted()
    await harness.open()
    page = {"resourceType": "Bundle", "type": "searchset", **members}
    harness.instead = lambda peer, request: httpx.Response(200, content=orjson.dumps(page))
    assert await harness.fhir.search("Patient", {"identifier": "x"}) == []
    await harness.close()


@pytest.mark.parametrize("rest", [None, [None], "x", [{"interaction": None, "resource": None}], [{"resource": ["x"]}]])
async def test_a_statement_of_the_wrong_shape_is_a_wrong_setting(rest: Any) -> None:
    """It names the setting, and is no traceback."""
    harness = Scripted()
    statement = {"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1", "rest": rest}
    harness.instead = lambda peer, request: httpx.Response(200, content=orjson.dumps(statement))
    with pytest.raises(ConfigError, match="FHIR__URL"):
        await harness.fhir.open()
    await harness.close()


async def test_a_next_page_that_is_the_same_again() -> None:
    """A search does not go round in a circle."""
    harness = Scripted()
    await harness.open()
    link = [{"relation": "next", "url": "http://fhir.test/fhir/Patient?page=2"}]
    page = {"resourceType": "Bundle", "type": "searchset", "link": link}
    harness.instead = lambda peer, request: httpx.Response(200, content=orjson.dumps(page))
    with pytest.raises(Rejected, match="again and again"):
        await harness.fhir.search("Patient", {"identifier": "x"})
    assert len(harness.seen) < 10
    await harness.close()


async def test_matches_that_are_left_out_are_missed() -> None:
    """A server that cuts its page short and links to no other: what it did not tell would be created again."""
    harness = Scripted()
    await harness.open()
    entry = [{"resource": {"resourceType": "Patient", "id": str(number)}} for number in range(100)]
    page = {"resourceType": "Bundle", "type": "searchset", "total": 150, "entry": entry}
    harness.instead = lambda peer, request: httpx.Response(200, content=orjson.dumps(page))
    with pytest.raises(Rejected, match="100 of 150"):
        await harness.fhir.search("Patient", {"identifier": "x"})
    page["total"] = 100
    assert len(await harness.fhir.search("Patient", {"identifier": "x"})) == 100
    await harness.close()


async def test_one_odd_answer_is_no_proof_that_the_archive_was_recreated() -> None:
    """A reset is never waited for, so it is made sure of."""
    harness = Scripted()
    harness.put("1.2", "1.2.1", "1.2.1.1")
    await harness.cast()
    odd: list[httpx.Request] = []

    def instead(peer: str, request: httpx.Request) -> httpx.Response | None:
        if peer == "dicom" and request.url.path.endswith("/v1/changefeed/latest") and not odd:
            odd.append(request)
            return httpx.Response(200, headers={"Date": "Thu, 01 Jan 2026 00:10:00 GMT"})
        return None

    harness.instead = instead
    assert await harness.cast() == {}
    assert odd
    await harness.close()


async def test_a_late_index_makes_nothing_twice() -> None:
    """A new process that does not know of it finds neither study nor Patient, and yet makes no second one."""
    harness = Scripted(search_lag=20)
    harness.put("1.2", "1.2.1", "1.2.1.1")
    await harness.cast()
    harness.restart()
    harness.put("1.2", "1.2.1", "1.2.1.2")
    harness.put("1.3", "1.3.1", "1.3.1.1")
    await harness.cast()
    instances = [len(one["series"][0]["instance"]) for one in harness.studies()]
    assert (instances, len(harness.patients()), harness.state.rows()) == ([2, 1], 1, [])
    await harness.close()


async def test_no_search_is_made_before_it_can_find_what_was_written() -> None:
    """With FHIR__SEARCH_LAG a new process finds what the one before it wrote, and writes nothing once more."""
    harness = Scripted(search_lag=20)
    harness.search_lag = timedelta(hours=1)
    harness.put("1.2", "1.2.1", "1.2.1.1")
    await harness.cast()
    await harness.writes_nothing("1.2")
    await harness.close()
