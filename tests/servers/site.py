"""A hospital in small: an archive over HTTP, a FHIR server that is not ours, and the installed command line between."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
from pydicom.uid import generate_uid

from dicomcast.demo.archive import DEFAULT_PARTITION, Archive
from dicomcast.demo.dicom_service import dicom_service
from dicomcast.demo.serve import serve
from tests.harness import dataset

__all__ = ["JSON", "Site", "site_at"]

JSON = dict[str, Any]

COMMAND = Path(sys.executable).parent / "dicomcast"
# Older than the safety lag, so that a run sees what was just stored, by v2 also.
_AGE = timedelta(seconds=45)


class Site:
    """One test's own corner of a FHIR server: its UIDs, patient system and archive URL occur nowhere else."""

    def __init__(self, fhir: str, folder: Path, *, partitions: bool = False) -> None:
        self.archive = Archive(partitions=partitions, clock=lambda: datetime.now(UTC) - _AGE)
        self.api = "v1"
        self.dicom = ""
        self.folder = folder
        self.fhir = httpx.Client(base_url=fhir + "/", timeout=30, trust_env=False)
        self._ended = 0
        self.salt = uuid4().hex
        self.source = f"https://archive-{self.salt}.example.org"
        self.system = f"https://hospital-{self.salt}.example.org/mrn"

    # The archive

    def uid(self, name: str) -> str:
        """A UID for a short name."""
        return generate_uid(entropy_srcs=[self.salt, name])

    def put(
        self, study: str, series: str, instance: str, partition: str = DEFAULT_PARTITION, **attributes: Any
    ) -> None:
        """Store an instance; keyword arguments are DICOM keywords."""
        uids = self.uid(study), self.uid(f"{study}.{series}"), self.uid(f"{study}.{series}.{instance}")
        assert self.archive.store(dataset(*uids, **attributes), partition) == 0

    def delete(self, study: str, series: str = "", instance: str = "", partition: str = DEFAULT_PARTITION) -> None:
        """Delete a study, a series or an instance."""
        names = [name for name in (study, series, instance) if name]
        self.archive.delete(partition, *(self.uid(".".join(names[: end + 1])) for end in range(len(names))))

    # The command line

    def environment(self, state: str = "state") -> dict[str, str]:
        """All that the command line is told."""
        return {
            "PATH": os.environ["PATH"],
            "DICOMCAST_DICOM__URL": self.dicom,
            "DICOMCAST_DICOM__PUBLIC_URL": self.source,
            "DICOMCAST_DICOM__API_VERSION": self.api,
            "DICOMCAST_FHIR__URL": str(self.fhir.base_url),
            "DICOMCAST_PATIENT__SYSTEM": self.system,
            "DICOMCAST_STATE__URL": f"sqlite:///{self.folder / state}.db",
            "DICOMCAST_WORKER__RETRY_BUDGET": "10s",
        }

    def start(self, *arguments: str, state: str = "state") -> subprocess.Popen[str]:
        """Start the command line and do not wait for it."""
        return subprocess.Popen(
            [COMMAND, *arguments],
            cwd=self.folder,
            env=self.environment(state),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, process: subprocess.Popen[str], code: int = 0) -> str:
        """What the command line says of its work in its last line, once it has ended with `code`."""
        try:
            _, log = process.communicate(timeout=180)
        finally:
            process.kill()
        assert process.returncode == code, log[-2000:]
        return log.splitlines()[-1].removeprefix("dicomcast: ")

    def run(self, *options: str, code: int = 0) -> str:
        """`dicomcast run --once`; where anything is parked its exit code is 1."""
        while self.api == "v2" and int(time.time()) == self._ended:
            time.sleep(0.02)  # v2 is read up to a whole second: the next run would see nothing new
        said = self.finish(self.start("run", "--once", "--strict", *options), code)
        self._ended = int(time.time())
        return said

    # What the FHIR server answers

    def read(self, reference: str) -> httpx.Response:
        """The answer to a read of `Type/id`."""
        return self.fhir.get(reference)

    def put_resource(self, resource: JSON) -> JSON:
        """Write a resource as anybody else would, and read it back."""
        url = f"{resource['resourceType']}/{resource['id']}"
        answer = self.fhir.put(url, json=resource, headers={"Content-Type": "application/fhir+json"})
        assert answer.status_code in (200, 201), answer.text
        return self.read(url).json()

    def search(self, kind: str, **query: str) -> list[JSON]:
        """All matches, over all pages; the server says itself how many there are."""
        answer = self.fhir.get(kind, params={**query, "_count": "1000"})
        found: list[JSON] = []
        while True:
            page = answer.json()
            found += [entry["resource"] for entry in page.get("entry", [])]
            following = [link["url"] for link in page.get("link", []) if link["relation"] == "next"]
            if not following:
                assert len(found) == page["total"], f"{kind}: {len(found)} of {page['total']}"
                return found
            answer = self.fhir.get(following[0])

    def studies(self) -> list[JSON]:
        """The ImagingStudies that came from the archive."""
        return [one for one in self.search("ImagingStudy") if _source(one).startswith(self.source)]

    def named(self, study: str) -> list[JSON]:
        """The ImagingStudies of a study's UID, whoever made them."""
        return self.search("ImagingStudy", identifier=f"urn:dicom:uid|urn:oid:{self.uid(study)}")

    def study(self, study: str) -> JSON:
        """The only one."""
        (only,) = self.named(study)
        return only

    def patients(self) -> list[JSON]:
        """The Patients that came from the archive, and all others with an identifier of its system."""
        return [
            one
            for one in self.search("Patient")
            if _source(one).startswith(self.source)
            or self.system in {each.get("system") for each in one.get("identifier", [])}
        ]

    def endpoints(self) -> list[JSON]:
        """The Endpoints that came from the archive."""
        return [one for one in self.search("Endpoint") if _source(one).startswith(self.source)]

    def versions(self) -> dict[str, str]:
        """`meta.versionId` of everything by `Type/id`: opaque, good for a comparison only."""
        everything = [*self.studies(), *self.patients(), *self.endpoints()]
        return {f"{one['resourceType']}/{one['id']}": one["meta"]["versionId"] for one in everything}


@contextmanager
def site_at(fhir: str, folder: Path, *, partitions: bool = False) -> Iterator[Site]:
    """A `Site` with its archive served over HTTP."""
    site = Site(fhir, folder, partitions=partitions)
    with site.fhir, serve(dicom_service(site.archive)) as site.dicom:
        yield site


def _source(resource: JSON) -> str:
    return str(resource["meta"].get("source", ""))
