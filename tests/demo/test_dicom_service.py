"""DICOMweb of the embedded DICOM service: it is as strict as the real one, whose errors are plain text."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.demo.service import BASE, DICOM_JSON, Service, part10, refused, values

RETRIEVE_URL, FAILURE_REASON = "00081190", "00081197"
FAILED, STORED, INSTANCE = "00081198", "00081199", "00081155"
STUDY_UID, SERIES_UID, INSTANCE_UID = "0020000D", "0020000E", "00080018"


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    service = Service()
    yield service
    await service.client.aclose()


async def test_stow_stores_all(service: Service) -> None:
    """200, and where each instance is; the study too where the path named it."""
    response = await service.stow(part10("1.2.1.1"), part10("1.2.1.2"), path="/v2/studies/1.2")
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/dicom+json"
    assert response.json()[RETRIEVE_URL]["Value"] == [f"{BASE}/v2/studies/1.2"]
    assert FAILED not in response.json()
    urls = [one[RETRIEVE_URL]["Value"][0] for one in response.json()[STORED]["Value"]]
    assert urls == [f"{BASE}/v2/studies/1.2/series/1.2.1/instances/1.2.1.{number}" for number in (1, 2)]
    assert len(service.archive.catalogue("Microsoft.Default")) == 2


async def test_stow_stores_some(service: Service) -> None:
    """202 where one is stored and others are not, each with its FailureReason."""
    await service.stow(part10("1.2.1.1"))
    response = await service.stow(
        part10("1.2.1.1"), part10("1.3.1.1", "1.3"), part10("1.2.1.2"), b"no DICOM", path="/v2/studies/1.2"
    )
    assert response.status_code == 202
    failed = response.json()[FAILED]["Value"]
    assert [one[FAILURE_REASON]["Value"][0] for one in failed] == [45070, 43265, 272]
    assert failed[0][INSTANCE]["Value"] == ["1.2.1.1"]
    assert INSTANCE not in failed[2]
    assert [one[INSTANCE]["Value"] for one in response.json()[STORED]["Value"]] == [["1.2.1.2"]]


async def test_stow_stores_none(service: Service) -> None:
    """409, and no RetrieveURL."""
    response = await service.stow(part10("1.2_1"), path="/v2/studies/1.2")
    assert response.status_code == 409
    assert [one[FAILURE_REASON]["Value"] for one in response.json()[FAILED]["Value"]] == [[43264]]
    assert not {RETRIEVE_URL, STORED} & set(response.json())


async def test_stow_of_a_single_file(service: Service) -> None:
    """application/dicom, without multipart; nothing at all is 204."""
    for content, status in ((part10("1.2.1.1"), 200), (b"", 204)):
        headers = DICOM_JSON | {"Content-Type": "application/dicom"}
        assert (await service.client.post("/v1/studies", content=content, headers=headers)).status_code == status
    assert (await service.stow()).status_code == 204


@pytest.mark.parametrize("end", ["", "--b\r\nno end of headers\r\n--b--", "--c--"])
async def test_stow_of_a_broken_multipart_body(service: Service, end: str) -> None:
    """400 where the closing delimiter or the end of a part's headers is missing; nothing is stored."""
    assert refused(await service.stow(part10("1.2.1.1"), end=end), 400)
    assert service.archive.catalogue("Microsoft.Default") == []


@pytest.mark.parametrize(
    "kind",
    ["", "application/json", "multipart/related", "multipart/form-data; boundary=b", "multipart/related; boundary=b"],
)
async def test_stow_of_another_content_type(service: Service, kind: str) -> None:
    """415: neither DICOM nor multipart/related with a boundary, or a part of another type."""
    body = b"--b\r\nContent-Type: text/plain\r\n\r\nx\r\n--b--"
    response = await service.client.post("/v2/studies", content=body, headers=DICOM_JSON | {"Content-Type": kind})
    assert refused(response, 415)


@pytest.mark.parametrize("accept", ["*/*", "application/json", "application/dicom", ""])
@pytest.mark.parametrize("path", ["/v2/studies", "/v2/studies/1.2/metadata"])
async def test_only_dicom_json_is_acceptable(service: Service, path: str, accept: str) -> None:
    """406 unless it is named, for reads and searches and stores."""
    service.fill()
    assert refused(await service.client.get(path, headers={"Accept": accept}), 406)
    headers = {"Accept": accept, "Content-Type": "application/dicom"}
    assert refused(await service.client.post("/v2/studies", content=part10("1.2.1.9"), headers=headers), 406)
    quality = {"Accept": "text/html, application/dicom+json;q=0.5"}
    assert (await service.client.get(path, headers=quality)).status_code == 200


async def test_stow_keeps_what_the_file_says(service: Service) -> None:
    """Metadata is DICOM JSON of the file, without its file meta information."""
    await service.stow(part10("1.2.1.1", PatientName="Doe^Jane", InstanceNumber="7"))
    (metadata,) = (await service.get("/v2/studies/1.2/metadata")).json()
    assert metadata["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane"}]}
    assert metadata["00200013"] == {"vr": "IS", "Value": [7]}
    assert not [tag for tag in metadata if tag.startswith("0002")]


@pytest.mark.parametrize("version", ["v1", "v2", "v1.0-prerelease"])
@pytest.mark.parametrize(("path", "count"), [("", 4), ("/series/1.2.1", 2), ("/series/1.2.1/instances/1.2.1.1", 1)])
async def test_wado_metadata_at_three_levels(service: Service, version: str, path: str, count: int) -> None:
    """Of a study, a series, an instance; 404 in words where there is none."""
    service.fill()
    response = await service.get(f"/{version}/studies/1.2{path}/metadata")
    assert response.headers["content-type"] == "application/dicom+json"
    assert len(values(response, INSTANCE_UID)) == count
    assert refused(await service.get(f"/{version}/studies/1.2{path}9/metadata"), 404)
    assert refused(await service.get(f"/{version}/studies/1_2{path}/metadata"), 400)


@pytest.mark.parametrize(("kind", "status"), [("missing", 500), ("corrupt", 400)])
async def test_wado_of_bad_metadata(service: Service, kind: str, status: int) -> None:
    """500 for a missing blob and 400 for a corrupt one, as in the feed; the search does not need it."""
    service.fill()
    service.archive.poison("1.2", "1.2.1", "1.2.1.1", kind)
    for path in ("/v2/studies/1.2/metadata", "/v1/changefeed", "/v2/changefeed"):
        assert refused(await service.get(path), status)
    assert (await service.get("/v2/changefeed", includeMetadata="false")).status_code == 200
    assert (await service.get("/v2/studies", StudyInstanceUID="1.2")).status_code == 200


@pytest.mark.parametrize(
    ("path", "tag", "expected"),
    [
        ("/studies", STUDY_UID, ["1.3", "1.2"]),
        ("/series", SERIES_UID, ["1.3.1", "1.2.2", "1.2.1"]),
        ("/instances", INSTANCE_UID, ["1.3.1.1", "1.2.2.2", "1.2.2.1", "1.2.1.2", "1.2.1.1"]),
        ("/studies/1.2/series", SERIES_UID, ["1.2.2", "1.2.1"]),
        ("/studies/1.2/instances", INSTANCE_UID, ["1.2.2.2", "1.2.2.1", "1.2.1.2", "1.2.1.1"]),
        ("/studies/1.2/series/1.2.1/instances", INSTANCE_UID, ["1.2.1.2", "1.2.1.1"]),
    ],
)
async def test_qido_searches_at_each_level(service: Service, path: str, tag: str, expected: list[str]) -> None:
    """Newest first, paged by limit and offset; nothing found is 204 without a body."""
    service.fill()
    assert values(await service.get(f"/v2{path}"), tag) == expected
    assert values(await service.get(f"/v2{path}", limit=1, offset=1), tag) == expected[1:2] or len(expected) == 1
    beyond = await service.get(f"/v2{path}", offset=100)
    assert (beyond.status_code, beyond.content) == (204, b"")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"StudyInstanceUID": "1.2"}, ["1.2"]),
        ({"0020000D": "1.3"}, ["1.3"]),
        ({"0020000d": "1.3"}, ["1.3"]),
        ({"PatientID": "P2"}, ["1.3"]),
        ({"PatientName": "doe^jane"}, ["1.2"]),
        ({"PatientName": "Doe"}, []),
        ({"AccessionNumber": "A1", "PatientID": "P1"}, []),
        ({"StudyDate": "20240215"}, ["1.3"]),
        ({"StudyDate": "20240101-20240131"}, ["1.2"]),
        ({"StudyDate": "-20240131"}, ["1.2"]),
        ({"StudyDate": "20240131-"}, ["1.3"]),
        ({"ModalitiesInStudy": "MR"}, ["1.3"]),
        ({"includefield": "all", "fuzzymatching": "false"}, ["1.3", "1.2"]),
    ],
)
async def test_qido_filters(service: Service, query: dict[str, str], expected: list[str]) -> None:
    """By keyword or tag, exactly and whatever the case; dates as ranges; several filters together."""
    service.fill()
    response = await service.get("/v2/studies", **query)
    assert (values(response, STUDY_UID) if response.status_code == 200 else []) == expected


@pytest.mark.parametrize(
    "query",
    [
        {"NoSuchThing": "1"},
        {"Rows": "512"},
        {"Modality": "CT"},
        {"limit": "0"},
        {"limit": "201"},
        {"limit": "ten"},
        {"offset": "-1"},
        {"PatientID": ""},
        {"StudyDate": "-"},
        {"StudyDate": "2024-01-01"},
        {"fuzzymatching": "true"},
        [("PatientID", "P1"), ("00100020", "P2")],
    ],
)
async def test_qido_refuses_what_it_does_not_know(service: Service, query: Any) -> None:
    """400 for unknown attributes, those of another level, bad pages, empty values, and an attribute twice."""
    service.fill()
    response = await service.client.get("/v2/studies", params=query, headers=DICOM_JSON)
    assert refused(response, 400)
    assert response.text.startswith("Invalid QIDO-RS query.")


@pytest.mark.parametrize(("path", "left"), [("", 1), ("/series/1.2.1", 3), ("/series/1.2.1/instances/1.2.1.1", 4)])
async def test_delete_at_three_levels(service: Service, path: str, left: int) -> None:
    """204 without a body, and 404 the second time."""
    service.fill()
    response = await service.client.delete(f"/v2/studies/1.2{path}")
    assert (response.status_code, response.content) == (204, b"")
    assert len(service.archive.catalogue("Microsoft.Default")) == left
    assert refused(await service.client.delete(f"/v2/studies/1.2{path}"), 404)
