"""A clinic with a real Orthanc, an embedded FHIR server, and the installed command between them.

What FHIR should hold is read off Orthanc's REST API here, by other means than the command's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from dicomcast.demo.fhir_store import FhirStore
from tests.made_files import ct
from tests.servers import free_port
from tests.servers.embedded import Embedded, Running, until
from tests.servers.orthanc import Orthanc

__all__ = ["KINDS", "PLUGIN", "Clinic", "image"]

# The change feed as a plugin in Orthanc.
PLUGIN = Path(__file__).parents[2] / "examples" / "orthanc" / "changefeed.py"

# How Orthanc is run, and which settings follow it, by a name for each way.
KINDS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "orthanc": ({}, {"DICOM__KIND": "orthanc"}),
    "orthanc without dicomweb": ({"dicomweb": False}, {"DICOM__KIND": "orthanc"}),
    "dicomweb": ({}, {"DICOM__KIND": "dicomweb"}),
    "plugin": ({"script": PLUGIN}, {"DICOM__KIND": "azure"}),
}

# A study: its PatientID, its description, and its instances by series.
Study = tuple[str, str, dict[str, set[str]]]


def image(study: str, series: str = "1", instance: str = "1", **attributes: Any) -> bytes:
    """A CT image; `series` and `instance` are numbers below the study's UID."""
    series_uid = f"{study}.{series}"
    return ct(study, series_uid, f"{series_uid}.{instance}", **attributes)


@dataclass(slots=True)
class Clinic:
    """Orthanc and its options, the embedded servers, whose archive stays empty, and what the command is told."""

    orthanc: Orthanc
    embedded: Embedded
    options: dict[str, Any]
    told: dict[str, str]

    @property
    def settings(self) -> dict[str, str]:
        """What the command is told of Orthanc: it looks again every second."""
        root = "/dicom-web" if self.told["DICOM__KIND"] == "dicomweb" else ""
        return {
            "DICOM__URL": f"{self.orthanc.url}{root}",
            "DICOM__PUBLIC_URL": "https://archive.example.org/dicom-web",
            "DICOM__SWEEP_INTERVAL": "1s",
            "WORKER__POLL_INTERVAL": "1s",
            "WORKER__RETRY_BUDGET": "1s",
            **self.told,
        }

    @contextmanager
    def follow(self, **settings: str) -> Iterator[Following]:
        """The command at work, until the end of the context; it must end well then."""
        port = free_port()
        running = self.embedded.start("run", **self.settings, HEALTH__PORT=str(port), **settings)
        yield Following(self, running, port)
        running.signal(15)
        assert running.finish().code == 0

    def studies(self) -> dict[str, Study]:
        """What FHIR should hold, as Orthanc's REST API tells it."""
        series = {one["ID"]: one for one in self.orthanc.ask("GET", "/series?expand")}
        instances = {one["ID"]: one["MainDicomTags"] for one in self.orthanc.ask("GET", "/instances?expand")}
        return {
            study["MainDicomTags"]["StudyInstanceUID"]: (
                study["PatientMainDicomTags"].get("PatientID", ""),
                study["MainDicomTags"].get("StudyDescription", ""),
                {
                    series[one]["MainDicomTags"]["SeriesInstanceUID"]: {
                        instances[each]["SOPInstanceUID"] for each in series[one]["Instances"]
                    }
                    for one in study["Series"]
                },
            )
            for study in self.orthanc.ask("GET", "/studies?expand")
        }

    def in_fhir(self, store: FhirStore | None = None) -> dict[str, Study]:
        """What FHIR holds."""
        store = store or self.embedded.store
        patients = {f"Patient/{one['id']}": one for one in store.resources("Patient")}
        return {
            one["identifier"][0]["value"].removeprefix("urn:oid:"): (
                _patient_id(patients[one["subject"]["reference"]]),
                one.get("description", ""),
                {
                    series["uid"]: {instance["uid"] for instance in series["instance"]}
                    for series in one.get("series", [])
                },
            )
            for one in store.resources("ImagingStudy")
        }


@dataclass(slots=True)
class Following:
    """A command that follows the Orthanc of a clinic."""

    clinic: Clinic
    running: Running
    port: int

    def in_step(self, what: str) -> None:
        """Wait until FHIR holds what Orthanc holds."""
        wanted = self.clinic.studies()
        try:
            until(f"FHIR held {what}", lambda: self.clinic.in_fhir() == wanted)
        except AssertionError as error:
            raise AssertionError(f"{error}: {_difference(self.clinic.in_fhir(), wanted)}") from None

    def requests(self) -> dict[str, int]:
        """How many HTTP requests it has sent, by peer."""
        lines = httpx.get(f"http://127.0.0.1:{self.port}/metrics", trust_env=False).text.splitlines()
        told = [line.split() for line in lines if line.startswith("dicomcast_requests_total{")]
        return {name.split('"')[1]: int(float(value)) for name, value in told}


def _difference(found: dict[str, Study], wanted: dict[str, Study]) -> dict[str, tuple[Study | None, Study | None]]:
    """What is found and what is wanted, of the studies that differ."""
    return {uid: (found.get(uid), wanted.get(uid)) for uid in found | wanted if found.get(uid) != wanted.get(uid)}


def _patient_id(patient: dict[str, Any]) -> str:
    """PatientID; "" of a surrogate, which stands for a study without one."""
    identifier = patient["identifier"][0]
    return "" if identifier["system"] == "urn:dicom:uid" else str(identifier["value"])
