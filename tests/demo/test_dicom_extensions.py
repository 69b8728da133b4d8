"""What the DICOM service adds to DICOMweb: the change feed, partitions, bulk updates; errors are plain text."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.demo.service import BASE, Service, part10, refused, values
from tests.harness import dataset

PATIENT_ID, RETRIEVE_URL = "00100020", "00081190"


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    service = Service()
    yield service
    await service.client.aclose()


@pytest.fixture
async def partitioned() -> AsyncIterator[Service]:
    service = Service(partitions=True)
    yield service
    await service.client.aclose()


async def bulk_update(service: Service, body: Any, path: str = "/v2/studies/$bulkUpdate") -> httpx.Response:
    return await service.client.post(path, json=body)


async def test_bulk_update_is_an_operation(service: Service) -> None:
    """202 with a reference to the operation, whose status tells what came of it; 404 for another."""
    service.fill()
    change = {PATIENT_ID: {"vr": "LO", "Value": ["P9"]}}
    for studies, status, updated, failed in ((["1.2"], "succeeded", 1, 0), (["1.3", "9.9"], "failed", 1, 1)):
        response = await bulk_update(service, {"studyInstanceUids": studies, "changeDataset": change})
        assert response.status_code == 202
        assert response.headers["location"] == response.json()["href"]
        operation = (await service.get(response.json()["href"])).json()
        assert (operation["operationId"], operation["status"]) == (response.json()["id"], status)
        assert (operation["results"]["studyUpdated"], operation["results"]["studyFailed"]) == (updated, failed)
    assert values(await service.get("/v2/studies"), PATIENT_ID) == ["P9", "P9"]
    assert refused(await service.get("/v2/operations/0"), 404)


@pytest.mark.parametrize(
    "body",
    [
        [],
        {"studyInstanceUids": ["1.2"]},
        {"studyInstanceUids": "1.2", "changeDataset": {PATIENT_ID: {"vr": "LO", "Value": ["P9"]}}},
        {"studyInstanceUids": ["1.2"], "changeDataset": {PATIENT_ID: {"vr": "LO"}}},
        {"studyInstanceUids": ["1.2"], "changeDataset": {"00080060": {"vr": "CS", "Value": ["MR"]}}},
        {"studyInstanceUids": ["1.2"] * 51, "changeDataset": {PATIENT_ID: {"vr": "LO", "Value": ["P9"]}}},
    ],
)
async def test_bulk_update_is_refused(service: Service, body: Any) -> None:
    """400: not the form of a specification, to null, of an attribute that may not change, of more than 50 studies."""
    service.fill()
    assert refused(await bulk_update(service, body), 400)


async def test_bulk_update_came_with_v2(service: Service) -> None:
    """v1 takes the path for a study to store to."""
    response = await bulk_update(service, {"studyInstanceUids": ["1.2"]}, "/v1/studies/$bulkUpdate")
    assert response.status_code == 406


async def test_partitions_are_listed(service: Service, partitioned: Service) -> None:
    """400 where they are switched off, 204 while there are none, then those that were stored to."""
    assert refused(await service.get("/v2/partitions"), 400)
    assert (await partitioned.get("/v2/partitions")).status_code == 204
    assert (await partitioned.stow(part10("1.2.1.1"), path="/v2/partitions/north/studies")).status_code == 200
    (listed,) = (await partitioned.get("/v1/partitions")).json()
    assert (listed["partitionKey"], listed["partitionName"]) == (1, "north")


async def test_partitions_are_named_in_every_path_but_the_feeds(service: Service, partitioned: Service) -> None:
    """400 for a path without one where there are partitions, with one where there are none, or of one unknown."""
    await partitioned.stow(part10("1.2.1.1"), path="/v2/partitions/north/studies")
    for path in ("/studies", "/studies/1.2/metadata"):
        assert refused(await partitioned.get(f"/v2{path}"), 400)
        assert refused(await partitioned.get(f"/v2/partitions/south{path}"), 400)
        assert refused(await service.get(f"/v2/partitions/Microsoft.Default{path}"), 400)
        assert (await partitioned.get(f"/v2/partitions/north{path}")).status_code == 200
    assert refused(await partitioned.stow(part10("1.2.1.1"), path="/v2/studies"), 400)
    assert refused(await partitioned.stow(part10("1.2.1.1"), path="/v2/partitions/a%20b/studies"), 400)
    assert refused(await partitioned.client.delete("/v2/studies/1.2"), 400)
    assert (await partitioned.get("/v2/partitions/north/changefeed")).status_code == 404
    assert (await partitioned.get("/v2/changefeed")).json()[0]["partitionName"] == "north"


async def test_partitions_are_in_the_retrieve_url(partitioned: Service) -> None:
    """What is stored in a partition is retrieved there."""
    response = await partitioned.stow(part10("1.2.1.1"), path="/v2/partitions/north/studies/1.2")
    assert response.json()[RETRIEVE_URL]["Value"] == [f"{BASE}/v2/partitions/north/studies/1.2"]


@pytest.mark.parametrize(
    ("version", "query"),
    [
        *(("v1", query) for query in ({"limit": "0"}, {"limit": "101"}, {"limit": "x"}, {"offset": "-1"})),
        *(("v1", query) for query in ({"offset": str(2**63)}, {"includeMetadata": "0"}, {"includeMetadata": "yes"})),
        *(("v2", query) for query in ({"limit": "0"}, {"limit": "201"}, {"offset": "-1"}, {"includeMetadata": "1"})),
        ("v2", {"startTime": "2026-01-01T00:00:00"}),
        ("v2", {"endTime": "2026-01-01"}),
        ("v2", {"startTime": "yesterday"}),
        ("v2", {"startTime": "2026-01-01T00:00:00Z", "endTime": "2026-01-01T00:00:00Z"}),
        ("v2", {"startTime": "2026-01-01T00:00:00Z", "endTime": "2026-01-01T01:00:00+02:00"}),
    ],
)
async def test_changefeed_parameters_are_validated(service: Service, version: str, query: dict[str, str]) -> None:
    """400, and the text names the parameter: bounds, numbers, true or false, zones, an end behind the start."""
    response = await service.get(f"/{version}/changefeed", **query)
    assert refused(response, 400)
    assert f"The query parameter '{list(query)[-1]}' is invalid." in response.text


async def test_changefeed_refuses_a_bare_plus(service: Service) -> None:
    """A + that is not encoded is a blank, so that the time has no zone."""
    service.fill()
    for plus, status in (("+", 400), ("%2B", 200)):
        path = f"/v2/changefeed?startTime=2026-01-01T00:00:00{plus}00:00"
        assert (await service.client.get(path)).status_code == status


async def test_changefeed_defaults(service: Service) -> None:
    """v1 gives 10 and v2 100 entries, with metadata; names of parameters in any case; v1 ignores times."""
    for number in range(101):
        service.archive.store(dataset("1.2", "1.2.1", f"1.2.1.{number}"))
    v1, v2 = (await service.get("/v1/changefeed")).json(), (await service.get("/v2/changefeed")).json()
    assert (len(v1), len(v2)) == (10, 100)
    assert "metadata" in v1[0]
    assert len((await service.get("/v1/changefeed", LIMIT=5, startTime="nonsense")).json()) == 5
    (last,) = (await service.get("/v2/changefeed", offset=100, includemetadata="FALSE")).json()
    assert (last["sequence"], "metadata" in last) == (101, False)


async def test_changefeed_in_either_spelling() -> None:
    """camelCase and Current on the wire, PascalCase and current in the documentation; null or 204 for nothing."""
    for casing, empty, expected in (
        ("camel", "null", ("sequence", "Create", "Current", 200)),
        ("pascal", "204", ("Sequence", "create", "current", 204)),
    ):
        service = Service(casing=casing, empty=empty)
        assert (await service.get("/v2/changefeed/latest")).status_code == expected[3]
        assert (await service.get("/v1/changefeed")).json() == []
        service.fill()
        entry = (await service.get("/v1/changefeed/latest")).json()
        assert expected[0] in entry
        assert expected[1:3] == tuple(value for key, value in entry.items() if key.lower() in ("action", "state"))
        assert None not in entry.values()
        await service.client.aclose()


@pytest.mark.parametrize(
    ("versions", "reported"), [(["v1", "v2"], "1.0-prerelease, 1, 2"), (["v1"], "1.0-prerelease, 1"), (["v2"], "2")]
)
async def test_supported_versions_are_reported(versions: list[str], reported: str) -> None:
    """On every answer, of errors too; a version that is not offered, or none, is 404."""
    service = Service(versions=versions)
    for path in (f"/{versions[0]}/changefeed", "/v3/changefeed", "/changefeed", "/v2/studies/1.2/metadata"):
        assert (await service.get(path)).headers["api-supported-versions"] == reported
    assert (await service.get("/changefeed")).status_code == 404
    assert ("GET", "/v3/changefeed") in service.app.state.requests
    await service.client.aclose()
