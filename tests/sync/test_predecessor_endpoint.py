"""The Endpoint that DICOM Cast made has no identifier: its name and address tell whose it is, and nothing else does."""

from __future__ import annotations

from typing import Any

import pytest

from tests.harness import DICOM_URL, Harness

ITS: dict[str, Any] = {
    "resourceType": "Endpoint",
    "id": "its",
    "name": "DICOM WADO-RS endpoint",
    "status": "active",
    "connectionType": {"system": "http://terminology.hl7.org/CodeSystem/endpoint-connection-type", "code": "x"},
    "payloadType": [{"coding": [{"system": "", "code": ""}], "text": "DICOM WADO-RS"}],
    "address": f"{DICOM_URL}/",
}


@pytest.mark.parametrize("options", [{}, {"update_create": False}, {"transactions": False}], ids=str)
@pytest.mark.parametrize("told", [{}, {"name": f"DICOM WADO-RS endpoint {DICOM_URL}/"}, {"meta": {"source": "#4f"}}])
async def test_it_is_taken_over(told: dict[str, Any], options: dict[str, Any]) -> None:
    """Corrected where it stands, whichever version of DICOM Cast made it, and found by its identifier from then on."""
    harness = Harness(**options)
    harness.store.put(ITS | told)
    harness.put("1.2", "1.2.1", "1.2.1.1")
    await harness.cast()
    [endpoint] = harness.store.resources("Endpoint")
    assert endpoint["id"] == "its" and endpoint["address"] == harness.feed.base_url("")
    assert harness.study()["endpoint"] == [{"reference": "Endpoint/its"}]
    await harness.writes_nothing("1.2")
    await harness.close()


@pytest.mark.parametrize(
    "told",
    [
        {"address": "http://other.test/"},
        {"meta": {"source": "https://ris.test"}},
        {"name": "The archive"},
    ],
)
async def test_it_is_anothers(told: dict[str, Any]) -> None:
    """Of another service, with another's mark, or by another name: it stays, and ours stands beside it."""
    harness = Harness()
    harness.store.put(ITS | told)
    harness.put("1.2", "1.2.1", "1.2.1.1")
    await harness.cast()
    assert harness.store.versions("Endpoint", "its") == 1
    assert len(harness.store.resources("Endpoint")) == 2
    assert harness.study()["endpoint"] != [{"reference": "Endpoint/its"}]
    await harness.close()
