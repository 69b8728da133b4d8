"""Which addresses get our credentials, and why a peer cannot be reached."""

from __future__ import annotations

import socket
import ssl

import httpx
import pytest

from dicomcast.errors import Unreachable
from dicomcast.http import Http
from tests.answers import peer, refused


@pytest.mark.parametrize(
    ("url", "ours"),
    [
        ("Patient?page=2", True),
        ("/fhir/Patient?page=2", True),
        ("https://fhir.test/other/path", True),
        ("https://FHIR.test:443/fhir?page=2", True),
        ("HTTPS://fhir.test/fhir", True),
        ("http://fhir.test/fhir", False),
        ("https://fhir.test:444/fhir", False),
        ("https://fhir.test.evil.test/fhir", False),
        ("https://user@evil.test/fhir", False),
        ("//evil.test/fhir", False),
        ("http://[::1", False),
    ],
)
async def test_the_same_origin_however_it_is_spelt(url: str, ours: bool) -> None:
    """Servers write the host in any case and with its default port; credentials go to this origin alone."""
    http = Http("fhir", "https://fhir.test/fhir")
    assert http.is_ours(url) is ours
    await http.close()


OBSTACLES = {
    "its name is not known to DNS": socket.gaierror(-2, "Name or service not known"),
    "nobody listens on that port": ConnectionRefusedError(111, "Connection refused"),
    "its TLS certificate is not trusted here": ssl.SSLCertVerificationError("self-signed certificate"),
    "it does not speak TLS as we do; is https right?": ssl.SSLError("WRONG_VERSION_NUMBER"),
    "No route to host": OSError(113, "No route to host"),
    "ConnectError": ValueError("something else"),
}


@pytest.mark.parametrize("said", OBSTACLES)
async def test_an_operator_is_told_what_stands_in_the_way(said: str) -> None:
    """A wrong name, a closed port and a certificate are mended by different people; the setting is named."""

    def handler(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("", request=request) from OBSTACLES[said]

    error = await refused(handler)
    assert isinstance(error, Unreachable) and not error.unsure
    assert str(error) == f"fhir at http://fhir.test/fhir cannot be reached: {said} (DICOMCAST_FHIR__URL)"


async def test_an_address_that_may_tell_of_a_patient_is_not_shown() -> None:
    """What an EHR chose as an id may be a record number."""
    async with peer(lambda _: httpx.Response(503)) as http:
        with pytest.raises(Exception, match=r"^fhir answered 503 to GET Patient/\[id\]$"):
            await http.request("GET", "Patient/MRN-4711", shown="Patient/[id]")
