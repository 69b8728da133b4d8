"""The mapping by example: tests/core/golden holds DICOM JSON and the Bundle that it has to become, written by hand.

The site of the examples has a system for PatientIDs and one for the issuer LAB, and no time zone.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dicomcast.dicom import files
from dicomcast.mapping.rules import Rules
from dicomcast.offline import bundle_of

GOLDEN = Path(__file__).parent / "golden"
SITE = Rules("https://hospital.example/mrn", issuers={"LAB": "urn:oid:2.25.80"})
ISSUES = {
    "ct-study-with-every-element": set(),
    "sr-document": {
        ("00080060", "missing"),
        ("00100030", "implausible"),
        ("00100040", "unknown-code"),
        ("00200011", "out-of-range"),
    },
    "name-in-three-representations": set(),
    "three-uids-and-nothing-else": {("00080016", "missing"), ("00080060", "missing"), ("00100020", "missing")},
}


@pytest.mark.parametrize("case", ISSUES)
@pytest.mark.parametrize("order", [1, -1], ids=["as-listed", "backwards"])
def test_golden(case: str, order: int) -> None:
    """DICOM JSON becomes exactly this Bundle, in whatever order the instances come, with exactly these issues."""
    content = (GOLDEN / f"{case}.dicom.json").read_bytes()
    instances = [files.instance_of(metadata) for metadata in files.read(content)]
    bundle, issues = bundle_of(instances[::order], SITE)
    assert bundle == json.loads((GOLDEN / f"{case}.fhir.json").read_text())
    assert {(issue.tag, issue.rule) for issue in issues} == ISSUES[case]


def test_every_golden_file_is_compared() -> None:
    """A case is a pair of files; none lies there unread."""
    expected = {f"{case}.{kind}.json" for case in ISSUES for kind in ("dicom", "fhir")}
    assert {one.name for one in GOLDEN.iterdir()} == expected
