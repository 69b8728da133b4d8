"""Whose a resource is and what its id is, derived from source, partition and UID alone."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomcast.identity import (
    canonical,
    dicomweb_base,
    endpoint_id,
    origin,
    origin_of,
    owns,
    patient_id,
    patient_source,
    patient_spoken_for,
    study_id,
)
from dicomcast.model import StudyKey

SOURCE = "https://dicom.example"
KEY = StudyKey(SOURCE, "north", "1.2.3")


def test_ids_are_pinned() -> None:
    """Ids outlive every release: a change of namespace or of what goes into one would duplicate all resources."""
    assert study_id(KEY) == "0743b12b-506a-59af-bb5c-7fd4e8f6a83a"
    assert patient_id("urn:oid:2.25.1", "P1") == "f2c3c4d5-94b2-58ef-bacd-9bdba46a2673"
    assert endpoint_id(SOURCE, "north") == "880f9744-046b-5755-8bdb-e629be6a4d31"


def test_ids_are_of_fhir_and_distinct() -> None:
    """Each part of a key counts, and an id is what FHIR allows (datatypes.html#id)."""
    keys = [
        KEY,
        StudyKey(SOURCE, "north", "1.2.4"),
        StudyKey(SOURCE, "south", "1.2.3"),
        StudyKey(SOURCE, "", "1.2.3"),
        StudyKey("https://other.example", "north", "1.2.3"),
    ]
    ids = [
        *map(study_id, keys),
        patient_id("urn:oid:2.25.1", "P1"),
        patient_id("urn:oid:2.25.2", "P1"),
        patient_id("urn:oid:2.25.1", "p1"),
        endpoint_id(SOURCE, ""),
        endpoint_id(SOURCE, "north"),
    ]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[A-Za-z0-9.-]{1,64}", one) for one in ids)


@pytest.mark.parametrize(
    ("meta_source", "expected"),
    [
        ("https://dicom.example", (SOURCE, "")),
        ("https://dicom.example/", (SOURCE, "")),
        ("https://dicom.example/v1", (SOURCE, "")),
        ("https://dicom.example/v2", (SOURCE, "")),
        ("https://dicom.example/v1.0-prerelease", (SOURCE, "")),
        ("https://dicom.example/v2/partitions/north", (SOURCE, "north")),
        ("https://dicom.example/partitions/north", (SOURCE, "north")),
        ("https://dicom.example/v2/partitions/Microsoft.Default", (SOURCE, "")),
        ("https://dicom.example/v2/partitions/a%2Fb%20c", (SOURCE, "a/b c")),
        ("https://dicom.example/v2#hapi-request", (SOURCE, "")),
        ("https://dicom.example/v2/partitions/north#6fHxkH2Ko", (SOURCE, "north")),
        ("https://dicom.example/v2/#", (SOURCE, "")),
        ("https://dicom.example/v2/studies?StudyInstanceUID=1.2.3&started=2024-01-01", (SOURCE, "")),
        ("http://host:8080/dicom/v2/partitions/north", ("http://host:8080/dicom", "north")),
        ("https://ris.example/app", ("https://ris.example/app", "")),
        ("urn:oid:1.2.3", ("urn:oid:1.2.3", "")),
        ("", ("", "")),
    ],
)
def test_origin(meta_source: str, expected: tuple[str, str]) -> None:
    """`meta.source` names source and partition, with any API version, and with what HAPI appends to it."""
    assert origin(meta_source) == expected


@pytest.mark.parametrize("url", [f"{SOURCE}{tail}" for tail in ("", "/", "/v1", "/v2/", "/v1.0-prerelease", "#x")])
def test_canonical(url: str) -> None:
    """The name of a source has no API version, no trailing slash and no fragment."""
    assert canonical(url) == SOURCE


def test_dicomweb_base() -> None:
    """The base URL has the version and the partition, quoted; without either it is the source."""
    assert dicomweb_base(SOURCE, "v2", "north") == "https://dicom.example/v2/partitions/north"
    assert dicomweb_base(SOURCE, "v2", "a/b c#d?") == "https://dicom.example/v2/partitions/a%2Fb%20c%23d%3F"
    assert dicomweb_base(SOURCE, "v1", "") == "https://dicom.example/v1"
    assert dicomweb_base(SOURCE, "", "") == SOURCE


names = st.text(st.characters(codec="utf-8"), min_size=1).filter(lambda name: name != "Microsoft.Default")


@pytest.mark.parametrize("suffix", ["", "#6fHxkH2Ko"])
@given(partition=st.just("") | names, version=st.sampled_from(["", "v1", "v2", "v1.0-prerelease"]))
def test_source_and_partition_can_be_read_back(suffix: str, partition: str, version: str) -> None:
    """What a base URL was made of can be read off it, whatever the partition is called and HAPI appends."""
    assert origin(dicomweb_base(SOURCE, version, partition) + suffix) == (SOURCE, partition)


@pytest.mark.parametrize("version", ["v1", "v2", ""])
@given(
    partition=st.just("") | names,
    study_uid=st.from_regex(r"[0-9A-Za-z.-]{1,64}", fullmatch=True),
    started=st.sampled_from(["", "2024-01-01", "2024-01-01T08:00:00"]),
)
def test_study_of_a_patient_can_be_read_back(version: str, partition: str, study_uid: str, started: str) -> None:
    """A Patient's `meta.source` tells which study it follows, in which partition, and when that was."""
    source = patient_source(dicomweb_base(SOURCE, version, partition), study_uid, started)
    for stored in (source, f"{source}#6fHxkH2Ko"):
        assert patient_spoken_for({"meta": {"source": stored}}) == (started, study_uid, partition)
        assert origin(stored) == (SOURCE, partition)


@pytest.mark.parametrize(
    "resource", [{}, {"meta": None}, {"meta": {}}, {"meta": {"source": 7}}, {"meta": []}, None, [], 7]
)
def test_resource_without_source_is_nobodys(resource: object) -> None:
    """What has no `meta.source` we did not create, and it follows no study."""
    assert origin_of(resource) == ("", "")
    assert not owns(KEY, resource)
    assert patient_spoken_for(resource) == ("", "", "")


@pytest.mark.parametrize(
    ("meta_source", "owned"),
    [
        ("https://dicom.example/v1/partitions/north", True),
        ("https://dicom.example/v2/partitions/north#hapi", True),
        ("https://dicom.example/v2/partitions/south", False),
        ("https://dicom.example/v2", False),
        ("https://dicom.example.evil/v2/partitions/north", False),
        ("https://other.example/v2/partitions/north", False),
    ],
)
def test_owns(meta_source: str, owned: bool) -> None:
    """A resource is ours if it was created for this archive and partition, by any API version."""
    assert owns(KEY, {"meta": {"source": meta_source}}) is owned


def test_default_partition_is_none() -> None:
    """Studies from before partitions were switched on are in Microsoft.Default then, and still the same."""
    assert owns(StudyKey(SOURCE, "", "1.2.3"), {"meta": {"source": f"{SOURCE}/v2/partitions/Microsoft.Default"}})


@pytest.mark.parametrize(
    "spelling",
    [
        "https://Archive.Example/dicom",
        "HTTPS://archive.example:443/dicom/",
        "https://archive.example/dicom//",
        "https://archive.example/dicom/v2/",
        "https://archive.example:443/dicom/v1/partitions/Microsoft.Default",
    ],
)
def test_an_archive_is_the_same_however_its_url_is_spelt(spelling: str) -> None:
    """Scheme and host have no case and the default port is none (RFC 3986 §6.2); the path has case."""
    assert canonical(spelling) == "https://archive.example/dicom"
    assert origin(spelling)[1] == ""
    assert canonical("http://archive.example:80") == "http://archive.example"
    assert canonical("http://archive.example:8080/") == "http://archive.example:8080"
    assert canonical("https://archive.example:80/Dicom") == "https://archive.example:80/Dicom"
    assert canonical("http://[::1]:80/x") == "http://[::1]/x"
