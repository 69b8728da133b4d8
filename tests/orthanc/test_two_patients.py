"""One StudyInstanceUID under two PatientIDs: two studies to Orthanc, one to FHIR, and none to Orthanc's DICOMweb."""

from __future__ import annotations

from collections.abc import Callable

from tests.orthanc.clinic import Clinic, image
from tests.servers.embedded import Embedded
from tests.servers.orthanc import Orthanc


def test_one_study_of_two_patients(embedded: Embedded, start_orthanc: Callable[..., Orthanc]) -> None:
    """All instances are in one ImagingStudy, which says that they contradict each other; one patient's leave again."""
    clinic = Clinic(start_orthanc(), embedded, {}, {"DICOM__KIND": "orthanc"})
    clinic.orthanc.store(image("1.2", "1", "1", PatientID="A"))
    clinic.orthanc.store(image("1.2", "1", "2", PatientID="B"))
    ended = embedded.run("run", "--once", code=0, **clinic.settings)
    assert "00100020 contradiction" in ended.err
    assert clinic.in_fhir()["1.2"][2] == {"1.2.1": {"1.2.1.1", "1.2.1.2"}}

    clinic.orthanc.delete("patient", *clinic.orthanc.lookup("A"))
    with clinic.follow() as following:
        following.in_step("what is left")
    assert clinic.in_fhir()["1.2"][0] == "B"
