"""From a real Orthanc to a FHIR server that is not ours, by the command and its environment alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.made_files import ct
from tests.orthanc.clinic import KINDS, Clinic
from tests.servers.embedded import Embedded
from tests.servers.orthanc import Orthanc

pytestmark = pytest.mark.long


@pytest.mark.parametrize("kind", ["orthanc", "plugin"])
def test_orthanc_to_a_fhir_server_that_is_not_ours(
    kind: str, real_server: str, embedded: Embedded, start_orthanc: Callable[..., Orthanc]
) -> None:
    """What is stored arrives, what is changed changes, and what is deleted goes; the Patient stays."""
    options, told = KINDS[kind]
    salt = uuid4().int
    study, hospital = f"2.25.{salt}", f"urn:oid:2.25.{salt}.1"
    clinic = Clinic(start_orthanc(**options), embedded, options, told)
    settings = clinic.settings | {
        "FHIR__URL": real_server,
        "PATIENT__SYSTEM": hospital,
        "DICOM__PUBLIC_URL": f"https://archive-{salt}.example.org/dicom-web",
    }

    def run() -> list[dict[str, Any]]:
        """A run, after which FHIR is asked for the study."""
        time.sleep(1)  # the least time between two sweeps
        embedded.run("run", "--once", "--strict", code=0, **settings)
        return _found(real_server, "ImagingStudy", f"urn:dicom:uid|urn:oid:{study}")

    for number in "123":
        clinic.orthanc.store(ct(study, f"{study}.1", f"{study}.1.{number}"))
    (stored,) = run()
    (patient,) = _found(real_server, "Patient", f"{hospital}|P-77")
    assert stored["numberOfInstances"] == 3
    assert stored["subject"]["reference"].endswith(f"Patient/{patient['id']}")

    clinic.orthanc.store(ct(study, f"{study}.2", f"{study}.2.1", Modality="SR"))
    clinic.orthanc.delete("instance", *clinic.orthanc.lookup(f"{study}.1.3"))
    (changed,) = run()
    assert {one["uid"]: one["numberOfInstances"] for one in changed["series"]} == {f"{study}.1": 2, f"{study}.2": 1}

    clinic.orthanc.delete("study", *clinic.orthanc.lookup(study))
    assert run() == []
    assert [one["id"] for one in _found(real_server, "Patient", f"{hospital}|P-77")] == [patient["id"]]


def _found(fhir: str, kind: str, identifier: str) -> list[dict[str, Any]]:
    answer = httpx.get(f"{fhir}/{kind}", params={"identifier": identifier}, trust_env=False)
    return [entry["resource"] for entry in answer.json().get("entry", [])]
