"""`demo`: the main job on two embedded servers, with real DICOM files, over real HTTP."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote
from uuid import uuid4

import pydicom
import typer

from dicomcast import telemetry
from dicomcast.app import build
from dicomcast.dicom import files
from dicomcast.errors import ConfigError, Rejected
from dicomcast.http import Http, dump_json, parse_json
from dicomcast.settings import load_settings
from dicomcast.worker import Report, Worker

__all__ = ["demo"]

_DICOM_JSON = {"Accept": "application/dicom+json", "Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class _Servers:
    """The base URLs of the embedded servers."""

    dicom: str
    fhir: str


def demo(
    folder: Annotated[Path | None, typer.Argument(help="Your own DICOM files; pydicom's if left out.")] = None,
    serve: Annotated[bool, typer.Option("--serve", help="Keep both servers up, and print curl lines to try.")] = False,
) -> None:
    """Store DICOM files in an embedded archive and see them arrive in an embedded FHIR server.

    Example: dicomcast demo --serve
    """
    telemetry.configure("warning")
    paths = files.find(folder) if folder else sorted(_shipped().glob("*.dcm"))
    with _servers() as servers, tempfile.TemporaryDirectory() as state:
        asyncio.run(_demo(servers, paths, Path(state) / "demo.db"))
        if serve:
            _keep_up(servers)


def _shipped() -> Path:
    """The real DICOM files inside pydicom's wheel (its own accessor would download more)."""
    return Path(pydicom.__file__).parent / "data" / "test_files"


@contextmanager
def _servers() -> Iterator[_Servers]:
    try:
        from dicomcast.demo.archive import Archive
        from dicomcast.demo.dicom_service import dicom_service
        from dicomcast.demo.fhir_server import fhir_server
        from dicomcast.demo.serve import serve
    except ImportError as error:
        raise ConfigError(f"the demo needs more packages ({error.name}): pip install 'dicomcast[demo]'") from None
    with serve(dicom_service(Archive())) as dicom, serve(fhir_server()) as fhir:
        yield _Servers(dicom, f"{fhir}/fhir")


async def _demo(servers: _Servers, paths: list[Path], state: Path) -> None:
    archive, fhir = Http("dicom", servers.dicom), Http("fhir", servers.fhir)
    try:
        stored = await _store(archive, paths)
        print(f"1. Stored {stored} of {len(paths)} files in the archive at {servers.dicom} (STOW-RS).")
        print("   The others have no UIDs or are cut short: an archive refuses them.\n" if stored < len(paths) else "")
        print(f"2. Cast the change feed into FHIR:        {await _cast(servers, state)}")
        series = await _largest_series(archive)
        instance = f"v2/studies/{series[0]}/series/{series[1]}/instances/{series[2]}"
        await archive.request("DELETE", instance)
        await _bulk_update(archive, series[0])
        print("3. Deleted one instance of a study, and corrected its description by a bulk update.")
        print(f"4. Cast what changed:                     {await _cast(servers, state)}")
        print(f"5. Cast again, with nothing new:          {await _cast(servers, state)}\n")
        await _show(fhir, series[0])
    finally:
        await archive.close()
        await fhir.close()


async def _store(archive: Http, paths: list[Path]) -> int:
    """STOW-RS, one request a file; counts what the archive took."""
    stored = 0
    for path in paths:
        boundary = uuid4().hex
        part = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        try:
            await archive.request(
                "POST",
                "v2/studies",
                content=part + path.read_bytes() + f"\r\n--{boundary}--\r\n".encode(),
                headers={
                    "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
                    "Accept": "application/dicom+json",
                },
                budget=0,
            )
        except Exception as error:
            if not isinstance(error, Rejected) and "409" not in str(error):
                raise
        else:
            stored += 1
    return stored


async def _cast(servers: _Servers, state: Path) -> str:
    """What `dicomcast run --once` does, and what it took."""
    settings = load_settings(
        {
            "DICOMCAST_DICOM__URL": servers.dicom,
            "DICOMCAST_FHIR__URL": servers.fhir,
            "DICOMCAST_PATIENT__SYSTEM": "urn:oid:2.25.1",
            "DICOMCAST_STATE__URL": f"sqlite:///{state}",
        }
    )
    began = time.perf_counter()
    async with build(settings) as app:
        report: Report = await Worker(app).run(once=True)
        took = time.perf_counter() - began
        return f"{report} - {app.fhir.requests} FHIR requests, {took:.1f} s"


async def _query(peer: Http, url: str, accept: str) -> Any:
    answer = await peer.request("GET", url, headers={"Accept": accept})
    return parse_json(answer.content) if answer.content else []


async def _largest_series(archive: Http) -> tuple[str, str, str]:
    """(study, series, instance): an instance of the series with the most of them."""
    found = await _query(archive, "v2/instances?limit=200", "application/dicom+json")
    uids = [tuple(one[tag]["Value"][0] for tag in ("0020000D", "0020000E", "00080018")) for one in found]
    study, series, instance = max(uids, key=lambda one: ([two[1] for two in uids].count(one[1]), one))
    return study, series, instance


async def _bulk_update(archive: Http, study: str) -> None:
    change = {"00081030": {"vr": "LO", "Value": ["Corrected by a bulk update"]}}
    body = {"studyInstanceUids": [study], "changeDataset": change}
    await archive.request("POST", "v2/studies/$bulkUpdate", content=dump_json(body), headers=_DICOM_JSON)


async def _show(fhir: Http, study_uid: str) -> None:
    """The table, and the question that FHIR can answer now."""
    patients = await _search_all(fhir, "Patient?_count=50")
    studies = await _search_all(fhir, "ImagingStudy?_count=50")
    print("   In FHIR now")
    rows = {
        "Patients": len(patients),
        "ImagingStudies": len(studies),
        "Series": sum(one.get("numberOfSeries", 0) for one in studies),
        "Instances": sum(one.get("numberOfInstances", 0) for one in studies),
    }
    for name, count in rows.items():
        print(f"   {name:<16}{count:>5}")
    identifier = quote(f"urn:dicom:uid|urn:oid:{study_uid}", safe=":|")
    changed: dict[str, Any] = next(iter(await _search_all(fhir, f"ImagingStudy?identifier={identifier}")), {})
    print(
        f"\n   The corrected study says: {changed.get('description')!r}, "
        f"{changed.get('numberOfInstances', 0)} instances left, version {changed.get('meta', {}).get('versionId')}"
    )
    ct = [one for one in studies if any(code.get("code") == "CT" for code in one.get("modality", []))]
    if ct:
        patient = max(
            (one["subject"]["reference"] for one in ct), key=[one["subject"]["reference"] for one in ct].count
        )
        question = f"ImagingStudy?patient={patient}&modality=CT"
        print(f"\n   All CT studies of this patient:  GET {fhir.base_url}/{question}")
        print(f"   answers with {len(await _search_all(fhir, question))} of them.")


async def _search_all(fhir: Http, url: str) -> list[Any]:
    found: list[Any] = []
    while url:
        page = await _query(fhir, url, "application/fhir+json")
        found += [entry["resource"] for entry in page.get("entry", [])]
        url = next((link["url"] for link in page.get("link", []) if link["relation"] == "next"), "")
    return found


def _keep_up(servers: _Servers) -> None:
    print(f"""
Both servers stay up until Ctrl-C. Try:
  curl '{servers.dicom}/v2/changefeed?limit=2&includeMetadata=false'
  curl '{servers.fhir}/ImagingStudy?modality=CT'
  curl '{servers.fhir}/metadata'
  DICOMCAST_DICOM__URL={servers.dicom} DICOMCAST_FHIR__URL={servers.fhir} \\
    DICOMCAST_PATIENT__SYSTEM=urn:oid:2.25.1 dicomcast run --once""")
    sys.stdout.flush()
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        print("Stopped.")
