"""The group TLS of a peer or its token endpoint: files that are there, are PEM and fit, before anything is started."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from dicomcast.settings.group import Group
from dicomcast.settings.values import Written
from dicomcast.tls import Files, check_certificates, check_key

__all__ = ["Certificates", "Tls", "TlsFiles"]


def _certificates(path: str) -> str:
    check_certificates(path)
    return path


PemFile = Annotated[str, Written("the path of a PEM file")]
Certificates = Annotated[PemFile, AfterValidator(_certificates)]


class TlsFiles(Group):
    """Certificates for a peer."""

    ca_file: Certificates | None = Field(
        default=None,
        description="The CA certificates, or the self-signed certificate itself, that this server's certificate is "
        "checked against, instead of the public CAs. There is no way to switch the check off.",
    )
    cert_file: Certificates | None = Field(
        default=None, description="The client certificate, for a server that wants one, and behind it what signed it."
    )
    key_file: PemFile | None = Field(
        default=None,
        validate_default=True,
        description="The private key of the client certificate, without a passphrase; unset, it is in the same file.",
    )

    @field_validator("key_file")
    @classmethod
    def _fits(cls, key: str | None, known: ValidationInfo) -> str | None:
        if "cert_file" not in known.data:  # it is told already
            return key
        certificate = known.data["cert_file"]
        if certificate is not None:
            check_key(certificate, key)
        elif key is not None:
            raise ValueError("set TLS__CERT_FILE too: a key is of no use without its certificate")
        return key

    @property
    def files(self) -> Files:
        """What a connection needs."""
        return Files(self.ca_file, self.cert_file, self.key_file)


def _over_https(tls: TlsFiles, known: ValidationInfo) -> TlsFiles:
    url = known.data.get("url", known.data.get("token_url", ""))
    if tls != TlsFiles() and urlsplit(url).scheme == "http":
        raise ValueError("it does nothing, since the URL is http://; write https:// there, or remove it")
    return tls


# Behind the URL of a peer or of its token endpoint, which it is held against.
Tls = Annotated[TlsFiles, AfterValidator(_over_https)]
