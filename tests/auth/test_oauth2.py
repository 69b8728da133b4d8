"""Client credentials of an OAuth2 server, end to end over HTTP: what is good, ends, is refused, or is away."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from dicomcast.errors import Retriable, Unauthorized
from tests.auth.conftest import RECORD, Clinic
from tests.faults import Fault, Gate, answer, refuse
from tests.servers.embedded import silent_port
from tests.servers.oauth import CLIENT, token_server
from tests.servers.pki import Pki


async def test_one_token_for_each_peer(clinic: Clinic) -> None:
    """Each is for its own audience, is kept for all requests, and the study arrives."""
    await clinic.run()
    assert set(clinic.embedded.studies()) == {"1.2.3"}
    assert len(clinic.issuer.issued) == 2 and not clinic.keeper.refused
    assert {form.get("scope", form.get("audience")) for form in clinic.issuer.asked} == {
        "https://archive.example/.default",
        "https://record.example",
    }


async def test_the_secret_in_the_body(clinic: Clinic) -> None:
    """Some servers take it there alone."""
    await clinic.run(DICOM__AUTH__SECRET_IN="body", FHIR__AUTH__SECRET_IN="body")
    assert all(form["client_id"] == CLIENT and form["client_secret"] for form in clinic.issuer.asked)
    assert set(clinic.embedded.studies()) == {"1.2.3"}


async def test_a_token_that_ends_in_mid_window(clinic: Clinic) -> None:
    """Each serves for three requests: the others come with the next one, and all that is written is written once."""
    clinic.keeper.uses = 3
    for number in range(10, 15):
        clinic.embedded.put(f"1.2.{number}")
    report = await clinic.run()
    assert len(clinic.embedded.studies()) == 6
    assert set(clinic.keeper.refused) == {401}
    assert len(clinic.issuer.issued) > 4
    assert clinic.embedded.store.total_versions() == len(clinic.embedded.store.resources("ImagingStudy")) + 2
    assert str(report) == "6 created"


async def test_the_servers_key_is_rotated(clinic: Clinic) -> None:
    """What was signed before is refused once; the next token is signed with the new key."""
    clinic.embedded.fhir.script(Fault(), Fault(gate=(gate := Gate())), on="POST")
    run = asyncio.create_task(clinic.run())
    await asyncio.to_thread(gate.arrived.wait, 30)
    clinic.issuer.rotate()
    gate.opened.set()
    await run
    assert clinic.keeper.refused and set(clinic.keeper.refused) == {401}
    assert set(clinic.embedded.studies()) == {"1.2.3"}


async def test_refused_twice(clinic: Clinic) -> None:
    """A second 401 in a row names whom the token is for, and what was asked for."""
    clinic.keeper.audiences = {"/": "https://another.example"}
    with pytest.raises(Unauthorized) as caught:
        await clinic.run()
    assert clinic.keeper.refused == [401, 401]
    assert str(caught.value) == (
        "dicom answered 401 to GET /v2/changefeed/latest: the server does not accept it: the token was asked for the "
        "scope https://archive.example/.default and is for https://archive.example; if that is the server's audience, "
        "the clocks may differ (DICOMCAST_DICOM__AUTH)"
    )


@pytest.mark.parametrize(
    ("clock", "said"),
    [(-600.0, "by the clock here it ended"), (600.0, "by the clock here it begins in")],
    ids=["behind", "ahead"],
)
async def test_the_issuers_clock_is_wrong(clinic: Clinic, clock: float, said: str) -> None:
    """Servers that share its clock take its tokens, whatever we think of them; one that shares ours does not."""
    clinic.issuer.lifetime = 300
    clinic.issuer.clock = clinic.keeper.clock = clock
    await clinic.run()
    assert set(clinic.embedded.studies()) == {"1.2.3"} and len(clinic.issuer.issued) == 2
    clinic.keeper.clock = 0.0
    with pytest.raises(Unauthorized, match=f"; {said}.*the clocks may differ"):
        await clinic.run()


@pytest.mark.parametrize(("peer", "role"), [("DICOM", "DICOM Data Reader"), ("FHIR", "FHIR Data Contributor")])
async def test_a_role_is_missing(clinic: Clinic, peer: str, role: str) -> None:
    """403 is not asked again; the role is named."""
    clinic.keeper.role = "Writer"
    if peer == "FHIR":
        clinic.issuer.claims = {"roles": ["Writer"]}
        clinic.embedded.fhir.always(refuse(403))
    with pytest.raises(Unauthorized) as caught:
        await clinic.run()
    assert f"the role {role} (on Azure) or a scope is missing; the token was asked for the" in str(caught.value)
    assert str(caught.value).endswith(f"(DICOMCAST_{peer}__AUTH)")
    assert len(clinic.issuer.issued) == (1 if peer == "DICOM" else 2)


@pytest.mark.parametrize("status", [400, 401, 403])
async def test_the_client_is_refused(clinic: Clinic, status: int) -> None:
    """Somebody has to act: nothing is retried, and of what the server says the code alone is told."""
    error = answer({"error": "invalid_client", "error_description": "the secret is s3same"}, status=status)
    clinic.issuer.faults.always(error)
    with pytest.raises(Unauthorized) as caught:
        await clinic.run(WORKER__RETRY_BUDGET="30s")
    assert str(caught.value) == (
        f"no token for dicom: the token endpoint answered {status} to POST /token (invalid_client): check the client's "
        "secret (DICOMCAST_DICOM__AUTH)"
    )
    assert caught.value.status == 401  # a 403 could be about one study
    assert len(clinic.issuer.faults.requests) == 1 and not clinic.embedded.dicom.requests


async def test_a_wrong_secret(clinic: Clinic) -> None:
    """The same of a server that means it."""
    with pytest.raises(Unauthorized, match="no token for fhir.* 401 .*invalid_client.*FHIR__AUTH"):
        await clinic.run(FHIR__AUTH__CLIENT_SECRET="another")


PAGE = b"<html>Sign in</html>"
AWAY = {
    "500": (refuse(500), "answered 500 to POST /token"),
    "a hang-up": (Fault(lose="response"), "does not answer (RemoteProtocolError)"),
    "a page": (answer(PAGE, kind="text/html"), "answered with something else than a token"),
    "a page with 400": (answer(PAGE, status=400), "see DICOMCAST_DICOM__AUTH__TOKEN_URL"),
    "not there": (refuse(404), "see DICOMCAST_DICOM__AUTH__TOKEN_URL"),
    "a redirect": (Fault(302, headers=(("location", "/login"),)), "is no answer"),
    "other JSON": (answer({"access_token": "two words"}), "answered with something else than a token"),
    "a list": (answer([1]), "answered with something else than a token"),
    "an error that passes": (answer({"error": "temporarily_unavailable"}, status=400), "temporarily_unavailable"),
}


async def test_the_token_endpoint_fails(clinic: Clinic) -> None:
    """That is no matter of the client: it is waited for, and told; once it is back, the work is done."""
    for what, said in AWAY.values():
        clinic.issuer.faults.heal()
        clinic.issuer.faults.always(what)
        with pytest.raises(Retriable) as caught:
            await clinic.run()
        assert str(caught.value).startswith("no token for dicom: ") and said in str(caught.value)
        assert PAGE.decode() not in str(caught.value)
    assert not clinic.embedded.dicom.requests
    clinic.issuer.faults.heal()
    clinic.issuer.faults.script(refuse(500), answer(PAGE, kind="text/html"))
    await clinic.run(WORKER__RETRY_BUDGET="30s")
    assert set(clinic.embedded.studies()) == {"1.2.3"}


@pytest.mark.long
@pytest.mark.parametrize("fault", [refuse(503), answer({"error": "invalid_client"}, status=400), refuse(403)])
async def test_no_new_token_in_mid_window(clinic: Clinic, fault: Fault) -> None:
    """The cursor stays, no study is parked for it, and the next run does the rest."""
    clinic.keeper.uses = 3
    for number in range(10, 15):
        clinic.embedded.put(f"1.2.{number}")
    clinic.issuer.faults.script(Fault(), Fault(), Fault(), *[fault] * 20)
    with pytest.raises((Retriable, Unauthorized), match="no token for"):
        await clinic.run()
    assert clinic.embedded.cursor[0] == 0 and clinic.embedded.query("SELECT * FROM parked") == []
    clinic.issuer.faults.heal()
    await clinic.run()
    assert len(clinic.embedded.studies()) == 6 and clinic.embedded.query("SELECT * FROM parked") == []


async def test_the_token_endpoint_throttles(clinic: Clinic) -> None:
    """Its Retry-After is waited for, and the peer's concurrency is not halved for it."""
    clinic.issuer.faults.script(refuse(429, retry_after="1"))
    await clinic.run(WORKER__RETRY_BUDGET="30s")
    assert set(clinic.embedded.studies()) == {"1.2.3"}


async def test_nobody_listens(clinic: Clinic) -> None:
    """The setting in brackets is that of the token endpoint, and not of the peer."""
    with silent_port() as port, pytest.raises(Retriable) as caught:
        await clinic.run(DICOM__AUTH__TOKEN_URL=f"http://127.0.0.1:{port}/token")
    assert str(caught.value) == (
        f"no token for dicom: the token endpoint at http://127.0.0.1:{port}/token cannot be reached: nobody listens on "
        "that port (DICOMCAST_DICOM__AUTH__TOKEN_URL)"
    )


async def test_a_token_endpoint_of_a_private_ca(clinic: Clinic, pki: Pki) -> None:
    """It has files of its own: the peer's do not count there."""
    with token_server(**pki.server()) as issuer:
        trust = {"FHIR__AUTH__TOKEN_URL": issuer.endpoint}
        with pytest.raises(Retriable, match=r"not known here; .* \(DICOMCAST_FHIR__AUTH__TOKEN_TLS__CA_FILE\)"):
            await clinic.run(**trust)
        with pytest.raises(Unauthorized):  # From there came a token; the clinic does not know that server.
            await clinic.run(**trust, FHIR__AUTH__TOKEN_TLS__CA_FILE=str(pki.ca_file))
        assert len(issuer.issued) == 2


KEYS = {
    "RS384": rsa.generate_private_key(65537, 2048),
    "ES384": ec.generate_private_key(ec.SECP384R1()),
}


@pytest.mark.parametrize("algorithm", KEYS)
async def test_smart_backend_services(clinic: Clinic, tmp_path: Path, algorithm: str) -> None:
    """What we ask with is signed as SMART says, and no assertion is sent twice."""
    key = KEYS[algorithm]
    clinic.issuer.keys["our-key"] = key.public_key()
    clinic.issuer.claims = {"aud": RECORD}
    smart = {
        "FHIR__AUTH__KIND": "smart-backend",
        "FHIR__AUTH__KEY_FILE": str(pem(tmp_path, key)),
        "FHIR__AUTH__KID": "our-key",
        "FHIR__AUTH__CLIENT_SECRET": "",
        "FHIR__AUTH__AUDIENCE": "",
        "DICOM__AUTH__SCOPE": "",
    }
    clinic.keeper.audiences = {"/": RECORD}
    clinic.keeper.uses = 3
    await clinic.run(**smart)
    assert set(clinic.embedded.studies()) == {"1.2.3"}
    signed = [form for form in clinic.issuer.asked if "client_assertion" in form]
    headers = [jwt.get_unverified_header(form["client_assertion"]) for form in signed]
    assert (
        len(signed) > 1
        and {one["alg"] for one in headers} == {algorithm}
        and {one["kid"] for one in headers} == {"our-key"}
    )
    assert {form["scope"] for form in signed} == {
        "system/Patient.cruds system/ImagingStudy.cruds system/Endpoint.cruds"
    }


async def test_a_certificate(clinic: Clinic, tmp_path: Path, pki: Pki) -> None:
    """Its thumbprint goes along, by which a server such as Entra ID finds it."""
    certificate, key = pki.pair(pki.leaf("worker@hospital.example"))
    loaded = x509.load_pem_x509_certificate(certificate.read_bytes())
    thumbprint = base64.urlsafe_b64encode(loaded.fingerprint(SHA1())).rstrip(b"=").decode()
    clinic.issuer.keys[thumbprint] = loaded.public_key()
    for files in (
        {"KEY_FILE": key, "CERTIFICATE_FILE": certificate},
        {"KEY_FILE": pki.write(key.read_bytes(), certificate.read_bytes())},
    ):
        given = {f"FHIR__AUTH__{name}": str(file) for name, file in files.items()}
        await clinic.run(**given, FHIR__AUTH__CLIENT_SECRET="")
    assert set(clinic.embedded.studies()) == {"1.2.3"}


async def test_a_key_that_is_not_registered(clinic: Clinic, tmp_path: Path) -> None:
    """What may be wrong is the key, or the clock: an assertion ends after a few minutes."""
    path = pem(tmp_path, ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(Unauthorized, match="invalid_client.: check the key, its registration there, and the clock"):
        await clinic.run(DICOM__AUTH__KEY_FILE=str(path), DICOM__AUTH__CLIENT_SECRET="")


def pem(folder: Path, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> Path:
    """The file of a key."""
    path = folder / "key.pem"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path
