"""`demo`: the main job on two embedded servers, with real DICOM files, over real HTTP."""

from __future__ import annotations

import asyncio
import shlex
import signal
import sys
import tempfile
import time
from collections import Counter
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
from dicomcast.errors import ConfigError, Conflict
from dicomcast.extras import extra
from dicomcast.http import Http, dump_json, parse_json
from dicomcast.mapping.tags import tag
from dicomcast.settings import load_settings
from dicomcast.worker import Job, Worker

__all__ = ["demo"]

_FILES_AT_ONCE = 50
_EXISTS = 45070  # FailureReason of the DICOM service: the instance is there already
_SYSTEM = "urn:oid:2.25.1"
_DICOM_JSON = {"Accept": "application/dicom+json", "Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class _Servers:
    """The base URLs of the embedded servers."""

    dicom: str
    fhir: str


def demo(
    folder: Annotated[
        Path | None, typer.Argument(exists=True, help="Your own DICOM files; pydicom's if left out.")
    ] = None,
    serve: Annotated[bool, typer.Option("--serve", help="Keep both servers up, and print curl lines to try.")] = False,
) -> None:
    """Store DICOM files in an embedded archive and see them arrive in an embedded FHIR server.

    Example: dicomcast demo --serve
    """
    telemetry.configure("warning")
    paths = [path for path in files.find(folder or _shipped()) if _is_dicom(path)]
    if not paths:
        raise ConfigError(f"{folder}: there are no DICOM files in it (none has DICM after 128 bytes)")
    with _servers() as servers, tempfile.TemporaryDirectory(prefix="dicomcast-") as state:
        question = asyncio.run(_demo(servers, paths, Path(state) / "demo.db"))
        if serve:
            _keep_up(servers, question, Path(state) / "run.db")


def _shipped() -> Path:
    """The real DICOM files inside pydicom's wheel (its own accessor would download more)."""
    return Path(pydicom.__file__).parent / "data" / "test_files"


def _is_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


@contextmanager
def _servers() -> Iterator[_Servers]:
    with extra("demo", "the demo"):
        from dicomcast.demo.archive import Archive
        from dicomcast.demo.dicom_service import dicom_service
        from dicomcast.demo.fhir_server import fhir_server
        from dicomcast.demo.serve import serve
    with serve(dicom_service(Archive())) as dicom, serve(fhir_server()) as fhir:
        yield _Servers(dicom, f"{fhir}/fhir")


async def _demo(servers: _Servers, paths: list[Path], state: Path) -> str:
    """The whole flow; returns the question that it asked FHIR at the end."""
    archive, fhir = Http("dicom", servers.dicom), Http("fhir", servers.fhir)
    try:
        stored, known, refused = await _store(archive, paths)
        if not stored:
            raise ConfigError(f"none of the DICOM files is an instance that can be stored ({len(paths)} refused)")
        instances, given = _count(stored, "instance"), _count(len(paths), "DICOM file")
        print(f"1. Stored {instances} from {given} in the archive (STOW-RS).")
        if known:
            print(f"   {known} more hold one of these again, in another encoding.")
        if refused:
            print(f"   {refused} more are no complete instances, such as DICOMDIRs and files without UIDs.")
        print()
        print(f"2. Cast the change feed into FHIR:      {await _cast(servers, state)}")
        (study, series, instance), size = await _largest_series(archive)
        await _bulk_update(archive, study)
        if size > 1:
            await archive.request("DELETE", f"v2/studies/{study}/series/{series}/instances/{instance}")
            print("3. Deleted one instance of a study, and corrected its description by a bulk update.")
        else:
            print("3. Corrected the description of a study by a bulk update.")
        print(f"4. Cast what changed:                   {await _cast(servers, state)}")
        print(f"5. Cast again, with nothing new:        {await _cast(servers, state)}\n")
        return await _show(fhir, study)
    finally:
        await archive.close()
        await fhir.close()


async def _store(archive: Http, paths: list[Path]) -> tuple[int, int, int]:
    """STOW-RS, some files a request; counts what was stored, what was there already, and what was refused."""
    stored = known = 0
    for start in range(0, len(paths), _FILES_AT_ONCE):
        some = paths[start : start + _FILES_AT_ONCE]
        boundary = uuid4().hex
        head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        body = b"".join(head + path.read_bytes() + b"\r\n" for path in some) + f"--{boundary}--\r\n".encode()
        kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
        headers = {"Content-Type": kind, "Accept": "application/dicom+json"}
        try:
            answer = await archive.request("POST", "v2/studies", content=body, headers=headers)
        except Conflict:  # none of these was taken
            continue
        response = parse_json(answer.content)
        stored += len(response[tag("ReferencedSOPSequence")]["Value"])
        failed = response.get(tag("FailedSOPSequence"), {}).get("Value", [])
        known += sum(one[tag("FailureReason")]["Value"] == [_EXISTS] for one in failed)
    return stored, known, len(paths) - stored - known


async def _cast(servers: _Servers, state: Path) -> str:
    """What `dicomcast run --once` does, and what it took."""
    settings = load_settings(
        {
            "DICOMCAST_DICOM__URL": servers.dicom,
            "DICOMCAST_FHIR__URL": servers.fhir,
            "DICOMCAST_PATIENT__SYSTEM": _SYSTEM,
            "DICOMCAST_STATE__URL": f"sqlite:///{state}",
        }
    )
    began = time.perf_counter()
    async with build(settings) as app:
        worker = _Interruptible(app)
        report = await worker.run(Job())
        if worker.interrupted:
            raise KeyboardInterrupt
        took = time.perf_counter() - began
        return f"{report} ({_count(app.fhir.requests, 'FHIR request')}, {took:.1f} s)"


class _Interruptible(Worker):
    """A worker that was told to stop has done its part, and the rest of the demo is not wanted either."""

    interrupted = False

    def stop(self) -> None:
        """By a signal: these runs have no time limit."""
        self.interrupted = True
        super().stop()


def _count(number: int, noun: str) -> str:
    plural = noun.removesuffix("y") + "ies" if noun.endswith("y") else noun if noun == "Series" else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"


async def _query(peer: Http, url: str, accept: str) -> Any:
    answer = await peer.request("GET", url, headers={"Accept": accept})
    return parse_json(answer.content) if answer.content else []


async def _largest_series(archive: Http) -> tuple[tuple[str, ...], int]:
    """(study, series, instance) of an instance of the series with the most of them, and how many these are."""
    found = await _query(archive, "v2/instances?limit=200", "application/dicom+json")
    uids = [tuple(one[tag]["Value"][0] for tag in ("0020000D", "0020000E", "00080018")) for one in found]
    sizes = Counter(one[1] for one in uids)
    example = max(uids, key=lambda one: (sizes[one[1]], one))
    return example, sizes[example[1]]


async def _bulk_update(archive: Http, study: str) -> None:
    change = {"00081030": {"vr": "LO", "Value": ["Corrected by a bulk update"]}}
    body = {"studyInstanceUids": [study], "changeDataset": change}
    await archive.request("POST", "v2/studies/$bulkUpdate", content=dump_json(body), headers=_DICOM_JSON)


async def _show(fhir: Http, study_uid: str) -> str:
    """What is in FHIR now, and the question that it can answer, which is returned."""
    patients = await _search_all(fhir, "Patient?_count=50")
    studies = await _search_all(fhir, "ImagingStudy?_count=50")
    counts = {
        "Patient": len(patients),
        "ImagingStudy": len(studies),
        "Series": sum(one.get("numberOfSeries", 0) for one in studies),
        "Instance": sum(one.get("numberOfInstances", 0) for one in studies),
    }
    print("   In FHIR now:  " + ", ".join(_count(count, name) for name, count in counts.items()) + "\n")
    ct = [one for one in studies if any(code["code"] == "CT" for code in one.get("modality", []))]
    subjects = Counter(one["subject"]["reference"] for one in ct)
    question = "ImagingStudy"
    if ct:
        # The one with the most of them; one that says what it is makes the better example.
        example = max(ct, key=lambda one: (subjects[one["subject"]["reference"]], len(one.get("description", ""))))
        patient = example["subject"]["reference"]
        question = f"ImagingStudy?patient={patient}&modality=CT"
        answer = await _search_all(fhir, question)
        print(f"   All CT studies of one patient:  GET [base]/{question}\n")
        print(f"   {'started':<27}{'modality':<10}{'series':>6}{'instances':>11}   description")
        for study in answer:
            modality = ",".join(code["code"] for code in study["modality"])
            print(
                f"   {study.get('started', '-'):<27}{modality:<10}{study['numberOfSeries']:>6}"
                f"{study['numberOfInstances']:>11}   {study.get('description', '-')}"
            )
    identifier = quote(f"urn:dicom:uid|urn:oid:{study_uid}", safe=":|")
    changed: dict[str, Any] = next(iter(await _search_all(fhir, f"ImagingStudy?identifier={identifier}")), {})
    left = _count(changed["numberOfInstances"], "instance")
    version = changed["meta"]["versionId"]
    print(f"\n   The corrected study: {changed['description']!r}, {left} left, version {version}")
    return question


async def _search_all(fhir: Http, url: str) -> list[Any]:
    found: list[Any] = []
    while url:
        page = await _query(fhir, url, "application/fhir+json")
        found += [entry["resource"] for entry in page.get("entry", [])]
        url = next((link["url"] for link in page.get("link", []) if link["relation"] == "next"), "")
    return found


def _command() -> str:
    """How this very program is run again from here: it need not be on the PATH."""
    program = Path(sys.argv[0]).absolute()
    if program.name == "__main__.py":
        return f"{shlex.quote(sys.executable)} -m dicomcast"
    return shlex.quote(str(program.relative_to(Path.cwd()) if program.is_relative_to(Path.cwd()) else program))


def _keep_up(servers: _Servers, question: str, state: Path) -> None:
    print(f"""
Both servers stay up until Ctrl-C. Try:
  curl '{servers.dicom}/v2/changefeed?limit=2&includeMetadata=false'
  curl '{servers.fhir}/{question}'
  curl '{servers.fhir}/metadata'
  DICOMCAST_DICOM__URL={servers.dicom} DICOMCAST_FHIR__URL={servers.fhir} \\
    DICOMCAST_PATIENT__SYSTEM={_SYSTEM} DICOMCAST_STATE__URL=sqlite:///{state} \\
    {_command()} run --once""")
    sys.stdout.flush()
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        print("Stopped.")
