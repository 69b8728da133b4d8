"""`map`: files in, one Bundle on stdout, offline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.datadict import tag_for_keyword

from tests.harness import dataset
from tests.servers.embedded import Embedded

FILES = Path(pydicom.__file__).parent / "data" / "test_files"
CT, MR = FILES / "CT_small.dcm", FILES / "MR_small.dcm"


def uids(bundle: dict[str, Any]) -> set[str]:
    """The StudyInstanceUIDs of a Bundle's ImagingStudies."""
    assert (bundle["resourceType"], bundle["type"]) == ("Bundle", "transaction")
    resources = [entry["resource"] for entry in bundle["entry"]]
    found = {one["identifier"][0]["value"] for one in resources if one["resourceType"] == "ImagingStudy"}
    return {value.removeprefix("urn:oid:") for value in found}


def study_uid(file: Path) -> str:
    """The StudyInstanceUID of a DICOM file."""
    return str(pydicom.dcmread(file, specific_tags=[tag_for_keyword("StudyInstanceUID")]).StudyInstanceUID)


def run(embedded: Embedded, *arguments: str | Path, code: int = 0, stdin: str = "") -> Any:
    """`map` without any setting: it needs none."""
    none = dict.fromkeys(("DICOM__URL", "FHIR__URL", "PATIENT__SYSTEM", "STATE__URL"), "")
    return embedded.run("map", *arguments, code=code, stdin=stdin, **none)


def test_files_folders_and_json_together(embedded: Embedded) -> None:
    """DICOM files, a folder of them and DICOM JSON become one Bundle with each study once."""
    folder = embedded.folder / "scans" / "deeper"
    folder.mkdir(parents=True)
    (folder / "one.dcm").write_bytes(MR.read_bytes())
    (folder / "again.dcm").write_bytes(MR.read_bytes())
    array = embedded.folder / "studies.json"
    array.write_text(json.dumps([dataset("1.2.3", "1.2.3.1", "1.2.3.1.1"), dataset("1.2.4", "1.2.4.1", "1.2.4.1.1")]))
    ended = run(embedded, CT, embedded.folder / "scans", array)
    assert uids(ended.json) == {study_uid(CT), study_uid(MR), "1.2.3", "1.2.4"}
    assert ended.err == ""
    assert ended.out.count("\n") == 1
    assert not embedded.state.exists()


@pytest.mark.parametrize(("instances", "listed"), [("full", 2), ("2", 2), ("1", 0), ("counts", 0)])
def test_a_large_study_is_counted(embedded: Embedded, instances: str, listed: int) -> None:
    """MAPPING__INSTANCES holds here too."""
    told = [dataset("1.2.3", "1.2.3.1", f"1.2.3.1.{number}") for number in "12"]
    ended = embedded.run("map", "-", stdin=json.dumps(told), MAPPING__INSTANCES=instances)
    (study,) = [one["resource"] for one in ended.json["entry"] if one["resource"]["resourceType"] == "ImagingStudy"]
    (series,) = study["series"]
    assert series["numberOfInstances"] == study["numberOfInstances"] == 2
    assert len(series.get("instance", [])) == listed


def test_stdin_pretty_and_issues(embedded: Embedded) -> None:
    """DICOM JSON comes in by `-`; --pretty indents, and --issues names on stderr what is odd, without its value."""
    odd = dataset("1.2.3", "1.2.3.1", "1.2.3.1.1", StudyDate="the day before", PatientName="Doe^Jane")
    ended = run(embedded, "--pretty", "--issues", "-", stdin=json.dumps(odd))
    assert uids(ended.json) == {"1.2.3"}
    assert ended.out.startswith('{\n  "resourceType": "Bundle"')
    assert [line.split()[:2] for line in ended.err.splitlines()] == [["warning:", "00080020"]]
    assert "the day before" not in ended.err + ended.out


def test_issues_of_several_files(embedded: Embedded) -> None:
    """Each is told with its file, and never with its value."""
    for name, study in (("one.json", "1.2.3"), ("two.json", "1.2.4")):
        odd = dataset(study, f"{study}.1", f"{study}.1.1", StudyDate="the day before")
        (embedded.folder / name).write_text(json.dumps(odd))
    (embedded.folder / "fine.json").write_text(json.dumps(dataset("1.2.5", "1.2.5.1", "1.2.5.1.1")))
    ended = run(embedded, "--issues", "one.json", "fine.json", "two.json")
    assert [line.split()[:3] for line in ended.err.splitlines()] == [
        ["one.json:", "warning:", "00080020"],
        ["two.json:", "warning:", "00080020"],
    ]


def test_issues_between_files(embedded: Embedded) -> None:
    """What no file alone is odd in is told of the study: here two files contradict each other, a file each instance."""
    for number in (1, 2):
        one = dataset("1.2.3", "1.2.3.1", f"1.2.3.1.{number}", AccessionNumber=f"A{number}", StudyDate="the day before")
        (embedded.folder / f"{number}.json").write_text(json.dumps(one))
    ended = run(embedded, "--issues", "1.json", "2.json")
    assert ended.err.splitlines() == [
        "1.json: warning: 00080020 not-a-date",
        "2.json: warning: 00080020 not-a-date",
        "study 1.2.3: warning: 00080050 contradiction",
    ]


def test_a_folder_with_other_things(embedded: Embedded) -> None:
    """What is neither DICOM nor JSON is counted and passed over; a broken DICOM file is an error even there."""
    folder = embedded.folder / "disc"
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "one.dcm").write_bytes(CT.read_bytes())
    (folder / "README.txt").write_text("These are images.")
    ended = run(embedded, "disc")
    assert uids(ended.json) == {study_uid(CT)}
    assert ended.err == "dicomcast: passed over 1 file that is no DICOM instance\n"
    (folder / "DICOMDIR").write_bytes((FILES / "dicomdirtests" / "DICOMDIR").read_bytes())
    ended = run(embedded, "disc")
    assert ended.err == "dicomcast: passed over 2 files that are no DICOM instance\n"
    (folder / "broken.dcm").write_bytes(CT.read_bytes()[:200])
    ended = run(embedded, "disc", code=1)
    assert uids(ended.json) == {study_uid(CT)}
    assert ended.err.startswith("dicomcast: disc/broken.dcm: this ")
    # Who names a file means it, and one that is missing is told once.
    ended = run(embedded, "missing.dcm", code=1)
    assert ended.err == "dicomcast: missing.dcm: No such file or directory\n"
    ended = run(embedded, "disc/README.txt", CT, code=1)
    assert ended.err == "dicomcast: disc/README.txt: this is not a DICOM file (no DICM after 128 bytes)\n"


def test_nothing_to_map(embedded: Embedded) -> None:
    """A folder without any image is not passed by in silence."""
    (embedded.folder / "empty").mkdir()
    nothing = "dicomcast: there is nothing to map: no DICOM and no DICOM JSON was found\n"
    ended = run(embedded, "empty", code=1)
    assert (uids(ended.json | {"entry": []}), ended.err) == (set(), nothing)
    (embedded.folder / "empty" / "notes.txt").write_text("not an image")
    ended = run(embedded, "empty", code=1)
    assert ended.err == f"dicomcast: passed over 1 file that is no DICOM instance\n{nothing}"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("picture.dcm", b"\x89PNG\r\n\x1a\n" * 40, "this is not a DICOM file (no DICM after 128 bytes)"),
        ("cut.json", b'{"00100010": {"vr": "PN", "Va', "this is neither a DICOM file nor JSON"),
        ("other.json", b'[1, "two"]', "this JSON is not DICOM JSON: an array of objects is expected"),
        ("without.json", b'{"00100020": {"vr": "LO", "Value": ["1"]}}', "this dataset has no StudyInstanceUID"),
    ],
)
def test_garbage_beside_a_good_file(embedded: Embedded, name: str, content: bytes, said: str) -> None:
    """What cannot be read is named with its reason, the rest is mapped, and the exit code is 1."""
    (embedded.folder / name).write_bytes(content)
    ended = run(embedded, name, CT, "missing.dcm", code=1)
    assert uids(ended.json) == {study_uid(CT)}
    first, second = ended.err.splitlines()
    assert first.startswith(f"dicomcast: {name}: {said}")
    assert second == "dicomcast: missing.dcm: No such file or directory"
