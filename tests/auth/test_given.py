"""Tokens that somebody else renews, in a file; and keys that will not do."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from dicomcast.auth.advice import Asked
from dicomcast.auth.given import BearerFile
from dicomcast.auth.signing import signed
from dicomcast.errors import ConfigError, Unreachable
from tests.given_settings import load, problem
from tests.servers.pki import Pki


async def test_a_file_is_read_for_each_request(tmp_path: Path) -> None:
    """Also after a 401: whoever rotates it was a moment earlier."""
    path = tmp_path / "token"
    path.write_text("first\n")
    credentials = BearerFile(str(path), Asked("fhir", "R"))
    assert await credentials.header() == "Bearer first"
    assert await credentials.renewed("Bearer first") == ""
    path.write_text("second")
    assert await credentials.renewed("Bearer first") == "Bearer second"
    assert await credentials.header() == "Bearer second"


@pytest.mark.parametrize("content", [None, b"", b"two words", b"\xff", b"Bearer s3same"])
async def test_a_file_without_a_token_is_waited_for(tmp_path: Path, content: bytes | None) -> None:
    """It may be about to be written; what is in it is not told."""
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Unreachable, match=r"^no token for fhir: it .*\(DICOMCAST_FHIR__AUTH__TOKEN_FILE\)$") as caught:
        await BearerFile(str(path), Asked("fhir", "R")).header()
    assert "s3same" not in str(caught.value)


def pem(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey, password: bytes = b"") -> bytes:
    """A key as PEM."""
    lock = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock)


P256 = ec.generate_private_key(ec.SECP256R1())
CLIENT = {"AUTH__KIND": "client-credentials", "AUTH__TOKEN_URL": "https://idp.example/token", "AUTH__CLIENT_ID": "me"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "CLIENT_SECRET: write the client's secret, or name the file of its private key in AUTH__KEY_FILE"),
        ({"CLIENT_SECRET": "s", "KEY_FILE": pem(P256)}, "CLIENT_SECRET: AUTH__KEY_FILE is set too; "),
        ({"KEY_FILE": b"nothing"}, "KEY_FILE: there is no private key in it; name a PEM file"),
        ({"KEY_FILE": pem(P256, b"pass")}, "KEY_FILE: the private key has a passphrase; write it without one"),
        ({"KEY_FILE": pem(P256), "TOKEN_URL": "ftp://idp"}, "TOKEN_URL: write an http or https URL with a host"),
        ({"KEY_FILE": pem(P256), "CERTIFICATE_FILE": pem(P256)}, "CERTIFICATE_FILE: there is no certificate in it"),
        ({"KIND": "smart-backend", "KEY_FILE": pem(P256)}, "KID is not set: the name of that key"),
        ({"KIND": "azure"}, "TOKEN_URL: it does not go with the chosen KIND"),
    ],
)
def test_settings_refused(tmp_path: Path, given: dict[str, str | bytes], said: str) -> None:
    """What is missing, too much or no key is told before anything is asked."""
    settings = CLIENT | {f"AUTH__{name}": value for name, value in given.items() if isinstance(value, str)}
    for name, content in given.items():
        if isinstance(content, bytes):
            (tmp_path / name).write_bytes(content)
            settings[f"AUTH__{name}"] = str(tmp_path / name)
    line = problem(**{f"FHIR__{name}": value for name, value in settings.items()})
    assert line.startswith(f"DICOMCAST_FHIR__AUTH__{said}")


def test_bearer_settings(tmp_path: Path) -> None:
    """A token or the file of one, and not both."""
    bearer = {"FHIR__AUTH__KIND": "bearer"}
    assert "or name the file that has it" in problem(**bearer)
    both = bearer | {"FHIR__AUTH__TOKEN": "s3same", "FHIR__AUTH__TOKEN_FILE": str(tmp_path / "token")}
    assert "remove one of them" in problem(**both)
    settings = load(**bearer, FHIR__AUTH__TOKEN_FILE="/later")
    assert settings.fhir.auth.kind == "bearer" and settings.fhir.auth.token_file == "/later"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (pem(P256, b"pass"), "the private key has a passphrase"),
        (pem(P256).replace(b"MIG", b"MIX"), "no private key in it that can be used"),
        (pem(ed25519.Ed25519PrivateKey.generate()), "of a kind that servers do not take"),
        (pem(ec.generate_private_key(ec.SECP256K1())), "of a kind that servers do not take"),
    ],
)
def test_keys_that_cannot_sign(tmp_path: Path, content: bytes, said: str) -> None:
    """The setting is named, and nothing of the key."""
    path = tmp_path / "key.pem"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"^DICOMCAST_FHIR__AUTH__KEY_FILE: .*{said}") as caught:
        signed("FHIR__AUTH__KEY_FILE", client="c", audience="a", key_file=str(path), certificate_file=None, kid=None,
               rsa="RS256")  # fmt: skip
    assert caught.value.__context__ is None or "BEGIN" not in repr(caught.value.__context__)


def test_a_certificate_of_another_key(tmp_path: Path, pki: Pki) -> None:
    """The server would not find it."""
    certificate, _ = pki.pair(pki.leaf("a.example"))
    path = tmp_path / "key.pem"
    path.write_bytes(pem(P256))
    with pytest.raises(ConfigError, match="does not belong to the certificate"):
        signed("FHIR__AUTH__KEY_FILE", client="c", audience="a", key_file=str(path),
               certificate_file=str(certificate), kid=None, rsa="RS256")  # fmt: skip
