"""Contradictions and Patients that do not match: told by tag and rule, cast all the same, and refused where strict."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from structlog.testing import capture_logs

from dicomcast.mapping.rules import Rules
from dicomcast.model import Outcome
from dicomcast.vitals import Report
from tests.harness import DICOM_URL, SYSTEM, Harness

THEIRS = {"resourceType": "Patient", "id": "ehr", "identifier": [{"system": SYSTEM, "value": "P1"}]}
DOE = {"PatientName": "Doe^Jane", "PatientSex": "F", "PatientBirthDate": "19700101"}


async def cast(harness: Harness) -> tuple[Counter[Outcome], list[str]]:
    """What came of it, and the issues that the log has of each study."""
    with capture_logs() as logs:
        outcomes = await harness.cast()
    assert "Doe" not in str(logs) and "1970" not in str(logs)
    return outcomes, [one["issues"] for one in logs if one["event"] == "study.issues"]


async def reasons(harness: Harness) -> list[str]:
    return [row.reason for row in await harness.state.parked(DICOM_URL)]


async def test_contradictions_are_told_and_cast() -> None:
    """Once for a study, with its tags, whoever speaks for it."""
    harness = Harness()
    harness.put("1.2", "1.2.1", "1.2.1.1", AccessionNumber="A1", StudyDate="20240101")
    harness.put("1.2", "1.2.1", "1.2.1.2", AccessionNumber="A2", StudyDate="20240101")
    harness.put("1.2", "1.2.2", "1.2.2.1", AccessionNumber="A1", StudyDate="20240102")
    told = ["00080020 contradiction, 00080050 contradiction"]
    assert await cast(harness) == ({Outcome.CREATED: 1}, told)
    assert harness.study()["numberOfInstances"] == 3
    await harness.close()


@pytest.mark.parametrize(
    ("mode", "theirs", "told"),
    [
        ("link", {"gender": "male"}, ["00100040 patient-mismatch"]),
        ("create", {"birthDate": "1970-01-02"}, ["00100030 patient-mismatch"]),
        ("own", {"name": [{"family": "Roe"}]}, ["00100010 patient-mismatch"]),
        ("own", {"name": [{"family": "DOE"}], "gender": "female", "birthDate": "1970-01-01"}, []),
        ("own", {}, []),
        ("update", {"gender": "male", "name": [{"family": "Roe"}]}, []),
    ],
)
async def test_a_patient_of_others_who_does_not_match(mode: str, theirs: dict[str, Any], told: list[str]) -> None:
    """The study is linked, and where they disagree is told; with `update` it is no more when the study is cast."""
    harness = Harness(mode=mode)
    harness.store.put(THEIRS | theirs)
    harness.put("1.2", "1.2.1", "1.2.1.1", **DOE)
    assert await cast(harness) == ({Outcome.CREATED: 1}, told)
    assert harness.study()["subject"]["reference"] == "Patient/ehr"
    await harness.close()


@pytest.mark.parametrize(("mode", "told"), [("create", ["00100010 patient-mismatch"]), ("own", [])])
async def test_a_patient_of_ours(mode: str, told: list[str]) -> None:
    """One that follows its newest study is what they say; one that was only created is what the first said."""
    harness = Harness(mode=mode)
    harness.put("1.2", "1.2.1", "1.2.1.1", **DOE)
    assert await cast(harness) == ({Outcome.CREATED: 1}, [])
    harness.put("1.3", "1.3.1", "1.3.1.1", **(DOE | {"PatientName": "Roe^Jane"}))
    assert await cast(harness) == ({Outcome.CREATED: 1}, told)
    await harness.close()


async def test_strict_refuses_a_patient_who_does_not_match() -> None:
    """Nothing of the study gets into FHIR until somebody has looked at it."""
    harness = Harness(rules=Rules(SYSTEM, strict=True))
    harness.store.put(THEIRS | {"gender": "male"})
    harness.put("1.2", "1.2.1", "1.2.1.1", **DOE)
    assert await cast(harness) == ({Outcome.PARKED: 1}, ["00100040 patient-mismatch"])
    assert (await reasons(harness), harness.studies()) == (["invalid-value"], [])
    await harness.close()


@pytest.mark.parametrize("strict", [True, False])
async def test_issues_are_counted(strict: bool) -> None:
    """By tag and rule, once a study that is cast, also where it is refused for them."""
    harness, report = Harness(rules=Rules(SYSTEM, strict=strict)), Report()
    harness.note = report.note  # type: ignore[method-assign]
    for study in ("1.2", "1.3"):
        harness.put(study, f"{study}.1", f"{study}.1.1", StudyDate="junk", AccessionNumber="A1")
        harness.put(study, f"{study}.1", f"{study}.1.2", StudyDate="junk", AccessionNumber="A2")
    await harness.cast()
    assert report.issues == {("00080020", "not-a-date"): 2, ("00080050", "contradiction"): 2}
    await harness.close()


@pytest.mark.parametrize("order", [[1, 2], [2, 1]])
@pytest.mark.parametrize("at_once", [True, False])
async def test_strict_refuses_a_contradiction_in_any_windows(order: list[int], at_once: bool) -> None:
    """Also where the instances that contradict each other came one by one, and the first stands in FHIR."""
    harness = Harness(rules=Rules(SYSTEM, strict=True))
    told: list[str] = []
    for number in order:
        harness.put("1.2", "1.2.1", f"1.2.1.{number}", AccessionNumber=f"A{number}")
        if not at_once:
            told += (await cast(harness))[1]
    told += (await cast(harness))[1]
    assert told == ["00080050 contradiction"]
    assert await reasons(harness) == ["invalid-value"]
    assert len(harness.studies()) == (0 if at_once else 1)
    await harness.close()


async def test_strict_casts_what_is_in_order() -> None:
    """A study that comes in several windows, and then changes, is read whole and stands."""
    harness = Harness(rules=Rules(SYSTEM, strict=True))
    for number in (1, 2, 3):
        harness.put("1.2", "1.2.1", f"1.2.1.{number}", AccessionNumber="A1")
        assert (await cast(harness))[1] == []
    harness.archive.delete("Microsoft.Default", "1.2", "1.2.1", "1.2.1.3")
    assert await cast(harness) == ({Outcome.UPDATED: 1}, [])
    assert harness.study()["numberOfInstances"] == 2
    await harness.close()
