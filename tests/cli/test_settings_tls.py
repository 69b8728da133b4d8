"""The files of TLS: each that will not do is told by its setting, with the remedy, and without what is in it."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from dicomcast import tls
from dicomcast.tls import Files
from tests.given_settings import REQUIRED, load, problem, problems
from tests.servers.pki import Pki

CA, CERT, KEY = ("DICOM__TLS__CA_FILE", "FHIR__TLS__CERT_FILE", "FHIR__TLS__KEY_FILE")
NO_FILE = "there is no such file; write the path of one, and in a container mount it there"
NO_CERTIFICATE = "there is no certificate in it; name a PEM file, which has -----BEGIN CERTIFICATE----- in it"
DAMAGED = "a certificate in it is damaged; export it anew"
FOLDER = "that is a folder or a device; write the path of one PEM file"
UNICODE = "it is saved as Unicode, with a byte order mark; save it as ASCII"
BINARY = "it is binary, not PEM; convert DER with openssl x509, and PKCS #12 (.pfx, .p12) with openssl pkcs12"


def test_each_peer_has_its_own(pki: Pki) -> None:
    """What is set for one peer is not for the other, and nothing has to be set."""
    certificate, key = pki.pair(pki.leaf("worker@hospital.example"))
    settings = load(DICOM__TLS__CA_FILE=str(pki.ca_file), FHIR__TLS__CERT_FILE=str(certificate),
                    FHIR__TLS__KEY_FILE=str(key))  # fmt: skip
    assert settings.dicom.tls.files == Files(ca=str(pki.ca_file))
    assert settings.fhir.tls.files == Files(certificate=str(certificate), key=str(key))
    assert load().dicom.tls.files == Files()
    together = pki.client()
    assert load(DICOM__TLS__CERT_FILE=str(together)).dicom.tls.files == Files(certificate=str(together))


def test_verification_cannot_be_switched_off(pki: Pki) -> None:
    """There is no setting for it, and none of the contexts lacks it."""
    assert "DICOMCAST_DICOM__TLS__VERIFY: there is no such setting" in problem(DICOM__TLS__VERIFY="false")
    context = tls.trusting(str(pki.ca_file))
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


def text(pki: Pki) -> bytes:
    """A good certificate."""
    return pki.ca_file.read_bytes()


WRONG: dict[str, tuple[Callable[[Pki], bytes], str]] = {
    "empty": (lambda _: b"", NO_CERTIFICATE),
    "text": (lambda _: b"s3same", NO_CERTIFICATE),
    "key": (lambda pki: pki.leaf("a.example").private_key_pem.bytes(), NO_CERTIFICATE),
    "DER": (lambda pki: ssl.PEM_cert_to_DER_cert(text(pki).decode()), BINARY),
    "UTF-8 with a mark": (lambda pki: b"\xef\xbb\xbf" + text(pki), UNICODE),
    "UTF-16": (lambda pki: text(pki).decode().encode("utf-16"), UNICODE),
    "cut": (lambda pki: text(pki)[:200], DAMAGED),
    "a character lost": (lambda pki: text(pki)[:200] + text(pki)[240:], DAMAGED),
    "one good, one cut": (lambda pki: text(pki) + text(pki)[:200], DAMAGED),
}


@pytest.mark.parametrize("name", [CA, CERT])
@pytest.mark.parametrize("wrong", WRONG)
def test_files_without_usable_certificates(pki: Pki, name: str, wrong: str) -> None:
    """What is missing or damaged is told, with how to come by what is needed."""
    content, said = WRONG[wrong]
    assert problem(**{name: str(pki.write(content(pki)))}) == f"DICOMCAST_{name}: {said}"


@pytest.mark.parametrize("name", [CA, CERT])
@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/s3same/ca.pem", NO_FILE),
        ("", NO_FILE),
        (__file__ + "/s3same", NO_FILE),
        ("/dev/null", FOLDER),
        ("/", FOLDER),
        ("s3same" * 1000, "it cannot be read (File name too long); let the user that dicomcast runs as read it"),
        ("-----BEGIN CERTIFICATE-----\ns3same", "write the path of the file, not what is in it"),
    ],
)
def test_paths_that_lead_to_no_file(name: str, path: str, said: str) -> None:
    """They are not repeated: it may be a key that was pasted there."""
    assert problem(**{name: path}) == f"DICOMCAST_{name}: {said}"


def test_a_nul_from_the_toml_file(tmp_path: Path) -> None:
    """What no file system takes is a file that is not there, and the source is named."""
    config = tmp_path / "dicomcast.toml"
    config.write_text('[dicom.tls]\nca_file = "s3same\\u0000"')
    assert problem(CONFIG=str(config)) == f"DICOMCAST_{CA}: {NO_FILE} (in config {config})"


def test_a_file_that_may_not_be_read(pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret that is mounted for root alone, for instance."""

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tls, "open", refuse, raising=False)
    said = "it cannot be read (Permission denied); let the user that dicomcast runs as read it"
    assert problem(**{CA: str(pki.ca_file)}) == f"DICOMCAST_{CA}: {said}"


# --- Keys ---


def key_problem(certificate: Path, key: Path | None) -> str:
    """What is wrong with a key; it is told by the name of its own setting, whichever file it is in."""
    names = {CERT: str(certificate), **({KEY: str(key)} if key else {})}
    line = problem(**names)
    assert line.startswith(f"DICOMCAST_{KEY}: ")
    return line.removeprefix(f"DICOMCAST_{KEY}: ")


def test_a_key_without_a_certificate(pki: Pki) -> None:
    """It would do nothing."""
    _, key = pki.pair(pki.leaf("a.example"))
    said = "set TLS__CERT_FILE too: a key is of no use without its certificate"
    assert problem(**{KEY: str(key)}) == f"DICOMCAST_{KEY}: {said}"


def test_a_certificate_without_a_key(pki: Pki) -> None:
    """Neither beside it nor in its file."""
    certificate, _ = pki.pair(pki.leaf("a.example"))
    said = "there is no private key in {}; name the PEM file that has -----BEGIN PRIVATE KEY----- in it"
    assert key_problem(certificate, None) == said.format("TLS__CERT_FILE")
    assert key_problem(certificate, certificate) == said.format("it")
    assert key_problem(certificate, pki.write().with_name("s3same")) == NO_FILE


def test_a_key_of_another_certificate(pki: Pki) -> None:
    """Of the same kind or another, in one file or two, also where the CA's certificate stands first."""
    mine, other = pki.leaf("a.example"), pki.leaf("b.example")
    certificate, key = pki.pair(mine)
    said = "does not belong to the certificate in TLS__CERT_FILE, which has to be the first one there"
    for wrong in (other, pki.leaf("b.example", key_type=trustme.KeyType.RSA)):
        assert key_problem(certificate, pki.pair(wrong)[1]) == f"the private key in it {said}"
    turned = pki.write(text(pki), certificate.read_bytes(), key.read_bytes())
    assert key_problem(turned, None) == f"the private key in TLS__CERT_FILE {said}"


@pytest.mark.parametrize("format", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_a_key_with_a_passphrase(pki: Pki, format: PrivateFormat) -> None:
    """OpenSSL would ask for it on the terminal; here it is refused."""
    certificate, key = pki.pair(pki.leaf("a.example"))
    secret = load_pem_private_key(key.read_bytes(), None)
    encrypted = pki.write(secret.private_bytes(Encoding.PEM, format, BestAvailableEncryption(b"s3same")))
    said = "has a passphrase; write it without one (openssl pkey), and let nobody else read the file"
    assert key_problem(certificate, encrypted) == f"the private key in it {said}"
    together = pki.write(certificate.read_bytes(), encrypted.read_bytes())
    assert key_problem(together, None) == f"the private key in TLS__CERT_FILE {said}"


def test_a_damaged_key(pki: Pki) -> None:
    """It is named, and nothing of it is shown."""
    certificate, key = pki.pair(pki.leaf("a.example"))
    cut = pki.write(key.read_bytes()[:120])
    said = r"the private key in it or its certificate cannot be used \(\w+\); export both anew"
    line = key_problem(certificate, cut)
    assert re.fullmatch(said, line), line


def test_one_problem_is_told_once(pki: Pki, tmp_path: Path) -> None:
    """A certificate that is not there is no trouble with its key, and other problems are told beside it."""
    _, key = pki.pair(pki.leaf("a.example"))
    missing = str(tmp_path / "none.pem")
    wrong = {CERT: missing, KEY: str(key), CA: missing, "LOG__LEVEL": "loud"}
    said = problems(REQUIRED | {f"DICOMCAST_{name}": value for name, value in wrong.items()})
    assert said == [
        f"DICOMCAST_{CA}: {NO_FILE}",
        f"DICOMCAST_{CERT}: {NO_FILE}",
        "DICOMCAST_LOG__LEVEL: write debug, info, warning, error",
    ]


@pytest.mark.parametrize("peer", ["DICOM", "FHIR"])
@pytest.mark.parametrize("scheme", ["http", "HTTP"])
def test_files_for_a_server_without_tls(pki: Pki, peer: str, scheme: str) -> None:
    """They would do nothing, and who set them believes that the way is safe. The first that is set is named."""
    url, name = f"{scheme}://host.example", str(pki.client())
    said = "it does nothing, since the URL is http://; write https:// there, or remove it"
    for file in ("CA_FILE", "CERT_FILE"):
        line = problem(**{f"{peer}__URL": url, f"{peer}__TLS__{file}": name})
        assert line == f"DICOMCAST_{peer}__TLS__{file}: {said}"
    assert load(**{f"{peer}__URL": url}).dicom.tls.files == Files()


def test_a_wrong_url_is_told_once(pki: Pki) -> None:
    """Nothing is said about its files then."""
    assert problem(FHIR__URL="s3same", FHIR__TLS__CA_FILE=str(pki.ca_file)).startswith("DICOMCAST_FHIR__URL: write")
