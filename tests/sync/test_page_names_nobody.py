"""Law 5 on the status page: no value of any patient, and no UID, whatever becomes of the studies."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from dicomcast.mapping.tags import tag
from dicomcast.page import render
from dicomcast.vitals import Phase
from dicomcast.worker import Job, Worker
from tests.golden_files import CASES
from tests.virtual import VirtualHarness, until

pytestmark = pytest.mark.looptime

# Words of the standard and of the page, which tell of nobody; what is shorter than this may be in any word.
_LEAST = 5


def values(element: Any) -> Iterator[str]:
    """All text in a dataset, components of names apart."""
    match element:
        case dict():
            for name, inner in element.items():
                if name not in ("vr", "BulkDataURI"):
                    yield from values(inner)
        case list():
            for inner in element:
                yield from values(inner)
        case _:
            yield from str(element).replace("^", " ^ ").split("^")


async def test_no_value_of_a_golden_patient_is_on_it(harness: VirtualHarness) -> None:
    """All of them in the archive, some refused, some unreadable, then the FHIR server refuses study after study."""
    secrets: set[str] = set()
    studies = []
    for case in CASES.values():
        for metadata in case["metadata"]:
            harness.archive.store(metadata, "Microsoft.Default")
            secrets.update(one.strip() for one in values(metadata))
            studies.append(str(metadata.get(tag("StudyInstanceUID"), {}).get("Value", [""])[0]))
    secrets = {one for one in secrets if len(one) >= _LEAST}
    assert {"Doe", "Jane"} & {part for one in secrets for part in one.split()} and len(secrets) > 150
    rows = harness.archive.page_v1(limit=500)
    for study in sorted(set(studies))[:2]:
        (uids,) = [
            [row[f"{level}InstanceUid"] for level in ("study", "series", "sop")]
            for row in rows
            if row["studyInstanceUid"] == study
        ][:1]
        harness.archive.poison(*uids, "corrupt")
    app = harness.app()
    worker = Worker(app)
    run = asyncio.create_task(worker.run(Job(once=False)))
    await until(lambda: app.vitals.polled_at is not None)
    pages = [render(app.vitals, harness.now, version="1")]
    assert "created</span>" in pages[0]
    refused = httpx.Response(422, json={"resourceType": "OperationOutcome", "issue": [{"code": "invalid"}]})
    harness.weather["fhir"] = lambda _: refused
    for number in range(12):
        harness.put(f"1.2.840.99.{number}", f"1.2.840.99.{number}.1", f"1.2.840.99.{number}.1.1", PatientID="SECRET-ID")
    await until(lambda: app.vitals.phase is Phase.BLOCKED)
    pages.append(render(app.vitals, harness.now + timedelta(minutes=1), version="1"))
    worker.stop()
    await run
    for page in pages:
        content = page.replace(page[page.index("<style>") : page.index("</style>")], "")
        for secret in (*secrets, "SECRET-ID", "1.2.840.99"):
            assert secret.lower() not in content.lower(), secret
