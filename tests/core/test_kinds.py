"""Objects of every kind, as files: those that pydicom ships, and those that it does not (tests/made_files.py)."""

from __future__ import annotations

from typing import Any

import pytest

from dicomcast.dicom import files
from dicomcast.mapping.rules import Rules
from dicomcast.mapping.tags import tag
from dicomcast.model import Extra
from dicomcast.offline import bundle_of
from tests.judge import problems
from tests.made_files import KINDS
from tests.real_files import real_metadata

SITE = Rules("urn:oid:2.25.1", extras=frozenset(Extra), compat=True)


def _study(*contents: bytes, rules: Rules = SITE) -> dict[str, Any]:
    """The ImagingStudy of some files of one study, whose Bundle is valid and of which there is nothing to be told."""
    instances = [files.instance_of(metadata) for content in contents for metadata in files.read(content)]
    bundle, issues = bundle_of(instances, rules)
    assert problems(bundle) == []
    assert [one for some in issues.values() for one in some] == []
    (study,) = (one["resource"] for one in bundle["entry"] if one["resource"]["resourceType"] == "ImagingStudy")
    return dict(study)


@pytest.mark.parametrize(
    ("kind", "modality", "title"),
    [
        ("enhanced-mr", "MR", None),
        ("segmentation", "SEG", "PATELLA"),
        ("structure-set", "RTSTRUCT", None),
        ("key-objects", "KO", "Of Interest"),
        ("dose-report", "SR", "X-Ray Radiation Dose Report"),
        ("pdf", "DOC", "Report of the knee"),
    ],
)
def test_each_kind(kind: str, modality: str, title: str | None) -> None:
    """Each is an instance of its series, by its modality, and a document by its title."""
    (series,) = _study(KINDS[kind])["series"]
    assert series["modality"]["code"] == modality
    assert series["instance"][0].get("title") == title


def test_frames_tell_region_and_side() -> None:
    """The region and side of an enhanced image's frames are its series', and their number is told where asked for."""
    (series,) = _study(KINDS["enhanced-mr"])["series"]
    assert (series["bodySite"]["display"], series["laterality"]["code"]) == ("Knee", "419465000")
    assert series["instance"][0]["extension"][0]["valueInteger"] == 200


def test_frames_cost_no_memory() -> None:
    """Of two hundred frames nothing is kept but what is mapped, once."""
    (metadata,) = files.read(KINDS["enhanced-mr"])
    assert metadata[tag("PerFrameFunctionalGroupsSequence")]["Value"] == []
    assert len(metadata[tag("SharedFunctionalGroupsSequence")]["Value"]) == 1


def test_all_kinds_in_one_study() -> None:
    """The image speaks for the study; what it says nothing of is not taken from a document. All are listed."""
    study = _study(*KINDS.values(), rules=Rules("urn:oid:2.25.1"))
    assert (study["numberOfSeries"], study["numberOfInstances"]) == (6, 6)
    assert [one["code"] for one in study["modality"]] == ["MR"]
    assert "procedureCode" not in study
    assert _study(KINDS["dose-report"])["procedureCode"][0]["coding"][0]["code"] == "77477000"


def test_every_real_file_maps_with_everything_asked_for() -> None:
    """Each file that pydicom ships makes a valid Bundle, at a site that asks for all extras."""
    assert len(real_metadata()) > 150
    for name, metadata in real_metadata().items():
        bundle, _ = bundle_of([files.instance_of(metadata)], SITE, archive="https://dicom.example")
        assert problems(bundle) == [], name
        assert len(bundle["entry"]) == 3, name
