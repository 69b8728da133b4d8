"""Which addresses get our credentials, and why a peer cannot be reached."""

from __future__ import annotations

import socket
import ssl

import httpx
import pytest

from dicomcast.auth.given import Basic
from dicomcast.errors import Rejected, Retriable, Unreachable
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


async def test_no_credentials_for_another_origin() -> None:
    """Whoever asks for an address elsewhere, nothing is sent there."""
    asked: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200)

    async with peer(handler, credentials=Basic("user", "sesame")) as http:
        for url in ("https://evil.test/fhir", "//evil.test", "http://fhir.test:81/fhir"):
            with pytest.raises(Rejected, match="on another host, which must not get our credentials"):
                await http.request("GET", url)
        await http.request("GET", "http://fhir.test/elsewhere")
    assert [str(request.url) for request in asked] == ["http://fhir.test/elsewhere"]


def distrust(code: int, message: str) -> ssl.SSLCertVerificationError:
    """What OpenSSL finds wrong with a certificate."""
    error = ssl.SSLCertVerificationError(1, f"certificate verify failed: {message}")
    error.verify_code, error.verify_message = code, message
    return error


OBSTACLES = {
    "its name is not known to DNS": socket.gaierror(-2, "Name or service not known"),
    "nobody listens on that port": ConnectionRefusedError(111, "Connection refused"),
    "its TLS certificate is not accepted here (CA cert too weak)": distrust(67, "CA cert too weak"),
    "the TLS handshake fails (SSLError)": ssl.SSLError("something else"),
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


# What answers with 400 to http where https is meant, or to no client certificate, or one that it does not know.
PAGES = {
    "nginx": "<html><head><title>400 The plain HTTP request was sent to HTTPS port</title></head></html>",
    "Apache": "Reason: You're speaking plain HTTP to an SSL-enabled server port.",
    "Go": "Client sent an HTTP request to an HTTPS server.",
    "Tomcat": "Bad Request: This combination of host and port requires TLS.",
    "nginx, no certificate": "<html><head><title>400 No required SSL certificate was sent</title></head></html>",
    "nginx, another certificate": "<html><head><title>400 The SSL certificate error</title></head></html>",
}


@pytest.mark.parametrize("server", PAGES)
async def test_what_a_proxy_says_about_tls(server: str) -> None:
    """It is told by words of ours; where the status is another, the page is about something else."""
    error = await refused(lambda _: httpx.Response(400, text=PAGES[server]))
    about = "; it wants https (DICOMCAST_FHIR__URL)"
    if "certificate" in server:
        about = "; it wants a client certificate that it knows (DICOMCAST_FHIR__TLS__CERT_FILE)"
    assert isinstance(error, Rejected)
    assert str(error) == f"fhir answered 400 to POST /fhir/Patient/_search{about}"
    error = await refused(lambda _: httpx.Response(422, text=PAGES[server]))
    assert str(error) == "fhir answered 422 to POST /fhir/Patient/_search"


async def test_what_hangs_up_after_it_has_answered_is_no_matter_of_tls() -> None:
    """The guess is made at the first meeting alone; and an error of TLS that httpx lets through is no defect."""
    failures: list[Exception] = [httpx.ReadError(""), httpx.ReadError(""), ssl.SSLError(1, "bad record mac")]
    said = []

    def handler(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(404)
        raise failures.pop(0)

    async with peer(handler) as http:
        for method in ("POST", "GET", "POST", "POST"):
            with pytest.raises((Retriable, Rejected)) as caught:
                await http.request(method, "Patient")
            said.append(str(caught.value).removeprefix("fhir at http://fhir.test/fhir does not answer "))
            assert not isinstance(caught.value, Unreachable)
    assert said[0] == "(ReadError); is it https? (DICOMCAST_FHIR__URL)"
    assert said[2:] == ["(ReadError)", "(SSLError)"]


async def test_an_address_that_may_tell_of_a_patient_is_not_shown() -> None:
    """What an EHR chose as an id may be a record number."""
    async with peer(lambda _: httpx.Response(503)) as http:
        with pytest.raises(Exception, match=r"^fhir answered 503 to GET Patient/\[id\]$"):
            await http.request("GET", "Patient/MRN-4711", shown="Patient/[id]")
