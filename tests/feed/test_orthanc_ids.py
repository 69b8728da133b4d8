"""Law 5: Orthanc's ids are digests of a PatientID, so a short record number can be guessed from one."""

from __future__ import annotations

import re

import httpx
import pytest
from structlog.testing import capture_logs

from dicomcast.errors import DicomCastError
from tests.feeds import scripted

# As Orthanc writes an id, or a part of one.
ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{8}")


@pytest.mark.parametrize("answered", [400, 401, 403, 404, 409, 500, 503, "page", "nobody"])
@pytest.mark.parametrize("asked", ["instances-tags", "bulk-content", "lookup", "changes", "studies"])
async def test_law_5_no_id_is_told(asked: str, answered: int | str) -> None:
    """Whatever Orthanc refuses, and however: neither an error, nor a log line, nor a parked row names a resource."""
    harness = scripted("orthanc-rest")
    for number in (1, 2):
        harness.put(f"1.{number}", f"1.{number}.1", f"1.{number}.1.1")
    checkpoint = await harness.open()

    def instead(peer: str, request: httpx.Request) -> httpx.Response | None:
        if peer != "dicom" or not request.url.path.endswith(asked):
            return None
        if answered == "nobody":
            raise httpx.ConnectError(f"refused {request.url}")
        return httpx.Response(answered) if isinstance(answered, int) else httpx.Response(200, text="<html>")

    harness.instead = instead
    said: list[str] = []
    with capture_logs() as logs:
        try:
            async for settled, _ in harness.synchronizer.drain(checkpoint):
                assert settled.revision > checkpoint.revision
        except DicomCastError as error:
            said.append(str(error))
    said += [row.message for row in harness.state.rows()]
    assert said, "it did not fail"
    assert not ID.search("\n".join([*said, *map(str, logs)]))
    await harness.close()


async def test_an_id_looks_like_that() -> None:
    """Else the test above would find nothing in any text."""
    harness = scripted("orthanc-rest")
    harness.put("1.2", "1.2.1", "1.2.1.1")
    await harness.cast()
    assert any(ID.search(request.url.path) for _, request in harness.seen)
    await harness.close()
