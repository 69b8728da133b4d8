"""TLS on real sockets: whom we trust, who we are, and what an operator is told when that does not do."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from starlette.types import Receive, Scope, Send

from dicomcast.auth.given import Basic
from dicomcast.demo.serve import serve
from dicomcast.errors import Retriable, Unreachable
from dicomcast.http import Http
from dicomcast.tls import Files
from tests.servers.pki import HERE, PAST, Pki, outspoken, tls_server


class Listed:
    """An application that lists the credentials of its requests."""

    def __init__(self) -> None:
        self.callers: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        self.callers.append(dict(scope["headers"])[b"authorization"].decode())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})


async def ask(url: str, **files: Path) -> int:
    """Ask once, with a password; the status of the answer."""
    tls = Files(**{name: str(path) for name, path in files.items()})
    http = Http("dicom", url, credentials=Basic("user", "sesame"), tls=tls, budget=timedelta(0))
    try:
        return (await http.request("GET", "changefeed")).status
    finally:
        await http.close()


async def refused(url: str, **files: Path) -> str:
    """What stands in the way of asking; nothing was done, and no password is told."""
    with pytest.raises(Unreachable) as caught:
        await ask(url, **files)
    assert not caught.value.unsure
    assert "sesame" not in str(caught.value)
    start = f"dicom at {url} cannot be reached: "
    assert str(caught.value).startswith(start)
    return str(caught.value).removeprefix(start)


async def test_the_hospitals_ca(pki: Pki) -> None:
    """A server with a certificate of the CA that is named is trusted, and gets the credentials."""
    app = Listed()
    with serve(app, **pki.server()) as url:
        assert await ask(url, ca=pki.ca_file) == 200
    assert app.callers == ["Basic dXNlcjpzZXNhbWU="]


async def test_a_self_signed_certificate(pki: Pki) -> None:
    """It is trusted if it is named itself, and refused by the CA's file or without one."""
    app, files = Listed(), pki.self_signed()
    with serve(app, **files) as url:
        assert await ask(url, ca=files["ssl_certfile"]) == 200
        assert await refused(url) == (
            "its TLS certificate is self-signed; if it is the right one, name a file that has it "
            "(DICOMCAST_DICOM__TLS__CA_FILE)"
        )
        assert await refused(url, ca=pki.ca_file) == (
            "its TLS certificate is self-signed, and not in the file that is named (DICOMCAST_DICOM__TLS__CA_FILE)"
        )
    assert len(app.callers) == 1


async def test_the_servers_own_certificate_is_enough(pki: Pki) -> None:
    """Whoever cannot get the CA's certificate may name the server's; also many in one file will do."""
    files = pki.server()
    with serve(Listed(), **files) as url:
        assert await ask(url, ca=files["ssl_certfile"]) == 200
        both = pki.write(pki.stranger_file.read_bytes(), "# Größe\r\n".encode(), pki.ca_file.read_bytes())
        assert await ask(url, ca=both) == 200


async def test_an_unknown_ca(pki: Pki) -> None:
    """The public CAs do not know the hospital's, and what is named is trusted instead of them; nothing is sent."""
    app = Listed()
    with serve(app, **pki.server()) as url:
        assert await refused(url) == (
            "its TLS certificate is of a CA that is not known here; name a file that has it "
            "(DICOMCAST_DICOM__TLS__CA_FILE)"
        )
        assert await refused(url, ca=pki.stranger_file) == (
            "its TLS certificate is of no CA in the file that is named (DICOMCAST_DICOM__TLS__CA_FILE)"
        )
        assert await refused(url, certificate=pki.client()) == (
            "its TLS certificate is of a CA that is not known here; name a file that has it "
            "(DICOMCAST_DICOM__TLS__CA_FILE)"
        )
    assert app.callers == []


async def test_what_the_environment_trusts_does_not_count(pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    """SSL_CERT_FILE adds to the public CAs, and not to what is named."""
    monkeypatch.setenv("SSL_CERT_FILE", str(pki.ca_file))
    with serve(Listed(), **pki.server()) as url:
        assert await ask(url) == 200
        assert "of no CA in the file" in await refused(url, ca=pki.stranger_file)


@pytest.mark.parametrize("host", [HERE, "localhost"])
async def test_another_name(pki: Pki, host: str) -> None:
    """A certificate of the right CA for another host does not do."""
    app = Listed()
    with serve(app, **pki.server("archive.example", "192.0.2.1")) as url:
        assert await refused(url.replace(HERE, host), ca=pki.ca_file) == (
            "its TLS certificate is for other names; use one of them, or have this one added to it "
            "(DICOMCAST_DICOM__URL)"
        )
    assert app.callers == []


async def test_an_expired_certificate(pki: Pki) -> None:
    """It is told apart from one that is not known, since another remedies it."""
    app = Listed()
    with serve(app, **pki.server(**PAST)) as url:
        assert await refused(url, ca=pki.ca_file) == (
            "its TLS certificate, or one that signed it, has expired or is not valid yet; "
            "have it renewed, if the clock is right here (DICOMCAST_DICOM__URL)"
        )
    assert app.callers == []


async def test_tls_to_a_port_without(pki: Pki) -> None:
    """https to http."""
    with serve(Listed()) as url:
        said = await refused(url.replace("http:", "https:"), ca=pki.ca_file)
    assert said == "it does not speak TLS there; is it http, or another port? (DICOMCAST_DICOM__URL)"


async def test_no_tls_to_a_port_with_it(pki: Pki) -> None:
    """http to https: uvicorn hangs up, which may have other reasons too."""
    with serve(Listed(), **pki.server()) as url, pytest.raises(Retriable) as caught:
        await ask(url.replace("https:", "http:"))
    assert str(caught.value).endswith("does not answer (RemoteProtocolError); is it https? (DICOMCAST_DICOM__URL)")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_a_server_with_old_tls_alone(pki: Pki) -> None:
    """TLS 1.1 is not spoken, and it is said what is needed."""
    context = tls_server(**pki.server())
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with outspoken(context) as url:
        said = await refused(url, ca=pki.ca_file)
    assert said == "it speaks no TLS that is safe: 1.2 or newer is needed (DICOMCAST_DICOM__URL)"


async def test_a_server_with_other_ciphers(pki: Pki) -> None:
    """Other failures of the handshake have OpenSSL's name."""
    context = tls_server(**pki.server())
    context.set_ciphers("AES256-SHA:@SECLEVEL=0")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with outspoken(context) as url:
        said = await refused(url, ca=pki.ca_file, certificate=pki.client())
    assert re.fullmatch(r"the TLS handshake fails \(\w+HANDSHAKE_FAILURE\) \(DICOMCAST_DICOM__URL\)", said)


# --- Client certificates ---

VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])


@contextmanager
def demanding(pki: Pki, version: ssl.TLSVersion) -> Iterator[str]:
    """A server that wants a client certificate, and says so in an alert."""
    context = tls_server(**pki.demanding())
    context.minimum_version = context.maximum_version = version
    with outspoken(context) as url:
        yield url


@VERSIONS
async def test_a_client_certificate(pki: Pki, version: ssl.TLSVersion) -> None:
    """It is shown to a server that wants it; its key may be in the same file, or in another."""
    certificate, key = pki.pair(pki.leaf("worker@hospital.example"))
    with demanding(pki, version) as url:
        assert await ask(url, ca=pki.ca_file, certificate=pki.client()) == 200
        assert await ask(url, ca=pki.ca_file, certificate=certificate, key=key) == 200


async def test_a_client_certificate_for_a_public_server(pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes without a CA file too, to a server that is trusted already."""
    monkeypatch.setenv("SSL_CERT_FILE", str(pki.ca_file))
    with demanding(pki, ssl.TLSVersion.TLSv1_3) as url:
        assert await ask(url, certificate=pki.client()) == 200


@VERSIONS
async def test_no_client_certificate(pki: Pki, version: ssl.TLSVersion) -> None:
    """The setting is named. In TLS 1.3 the alert comes only after the request was sent, which was not read."""
    with demanding(pki, version) as url:
        said = await refused(url, ca=pki.ca_file)
    older = "it refuses the TLS handshake; does it want a client certificate?"
    wanted = "it wants a client certificate" if version is ssl.TLSVersion.TLSv1_3 else older
    assert said == f"{wanted} (DICOMCAST_DICOM__TLS__CERT_FILE)"


@VERSIONS
async def test_a_client_certificate_that_is_refused(pki: Pki, version: ssl.TLSVersion) -> None:
    """One of another CA, and one that has expired, are refused by the server, which says why."""
    with demanding(pki, version) as url:
        for reason, certificate in {
            "unknown ca": pki.client(of=pki.stranger),
            "certificate expired": pki.client(**PAST),
        }.items():
            said = await refused(url, ca=pki.ca_file, certificate=certificate)
            assert said == f"it refuses our client certificate ({reason}) (DICOMCAST_DICOM__TLS__CERT_FILE)"


async def test_servers_that_hang_up_without_an_alert(pki: Pki) -> None:
    """uvicorn closes the connection where it wants a certificate, or another one: what is likely is said."""
    app = Listed()
    with serve(app, **pki.demanding()) as url:
        assert await ask(url, ca=pki.ca_file, certificate=pki.client()) == 200
        for certificate, likely in {
            None: "want a client certificate",
            pki.client(of=pki.stranger): "accept our client certificate",
        }.items():
            with pytest.raises(Retriable) as caught:
                await ask(url, ca=pki.ca_file, **({"certificate": certificate} if certificate else {}))
            assert f"); does it {likely}? (DICOMCAST_DICOM__TLS__CERT_FILE)" in str(caught.value)
    assert len(app.callers) == 1


async def test_a_handshake_that_ends_in_silence(pki: Pki) -> None:
    """The same in TLS 1.2, where the handshake itself is cut."""

    def older(_: object, make: object) -> ssl.SSLContext:
        context = make()  # type: ignore[operator]  # uvicorn's own way to make one
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        return context

    with serve(Listed(), **pki.demanding(), ssl_context_factory=older) as url:
        said = await refused(url, ca=pki.ca_file)
        assert said.startswith("it hangs up during the TLS handshake; does it want a client certificate, or no TLS?")
        said = await refused(url, ca=pki.ca_file, certificate=pki.client(of=pki.stranger))
        assert said.startswith("it hangs up during the TLS handshake; does it accept our client certificate?")


async def test_each_peer_has_files_of_its_own(pki: Pki) -> None:
    """What one peer is trusted by counts for that peer alone."""
    with ExitStack() as stack:
        hospital = stack.enter_context(serve(Listed(), **pki.server()))
        other = stack.enter_context(serve(Listed(), **pki.server(of=pki.stranger)))
        files = {hospital: pki.ca_file, other: pki.stranger_file}
        for url in files:
            for trusted, file in files.items():
                http = Http("fhir", url, credentials=Basic("a", "b"), tls=Files(ca=str(file)), budget=timedelta(0))
                if url == trusted:
                    assert (await http.request("GET", "metadata")).status == 200
                else:
                    with pytest.raises(Unreachable, match="of no CA in the file"):
                        await http.request("GET", "metadata")
                await http.close()
