"""The certificates of a connection: PEM files, what is wrong with one, and the TLS context that comes of them.

A server's certificate and its name are always verified; there is no way to switch that off. No sentence here
repeats a path or what is in a file: either may be a secret that was put in the wrong place.
"""

from __future__ import annotations

import os
import re
import ssl
import stat
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

__all__ = [
    "Files",
    "check_alone",
    "check_certificates",
    "check_key",
    "introduce",
    "read_pem",
    "readable_on_the_way",
    "trusting",
]

_CERTIFICATE = re.compile(rb"-----BEGIN (TRUSTED |X509 )?CERTIFICATE-----")
_KEY = re.compile(rb"-----BEGIN ([A-Z]+ )*PRIVATE KEY-----")
_LOCKED = re.compile(rb"-----BEGIN ENCRYPTED |^Proc-Type: 4,ENCRYPTED", re.MULTILINE)
_PASSPHRASE = "has a passphrase; write it without one (openssl pkey), and let nobody else read the file"
# The second and third are of keys of another kind, such as RSA for a certificate of an elliptic curve.
_MISMATCH = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED")
# What editors put in front of text: OpenSSL does not see the first certificate behind it, or sees none at all.
_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True)
class Files:
    """The PEM files of a peer: whom to trust instead of the public CAs, our certificate, its key if that is apart."""

    ca: str | None = None
    certificate: str | None = None
    key: str | None = None


def trusting(ca: str) -> ssl.SSLContext:
    """A context that trusts what is in this file, and nothing else."""
    context = ssl.create_default_context(cafile=ca)
    # Python 3.13 trusts an intermediate CA or a server's own certificate if it is named, but refuses private CAs that
    # were made without the finer points of RFC 5280. Here any that the operator names will do, on every Python.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def introduce(context: ssl.SSLContext, certificate: str, key: str | None) -> None:
    """Have the context prove who we are. Without a `key` the private key is in the file of the certificate."""

    def refuse() -> str:  # Without it OpenSSL would ask on the terminal.
        raise _Encrypted

    context.load_cert_chain(certificate, key, password=refuse)


class _Encrypted(Exception):
    """The private key has a passphrase."""


def check_certificates(path: str) -> None:
    """Raise a ValueError that says what is wrong with a file of certificates."""
    if not _CERTIFICATE.search(read_pem(path)):
        raise ValueError("there is no certificate in it; name a PEM file, which has -----BEGIN CERTIFICATE----- in it")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cafile=path)
        whole = bool(context.cert_store_stats()["x509"])
    except ssl.SSLError:
        whole = False
    if not whole:
        raise ValueError("a certificate in it is damaged; export it anew")


def check_key(certificate: str, key: str | None) -> None:
    """Raise a ValueError that says what is wrong with the private key of a certificate that was checked."""
    where = "in it" if key else "in TLS__CERT_FILE"
    if not _KEY.search(read_pem(key or certificate)):
        raise ValueError(
            f"there is no private key {where}; name the PEM file that has -----BEGIN PRIVATE KEY----- in it"
        )
    problem = ""
    try:
        introduce(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), certificate, key)
    except _Encrypted:
        problem = _PASSPHRASE
    except ssl.SSLError as error:
        problem = f"or its certificate cannot be used ({error.reason or 'damaged'}); export both anew"
        if error.reason in _MISMATCH:
            problem = "does not belong to the certificate in TLS__CERT_FILE, which has to be the first one there"
    if problem:
        raise ValueError(f"the private key {where} {problem}")


def check_alone(path: str) -> None:
    """Raise a ValueError that says what is wrong with a private key that goes without a certificate."""
    content = read_pem(path)
    if not _KEY.search(content):
        raise ValueError("there is no private key in it; name a PEM file, which has -----BEGIN PRIVATE KEY----- in it")
    if _LOCKED.search(content):
        raise ValueError(f"the private key {_PASSPHRASE}")


def read_pem(path: str) -> bytes:
    """What is in a file that may be PEM, or a ValueError that says why it is not."""
    if "-----BEGIN" in path:
        raise ValueError("write the path of the file, not what is in it")
    content, problem = b"", ""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            problem = "that is a folder or a device; write the path of one PEM file"
        else:
            with open(path, "rb") as file:
                content = file.read()
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL in it
        problem = "there is no such file; write the path of one, and in a container mount it there"
    except OSError as error:
        problem = f"it cannot be read ({error.strerror}); let the user that dicomcast runs as read it"
    if content.startswith(_MARKS):
        problem = "it is saved as Unicode, with a byte order mark; save it as ASCII"
    elif content.startswith(b"\x30") and b"-----BEGIN" not in content:
        problem = "it is binary, not PEM; convert DER with openssl x509, and PKCS #12 (.pfx, .p12) with openssl pkcs12"
    if problem:
        raise ValueError(problem)
    return content


def readable_on_the_way(url: str) -> bool:
    """Whether others can read what is sent to this address: it has no TLS, and leaves this machine."""
    address = urlsplit(url)
    host = address.hostname or ""
    try:
        here = ip_address(host).is_loopback
    except ValueError:
        here = host == "localhost" or host.endswith(".localhost")  # RFC 6761 §6.3
    return address.scheme == "http" and not here
