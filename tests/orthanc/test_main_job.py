"""The main job on a real Orthanc, by each way to follow it: whatever happens there, FHIR ends up as Orthanc is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest

from dicomcast.demo.fhir_store import FhirStore
from tests.orthanc.clinic import KINDS, Clinic, image
from tests.servers.embedded import Embedded, embedded_servers, until
from tests.servers.orthanc import Orthanc

pytestmark = pytest.mark.long

_FOLDER = Path(pydicom.__file__).parent / "data" / "test_files"
# A study that two of the files have under two PatientIDs is for another test.
_TWICE = "1.2.999.999.99.9.9999.8888"


@pytest.fixture(params=KINDS)
def clinic(request: pytest.FixtureRequest, embedded: Embedded, start_orthanc: Callable[..., Orthanc]) -> Clinic:
    """A clinic for each way to follow Orthanc."""
    options, told = KINDS[request.param]
    return Clinic(start_orthanc(overwrite=True, **options), embedded, options, told)


def test_real_files_are_stored_changed_and_deleted(clinic: Clinic, tmp_path: Path) -> None:
    """Stored by REST and by STOW-RS, deleted, sent again, modified: FHIR follows each time, and nothing is parked."""
    orthanc = clinic.orthanc
    taken = [
        file for file in _FOLDER.glob("*.dcm") if orthanc.http.post("/instances", content=file.read_bytes()).is_success
    ]
    for twin in orthanc.lookup(_TWICE):
        orthanc.delete("study", twin)
    assert len(taken) > 40, "Orthanc takes most of pydicom's files"
    with clinic.follow() as following:
        following.in_step("the real files")
        for instance in "123":
            orthanc.store(image("1.2", "1", instance, StudyDescription="Knee"))
        _send(clinic, image("1.3"), image("1.3", "2"), image("1.3", "2", "2"))
        following.in_step("two more studies")

        orthanc.delete("instance", *orthanc.lookup("1.2.1.3"))
        orthanc.delete("series", *orthanc.lookup("1.3.2"))
        following.in_step("what is left after deletions")
        orthanc.delete("study", *orthanc.lookup("1.3"))
        following.in_step("one study less")

        for instance in "12":
            orthanc.store(image("1.2", "1", instance, StudyDescription="Left knee"))
        following.in_step("the study that was sent again")
        orthanc.modify("patient", *orthanc.lookup("P-77"), Replace={"PatientID": "B"}, Force=True, KeepSource=False)
        following.in_step("a study of other UIDs and another patient")
        orthanc.store(image("1.4", PatientID="B2"))
        following.in_step("one more")
        orthanc.store(image("1.4", PatientID="C"))
        orthanc.delete("patient", *orthanc.lookup("B2"))
        following.in_step("the same UIDs, and another patient")
        assert clinic.in_fhir()["1.4"][0] == "C"
    assert clinic.embedded.query("SELECT * FROM parked") == []
    _equals_a_fresh_run(clinic, tmp_path / "fresh")


def _send(clinic: Clinic, *files: bytes) -> None:
    """By STOW-RS, where Orthanc has it."""
    if clinic.options.get("dicomweb", True):
        clinic.orthanc.stow(files)
    else:
        for file in files:
            clinic.orthanc.store(file)


def _equals_a_fresh_run(clinic: Clinic, folder: Path) -> None:
    """Law 1: what a worker made of all that happened is what one makes of the end alone."""
    versions = clinic.embedded.store.total_versions()
    clinic.embedded.run("run", "--once", code=0, **clinic.settings | {"STATE__URL": "sqlite:///fresh.db"})
    assert clinic.embedded.store.total_versions() == versions, "a second worker wrote what was there"
    folder.mkdir()
    with embedded_servers(folder) as fresh:
        fresh.run("run", "--once", code=0, **clinic.settings)
        assert _content(fresh.store) == _content(clinic.embedded.store)


def _content(store: FhirStore) -> list[str]:
    """The studies, and the Patients they refer to, without what the server adds."""
    studies = store.resources("ImagingStudy")
    used = {one["subject"]["reference"] for one in studies}
    patients = [one for one in store.resources("Patient") if f"Patient/{one['id']}" in used]
    bare = [one | {"meta": {"source": one["meta"]["source"]}} for one in studies + patients]
    return sorted(map(str, bare))


def test_orthanc_is_killed_and_restarted_in_mid_feed(clinic: Clinic) -> None:
    """Killed while files come in, and again stopped and started: what it kept arrives, and the worker goes on."""
    orthanc = clinic.orthanc
    with clinic.follow() as following:
        for number in range(120):
            orthanc.store(image(f"1.{number % 7 + 2}", "1", str(number)))
            if number == 60:
                orthanc.kill()
                orthanc.start()
        orthanc.delete("study", *orthanc.lookup("1.2"))
        orthanc.kill()
        orthanc.start()
        following.in_step("what Orthanc kept")
        orthanc.stop()
        orthanc.start()
        orthanc.store(image("1.9"))
        following.in_step("what came after the restart")
    assert len(clinic.in_fhir()) == 7


def test_a_thousand_instances_cost_few_requests(clinic: Clinic) -> None:
    """One study of 1,000 instances, from a cold start: some reads of the log, one of the study, and one transaction."""
    for number in range(1, 1001):
        clinic.orthanc.store(image("1.2", str(number % 4 + 1), str(number)))
    with clinic.follow() as following:
        following.in_step("a thousand instances")
        asked = following.requests()
    assert asked["fhir"] <= 10
    assert asked["dicom"] <= 25, "including some polls"


def test_a_recreated_orthanc_is_refused(clinic: Clinic, start_orthanc: Callable[..., Orthanc]) -> None:
    """Another database at the same address: exit 78, and FHIR keeps what it has. A search alone cannot tell."""
    for number in range(3):
        clinic.orthanc.store(image(f"1.{number + 2}"))
    clinic.embedded.run("run", "--once", code=0, **clinic.settings)
    clinic.orthanc = start_orthanc(**clinic.options)
    clinic.orthanc.store(image("1.9"))
    settings = clinic.settings | {"DICOM__VANISHED_LIMIT": "2"}
    codes = []
    until("a sweep was due", lambda: codes.append(clinic.embedded.run("run", "--once", **settings).code) or codes[-1])
    assert codes[-1] == (75 if clinic.told["DICOM__KIND"] == "dicomweb" else 78)
    assert len(clinic.in_fhir()) >= 3
