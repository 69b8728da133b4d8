"""What comes of real DICOM files is FHIR, whichever way it leaves: `map`, `run --dry-run`, or to a server."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import orjson
import pydicom
import pytest
from typer.testing import CliRunner

from dicomcast.cli import app
from dicomcast.demo.archive import Archive
from dicomcast.demo.dicom_service import dicom_service
from dicomcast.demo.fhir_server import fhir_server
from dicomcast.demo.fhir_store import FhirStore
from dicomcast.demo.serve import serve
from dicomcast.dicom import files
from dicomcast.http import dump_json
from dicomcast.mapping.rules import Rules
from dicomcast.model import Outcome
from dicomcast.offline import bundle_of
from tests.harness import SYSTEM, Harness
from tests.judge import problems

# The real DICOM files inside pydicom's wheel.
FILES = sorted(one for one in (Path(pydicom.__file__).parent / "data").rglob("*_files/**/*") if one.is_file())


def _uids(path: Path) -> tuple[str, ...]:
    """The three UIDs of a file, () if it is no DICOM file or lacks one."""
    try:
        dataset = pydicom.dcmread(path, stop_before_pixels=True)
        uids = [str(dataset.get(f"{level}InstanceUID") or "") for level in ("Study", "Series", "SOP")]
    except Exception:
        return ()
    return tuple(uids) if all(uids) else ()


@pytest.fixture(scope="module")
def real() -> dict[Path, tuple[str, ...]]:
    """The UIDs of the files that have them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, about what is odd in its own test files
        found = {path: uids for path in FILES if (uids := _uids(path))}
    assert len(found) > 150
    return found


def test_every_real_file_maps(real: dict[Path, tuple[str, ...]]) -> None:
    """Each shipped file that has its UIDs is, alone, a valid Bundle that lists its instance."""
    for path, (_, series, instance) in real.items():
        bundle, _ = bundle_of(map(files.instance_of, files.read(path.read_bytes())), Rules(""))
        assert problems(bundle) == [], path.name
        (study,) = _of_type(bundle, "ImagingStudy")
        listed = [(one["uid"], two["uid"]) for one in study["series"] for two in one["instance"]]
        assert listed == [(series, instance)], path.name


def test_all_real_files_map_together(real: dict[Path, tuple[str, ...]]) -> None:
    """`map` of all of them prints one valid Bundle with every study, series and instance once."""
    result = CliRunner().invoke(app, ["map", *map(str, real)])
    assert result.exit_code == 0, result.stderr
    bundle = orjson.loads(result.stdout_bytes)
    assert problems(bundle) == []
    studies = _of_type(bundle, "ImagingStudy")
    listed = [(one["uid"], two["uid"]) for study in studies for one in study["series"] for two in one["instance"]]
    assert sorted(listed) == sorted({uids[1:] for uids in real.values()})
    assert len(studies) == len({uids[0] for uids in real.values()})


def _of_type(bundle: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    resources = [entry["resource"] for entry in bundle["entry"]]
    return [one for one in resources if one["resourceType"] == kind]


def _fill(archive: Archive, paths: list[Path]) -> int:
    """Store the files, and count the studies; a file that comes twice is stored once."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for path in paths:
            archive.store_dataset(pydicom.dcmread(path, stop_before_pixels=True))
    return len({one["0020000D"]["Value"][0] for one in archive.catalogue("Microsoft.Default")})


async def test_real_files_are_cast(real: dict[Path, tuple[str, ...]]) -> None:
    """All real files go through the archive into FHIR (the harness judges each Bundle), and nothing is parked."""
    harness = Harness()
    studies = _fill(harness.archive, list(real))
    assert await harness.cast() == {Outcome.CREATED: studies}
    assert len(harness.studies()) == studies > 20
    harness.archive.delete("Microsoft.Default", harness.studies()[0]["identifier"][0]["value"].removeprefix("urn:oid:"))
    assert await harness.cast() == {Outcome.DELETED: 1}
    await harness.close()


def test_dry_run_prints_what_would_be_written(real: dict[Path, tuple[str, ...]], tmp_path: Path) -> None:
    """`run --dry-run` prints valid Bundles, one a line, in UTF-8 also on an ASCII terminal, and writes nothing."""
    archive, store = Archive(), FhirStore()
    studies = _fill(archive, list(real))
    with serve(dicom_service(archive)) as dicom, serve(fhir_server(store)) as fhir:
        settings = {
            "DICOMCAST_DICOM__URL": dicom,
            "DICOMCAST_FHIR__URL": f"{fhir}/fhir",
            "DICOMCAST_PATIENT__SYSTEM": SYSTEM,
            "DICOMCAST_STATE__URL": f"sqlite:///{tmp_path}/state.db",
            "PYTHONIOENCODING": "ascii",
        }
        command = [sys.executable, "-m", "dicomcast", "run", "--dry-run"]
        done = subprocess.run(command, env=os.environ | settings, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    bundles = [orjson.loads(line) for line in done.stdout.splitlines()]
    assert [problem for bundle in bundles for problem in problems(bundle)] == []
    assert len([one for bundle in bundles for one in _of_type(bundle, "ImagingStudy")]) == studies
    assert "山田" in done.stdout.decode()
    assert store.total_versions() == 0


async def test_harness_fails_on_what_is_no_fhir() -> None:
    """A Bundle that is no FHIR does not get past the harness, and fails its `close` if the error was swallowed."""
    harness = Harness()
    wrong = {"resourceType": "Patient", "id": "1", "gender": "M"}
    bundle = {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [{"resource": wrong, "request": {"method": "PUT", "url": "Patient/1"}}],
    }
    headers = {"Content-Type": "application/fhir+json"}
    with pytest.raises(AssertionError, match="gender"):
        await harness.server.request("POST", "", content=dump_json(bundle), headers=headers)
    assert harness.store.total_versions() == 0
    with pytest.raises(AssertionError, match="gender"):
        await harness.close()
