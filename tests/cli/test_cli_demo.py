"""`demo`: what it prints is what the embedded servers hold."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pydicom
import pytest

from tests.servers.embedded import Embedded

# A process that interrupts itself at a chosen moment.
HOOKS = {
    "loading": """
import builtins, signal, sys
real = builtins.__import__
def hook(name, *rest):
    if name == "pydicom":
        builtins.__import__ = real
        signal.raise_signal(signal.SIGINT)
    return real(name, *rest)
builtins.__import__ = hook
""",
    "casting": """
import signal, sys
from dicomcast import sync
real = sync.Synchronizer.drain
def drain(*rest):
    signal.raise_signal(signal.SIGINT)
    return real(*rest)
sync.Synchronizer.drain = drain
""",
}
FILES = Path(pydicom.__file__).parent / "data" / "test_files"


def counts(out: str) -> dict[str, int]:
    """The line that says what is in FHIR."""
    line = next(line for line in out.splitlines() if line.startswith("   In FHIR now:"))
    return {name: int(count) for count, name in re.findall(r"(\d+) (\w+)", line)}


def pasted(out: str, folder: Path) -> str:
    """What the last of the printed lines says in a shell that has no dicomcast on its PATH."""
    line, environ = out[out.index("  DICOMCAST_DICOM__URL=") :], {"PATH": "/usr/bin:/bin"}
    ended = subprocess.run(["sh", "-c", line], cwd=folder, env=environ, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    return ended.stderr.splitlines()[-1]


def pages(client: httpx.Client, url: str) -> list[dict[str, Any]]:
    """All matches of a search."""
    found: list[dict[str, Any]] = []
    while url:
        page = client.get(url).json()
        found += [entry["resource"] for entry in page.get("entry", [])]
        url = next((link["url"] for link in page["link"] if link["relation"] == "next"), "")
    return found


def test_demo_prints_what_the_servers_hold(embedded: Embedded) -> None:
    """`demo --serve` counts, tables and curl lines agree with both servers; Ctrl-C ends it with 0."""
    running = embedded.start("demo", "--serve")
    process = running.process
    try:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "run --once" in line:
                break
        out = "".join(lines)
        feed, printed, metadata = re.findall(r"curl '([^']+)'", out)
        with httpx.Client(trust_env=False, timeout=30) as client:
            fhir = metadata.removesuffix("/metadata")
            assert client.get(metadata).json()["fhirVersion"] == "4.0.1"
            studies, patients = pages(client, f"{fhir}/ImagingStudy"), pages(client, f"{fhir}/Patient")
            assert counts(out) == {
                "Patients": len(patients),
                "ImagingStudies": len(studies),
                "Series": sum(one["numberOfSeries"] for one in studies),
                "Instances": sum(one["numberOfInstances"] for one in studies),
            }
            assert [entry["sequence"] for entry in client.get(feed).json()] == [1, 2]
            archive = feed.partition("/v2/")[0]
            held = client.get(f"{archive}/v2/instances?limit=200", headers={"Accept": "application/dicom+json"}).json()
            assert counts(out)["Instances"] == len(held)
            stored = re.search(r"1\. Stored (\d+) instances", out)
            assert stored is not None
            assert int(stored[1]) - 1 == len(held)
            question = re.search(r"GET \[base\]/(\S+)", out)
            assert question is not None
            assert printed == f"{fhir}/{question[1]}"
            answer = pages(client, printed)
        table = out.partition("description\n")[2].partition("\n\n")[0].splitlines()
        assert len(table) == len(answer) > 0
        assert {int(row.split("CT")[1].split()[1]) for row in table} == {one["numberOfInstances"] for one in answer}
        assert "5. Cast again, with nothing new:        nothing new" in out
        assert pasted(out, embedded.folder) == f"dicomcast: {len(studies)} unchanged; 0 parked now"
        assert not list(embedded.folder.glob("*.db*")), "nothing is left in the folder"
        assert "'Corrected by a bulk update'" in out
        running.signal(signal.SIGINT)
        ended = running.finish()
    finally:
        process.kill()
    assert (ended.code, ended.out, ended.err) == (0, "Stopped.\n", "")


@pytest.mark.parametrize("at", HOOKS)
def test_demo_interrupted(embedded: Embedded, at: str) -> None:
    """Ctrl-C ends it with 130 and without a word, while it is loaded and while it casts."""
    (embedded.folder / "one.dcm").write_bytes((FILES / "CT_small.dcm").read_bytes())
    code = f"{HOOKS[at]}from dicomcast.__main__ import main\nsys.argv = ['dicomcast', 'demo', '.']\nmain()"
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=embedded.folder, capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stderr) == (130, "")
    assert "2. Cast" not in ended.stdout


def test_demo_of_one_file(embedded: Embedded) -> None:
    """One is not written as many."""
    (embedded.folder / "one.dcm").write_bytes((FILES / "CT_small.dcm").read_bytes())
    out = embedded.run("demo", "one.dcm", code=0).out
    assert "1. Stored 1 instance from 1 DICOM file in the archive" in out
    assert "In FHIR now:  1 Patient, 1 ImagingStudy, 1 Series, 1 Instance\n" in out
    assert "1 instance left" in out
    assert "1 FHIR request," in out


def test_demo_of_a_folder(embedded: Embedded) -> None:
    """One's own files are taken in place of pydicom's, whatever else is in the folder."""
    folder = embedded.folder / "scans"
    folder.mkdir()
    for name in ("CT_small.dcm", "MR_small.dcm"):
        (folder / name).write_bytes((FILES / name).read_bytes())
    (folder / "notes.txt").write_text("not an image")
    ended = embedded.run("demo", "scans", code=0)
    assert "1. Stored 2 instances from 2 DICOM files" in ended.out
    assert "2. Cast the change feed into FHIR:      2 created" in ended.out
    # No study has an instance to spare.
    assert "3. Corrected the description of a study by a bulk update.\n" in ended.out
    assert counts(ended.out) == {"Patients": 2, "ImagingStudies": 2, "Series": 2, "Instances": 2}


def test_demo_of_a_folder_without_dicom(embedded: Embedded) -> None:
    """Where there is nothing to show, it says so and what it looked for."""
    (embedded.folder / "empty").mkdir()
    ended = embedded.run("demo", "empty", code=78)
    assert ended.err == "dicomcast: empty: there are no DICOM files in it (none has DICM after 128 bytes)\n"
    assert ended.out == ""
    ended = embedded.run("demo", "missing", code=2)
    assert "path 'missing' does not exist" in ended.err
    (embedded.folder / "empty" / "header.dcm").write_bytes(bytes(128) + b"DICM")
    ended = embedded.run("demo", "empty", code=78)
    assert ended.err == "dicomcast: none of the DICOM files is an instance that can be stored (1 refused)\n"
