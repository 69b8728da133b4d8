"""The installed command on FHIR servers of each version, and `map` for them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import dataset
from tests.judge import R4, R5, problems
from tests.servers.embedded import Embedded, embedded_servers


@pytest.fixture
def r5(tmp_path: Path) -> Iterator[Embedded]:
    """An archive, and a FHIR server of R5."""
    with embedded_servers(tmp_path, fhir_options={"version": R5}) as servers:
        yield servers


def test_run_on_an_r5_server(r5: Embedded) -> None:
    """`run` finds out the version, `--dry-run` prints what is then written, and the next run has nothing to do."""
    r5.put("1.2.3", BodyPartExamined="CHEST", AccessionNumber="A1", NameOfPhysiciansReadingStudy="Roe^Rick")
    bundles = [json.loads(line) for line in r5.run("run", "--once", "--dry-run", code=0).out.splitlines()]
    assert [problem for bundle in bundles for problem in problems(bundle, R5)] == []
    resources = [entry["resource"] for bundle in bundles for entry in bundle["entry"]]
    (shown,) = [one for one in resources if one["resourceType"] == "ImagingStudy"]
    r5.run("run", "--once", "--strict", code=0)
    study = r5.studies()["1.2.3"]
    written = {name: value for name, value in study.items() if name != "meta"}
    assert written == {name: value for name, value in shown.items() if name != "meta"}
    assert study["series"][0]["modality"]["coding"][0]["code"] == "CT"
    versions = r5.store.total_versions()
    ended = r5.run("replay", "--replay-from", "1", "--strict", FHIR__VERSION="5.0", code=0)
    assert "1 unchanged" in ended.err
    assert r5.store.total_versions() == versions


def test_a_version_that_contradicts_the_server(r5: Embedded) -> None:
    """FHIR__VERSION is no way around what the server states: exit 78, and nothing is written."""
    r5.put("1.2.3")
    ended = r5.run("run", "--once", FHIR__VERSION="4.0", code=78)
    assert f"FHIR__VERSION is 4.0, but the server at {r5.fhir_url} speaks FHIR 5.0.0" in ended.err
    assert r5.store.total_versions() == 0
    assert "DICOMCAST_FHIR__VERSION" in r5.run("run", "--once", FHIR__VERSION="5", code=78).err


@pytest.mark.parametrize(("version", "judged_as"), [("", R4), ("4.3", R4), ("5.0", R5)])
def test_map_for_a_version(embedded: Embedded, version: str, judged_as: str) -> None:
    """`map --fhir-version` prints a valid Bundle of that version, of R4 if none is asked for."""
    option = ["--fhir-version", version] if version else []
    study = json.dumps(dataset("1.2.3", "1.2.3.1", "1.2.3.1.1", BodyPartExamined="CHEST"))
    bundle = embedded.run("map", *option, "-", stdin=study, code=0).json
    assert problems(bundle, judged_as) == []
    (found,) = [one["resource"] for one in bundle["entry"] if one["resource"]["resourceType"] == "ImagingStudy"]
    assert ("concept" in found["series"][0]["bodySite"]) is (judged_as == R5)


def test_map_for_no_such_version(embedded: Embedded) -> None:
    """Another version is a usage error that names those that there are."""
    ended = embedded.run("map", "--fhir-version", "3.0", "-", code=2)
    assert all(version in ended.err for version in ("4.0", "4.3", "5.0"))
