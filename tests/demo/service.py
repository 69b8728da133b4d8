"""A client of the embedded DICOM service, and DICOM files to store there."""

from __future__ import annotations

from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import httpx
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from dicomcast.demo.archive import Archive
from dicomcast.demo.dicom_service import dicom_service
from tests.harness import CT, dataset

BASE = "http://dicom.test"
DICOM_JSON = {"Accept": "application/dicom+json"}


class Service:
    """An archive, and a client of it over HTTP."""

    def __init__(self, *, partitions: bool = False, **options: Any) -> None:
        self.archive = Archive(partitions=partitions, clock=lambda: datetime(2026, 1, 1, tzinfo=UTC))
        self.app = dicom_service(self.archive, **options)
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        self.client = httpx.AsyncClient(base_url=BASE, transport=transport)

    async def get(self, path: str, **parameters: Any) -> httpx.Response:
        return await self.client.get(path, params=parameters or None, headers=DICOM_JSON)

    async def stow(self, *files: bytes, path: str = "/v2/studies", end: str = "--b--\r\n") -> httpx.Response:
        body = b"".join(b"--b\r\nContent-Type: application/dicom\r\n\r\n" + file + b"\r\n" for file in files)
        kind = 'multipart/related; type="application/dicom"; boundary=b'
        return await self.client.post(path, content=body + end.encode(), headers=DICOM_JSON | {"Content-Type": kind})

    def fill(self) -> None:
        """Two studies: CT 1.2 with two series of two instances, MR 1.3 with one."""
        for series in ("1.2.1", "1.2.2"):
            for number in (1, 2):
                self.archive.store(dataset("1.2", series, f"{series}.{number}", PatientName="Doe^Jane"))
        other = {"PatientID": "P2", "Modality": "MR", "StudyDate": "20240215", "AccessionNumber": "A1"}
        self.archive.store(dataset("1.3", "1.3.1", "1.3.1.1", **other))


def part10(instance: str, study: str = "1.2", **attributes: str) -> bytes:
    """A DICOM file."""
    file = Dataset()
    file.SOPClassUID, file.StudyInstanceUID, file.SOPInstanceUID = CT, study, instance
    file.SeriesInstanceUID, file.PatientID = f"{study}.1", "P1"
    for keyword, value in attributes.items():
        setattr(file, keyword, value)
    file.file_meta = FileMetaDataset()
    file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = BytesIO()
    dcmwrite(buffer, file, enforce_file_format=True)
    return buffer.getvalue()


def values(response: httpx.Response, tag: str) -> list[Any]:
    return [one[tag]["Value"][0] for one in response.json()]


def refused(response: httpx.Response, status: int) -> bool:
    """Refused with this status, in words that are plain text."""
    plain = response.headers["content-type"].startswith("text/plain") and response.text != ""
    return response.status_code == status and plain
