"""The whole job on a FHIR server with an OAuth2 server of its own, whose tokens end after seconds."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.servers import require, running, sekmet_that_wants_tokens
from tests.servers.embedded import Embedded, until

pytestmark = pytest.mark.long

CLIENT, SECRET, LIFETIME, LIVES = "dicomcast", "s3same", 3, 4
# For a transaction SEKMET wants a scope over everything.
SCOPE = "system/*.cruds"


def key_pair(folder: Path) -> tuple[Path, Path]:
    """A private key of P-384 and its public half."""
    key = ec.generate_private_key(ec.SECP384R1())
    private, public = folder / "private.pem", folder / "public.pem"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public


def asked(log: Path) -> list[str]:
    """How the token endpoint answered, each time that it was asked."""
    return re.findall(r"POST /auth/token[^\n]*\b(\d{3})\b", log.read_text())


@pytest.mark.parametrize("kind", ["smart-backend", "client-credentials"])
def test_tokens_that_really_end(embedded: Embedded, tmp_path: Path, kind: str) -> None:
    """A worker that runs for several of their lives sees everything through, and is never refused for long."""
    private, public = key_pair(tmp_path)
    server = sekmet_that_wants_tokens(public, CLIENT, SECRET, LIFETIME)
    require(server)
    folder = tmp_path / "sekmet"
    folder.mkdir()
    with running(server, folder) as url:
        token_url = url.replace("/fhir", "/auth/token")
        who = {"CLIENT_ID": CLIENT, "KEY_FILE": str(private), "KID": "key"}
        if kind == "client-credentials":
            who = {"CLIENT_ID": f"{CLIENT}-by-secret", "CLIENT_SECRET": SECRET}
        auth = {"KIND": kind, "TOKEN_URL": token_url, "SCOPE": SCOPE, **who}
        settings = {"FHIR__URL": url, **{f"FHIR__AUTH__{name}": value for name, value in auth.items()}}
        worker = embedded.start("run", **settings, WORKER__POLL_INTERVAL="1s")
        log, number = folder / "log.txt", 0
        while len(asked(log)) < LIVES:
            number += 1
            embedded.put(f"1.2.{number}")
            time.sleep(0.5)
            assert number < 200, "the tokens never ended"
        until("all is settled", lambda: embedded.cursor[0] == number)
        worker.signal(signal.SIGTERM)
        ended = worker.finish()
        answers = asked(log)
        token = httpx.post(token_url, data={"grant_type": "client_credentials", "scope": SCOPE},
                           auth=(f"{CLIENT}-by-secret", SECRET), trust_env=False).json()["access_token"]  # fmt: skip
        found = httpx.get(f"{url}/ImagingStudy", headers={"Authorization": f"Bearer {token}"}, trust_env=False)
        assert found.json()["total"] == number
    assert ended.code == 0 and "blocked" not in ended.err
    assert set(answers) == {"200"}
