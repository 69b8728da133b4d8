"""Certificates as hospitals have them, made for the tests, and a server that says why it refuses one."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from itertools import count
from pathlib import Path
from typing import Any

import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

__all__ = ["HERE", "PAST", "Pki", "outspoken", "tls_server"]

HERE = "127.0.0.1"
PAST = {"not_before": datetime(2020, 1, 1), "not_after": datetime(2021, 1, 1)}
# How long a connection of the outspoken server may take; it ends when its client is gone.
_PATIENCE = 30.0


class Pki:
    """A hospital's CA and somebody else's, with their certificates as PEM files in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._numbers = folder, count()
        self.ca, self.stranger = trustme.CA(), trustme.CA()
        self.ca_file = self.write(self.ca.cert_pem.bytes())
        self.stranger_file = self.write(self.stranger.cert_pem.bytes())

    def write(self, *parts: bytes) -> Path:
        """A new file of these."""
        path = self._folder / f"{next(self._numbers)}.pem"
        path.write_bytes(b"".join(parts))
        return path

    def leaf(self, *names: str, of: trustme.CA | None = None, **validity: Any) -> trustme.LeafCert:
        """A certificate for these names, of the hospital's CA unless it is said whose."""
        return (of or self.ca).issue_cert(*names, **validity)

    def pair(self, leaf: trustme.LeafCert) -> tuple[Path, Path]:
        """The files of a certificate, with its chain, and of its key."""
        chain = [blob.bytes() for blob in leaf.cert_chain_pems]
        return self.write(*chain), self.write(leaf.private_key_pem.bytes())

    def server(self, *names: str, **issued: Any) -> dict[str, Path]:
        """The files of a server's certificate, as uvicorn wants them."""
        certificate, key = self.pair(self.leaf(*(names or (HERE,)), **issued))
        return {"ssl_certfile": certificate, "ssl_keyfile": key}

    def demanding(self) -> dict[str, Any]:
        """The same of a server that wants a certificate of the hospital's CA in return."""
        return {**self.server(), "ssl_ca_certs": self.ca_file, "ssl_cert_reqs": ssl.CERT_REQUIRED}

    def client(self, **issued: Any) -> Path:
        """A client's certificate and its key in one file."""
        return self.write(self.leaf("worker@hospital.example", **issued).private_key_and_cert_chain_pem.bytes())

    def self_signed(self) -> dict[str, Path]:
        """What an archive makes for itself when it is installed: no CA, no key usage, no more than its name."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "archive")])
        yesterday = datetime.now(UTC) - timedelta(days=1)
        made = (
            x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(yesterday)
            .not_valid_after(yesterday + timedelta(days=30))
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(HERE))]), critical=False)
            .sign(key, SHA256())
        )
        certificate = self.write(made.public_bytes(Encoding.PEM))
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return {"ssl_certfile": certificate, "ssl_keyfile": self.write(private)}


def tls_server(ssl_certfile: Path, ssl_keyfile: Path, **demanded: Any) -> ssl.SSLContext:
    """The context of a server with these files."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ssl_certfile, ssl_keyfile)
    if demanded:
        context.load_verify_locations(demanded["ssl_ca_certs"])
        context.verify_mode = demanded["ssl_cert_reqs"]
    return context


@contextmanager
def outspoken(context: ssl.SSLContext) -> Iterator[str]:
    """A server that sends an alert where it refuses a handshake, as OpenSSL's do, and 200 otherwise; yields its URL.

    asyncio's, and so uvicorn, hangs up instead.
    """
    with socket.create_server((HERE, 0)) as listener:
        listener.settimeout(0.1)
        ended = threading.Event()
        thread = threading.Thread(target=_accept, args=(listener, context, ended), daemon=True)
        thread.start()
        try:
            yield f"https://{HERE}:{listener.getsockname()[1]}"
        finally:
            ended.set()
            thread.join()


def _accept(listener: socket.socket, context: ssl.SSLContext, ended: threading.Event) -> None:
    while not ended.is_set():
        with suppress(TimeoutError):
            plain, _ = listener.accept()
            plain.settimeout(_PATIENCE)
            threading.Thread(target=_answer, args=(plain, context), daemon=True).start()


def _answer(plain: socket.socket, context: ssl.SSLContext) -> None:
    with context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False) as connection, suppress(OSError):
        try:
            connection.do_handshake()
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
        except ssl.SSLError:
            # Closed with something unread, the connection would be reset, and the alert might be lost.
            while socket.socket.recv(connection, 65536):
                continue
