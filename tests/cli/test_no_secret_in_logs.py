"""No secret in the logs: whatever goes wrong, no password, token or key gets out, in no form that it is sent in."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, quote_plus

import httpx
import pytest

from tests.faults import Fault, answer, outcome, refuse
from tests.servers import free_port
from tests.servers.embedded import Embedded, Finished, embedded_servers, until
from tests.servers.guard import basic_header, guarded
from tests.servers.oauth import CLIENT, SECRET, Keeper, token_server, wanting_tokens
from tests.servers.pki import Pki

USER, PASSWORD, TOKEN = "dicomcast", "s3same:öffne-dich", "eyJ0b2tlbiI6InMzc2FtZSJ9.s3same"
SENT = basic_header(USER, PASSWORD)
# As it is written, percent-encoded, escaped in JSON, and as it goes over the wire.
FORMS = (PASSWORD, quote(PASSWORD), ascii(PASSWORD)[1:-1], "s3same", SENT.removeprefix("Basic "), TOKEN)
BASIC = {"KIND": "basic", "USERNAME": USER, "PASSWORD": PASSWORD}
BEARER = {"KIND": "bearer", "TOKEN": TOKEN}

each_kind = pytest.mark.parametrize("auth", [BASIC, BEARER], ids=["basic", "bearer"])


def secretive(*texts: str | bytes) -> bool:
    """Whether none of the forms is in any of the texts."""
    seen = "\n".join(text if isinstance(text, str) else text.decode("utf-8", "replace") for text in texts)
    return not any(form in seen for form in FORMS)


def settings(auth: dict[str, str]) -> dict[str, str]:
    """These credentials for both peers, and all that can be logged."""
    both = {f"{peer}__AUTH__{name}": value for peer in ("DICOM", "FHIR") for name, value in auth.items()}
    return {**both, "LOG__LEVEL": "debug", "LOG__FORMAT": "json", "WORKER__POLL_INTERVAL": "1s"}


def untold(embedded: Embedded, *ended: Finished) -> bool:
    """Whether neither the processes nor the files of the state store tell a secret."""
    said = [text for one in ended for text in (one.out, one.err)]
    return secretive(*said, *(file.read_bytes() for file in embedded.folder.glob("state.db*")))


@contextmanager
def outside(folder: Path) -> Iterator[Embedded]:
    """Servers that know another password, and quote what they are told."""
    with embedded_servers(folder, front=guarded(USER, "another")) as site:
        site.put("1.2.3")
        yield site


def test_the_forms_are_found() -> None:
    """A form that is in a text is noticed."""
    assert len(set(FORMS)) == len(FORMS)
    assert [secretive(f"…{form}…") for form in FORMS] == [False] * len(FORMS)
    assert secretive("dicomcast", b"\xff")


@each_kind
def test_credentials_that_are_right(embedded: Embedded, auth: dict[str, str]) -> None:
    """They are sent to both peers, and told to nobody."""
    embedded.put("1.2.3")
    ended = embedded.run("run", "--once", **settings(auth), code=0)
    assert set(embedded.dicom.callers) == set(embedded.fhir.callers) == {SENT if auth is BASIC else f"Bearer {TOKEN}"}
    commands = (["status"], ["config"], ["config", "--json"], ["run", "--once", "--dry-run"])
    others = [embedded.run(*command, **settings(auth), code=0) for command in commands]
    assert untold(embedded, ended, *others)
    assert secretive(*embedded.dicom.requests, *embedded.fhir.requests)


@each_kind
def test_credentials_that_are_wrong(tmp_path: Path, auth: dict[str, str]) -> None:
    """A server that quotes them is not quoted."""
    with outside(tmp_path) as site:
        ended = site.run("run", "--once", **settings(auth), code=77)
        asked = site.run("status", **settings(auth), code=0)
        assert "answered 401" in ended.err and "answered 401" in asked.out
        assert untold(site, ended, asked)


@each_kind
def test_everything_goes_wrong(embedded: Embedded, auth: dict[str, str]) -> None:
    """Redirects, outcomes, pages and hang-ups that hold the credentials: log, health port and `parked` keep silent."""
    for study in ("1.2.10", "1.2.11", "1.2.12", "1.2.13", "1.2.14"):
        embedded.put(study)
    gossip = f"{SENT} {PASSWORD} Bearer {TOKEN}"
    refusals = {
        "1.2.10": refuse(422, body=outcome(gossip, text=gossip, expression=gossip)),
        "1.2.11": answer(gossip.encode(), kind="text/html"),
        "1.2.12": Fault(302, headers=(("location", f"/login?password={quote(PASSWORD)}&token={TOKEN}"),)),
        "1.2.13": refuse(400, body=f"{gossip}: the plain HTTP request was sent to HTTPS port".encode()),
    }
    for study, fault in refusals.items():
        embedded.fhir.always(fault, on="POST /fhir/?$", having=f'urn:oid:{study}"')
    port = free_port()
    health = {"HEALTH__PORT": str(port), "HEALTH__ADDRESS": "127.0.0.1"}
    running = embedded.start("run", **settings(auth), **health)
    until("the feed is settled", lambda: embedded.cursor[0] == 5)
    embedded.fhir.always(Fault(401, headers=(("www-authenticate", f"realm={TOKEN}"),)))
    embedded.dicom.always(Fault(lose="response"))
    until("the worker is blocked", lambda: "worker.blocked" in running.said)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client:
        told = [client.get(path).text for path in ("/livez", "/readyz", "/metrics")]
    running.signal(signal.SIGTERM)
    ended = running.finish()
    shown = [embedded.run("parked", *command, **settings(auth), code=0) for command in (["list", "--json"], ["show"])]
    assert {row["study"] for row in shown[0].json} == set(refusals)
    assert secretive(*told)
    assert untold(embedded, ended, *shown)


def test_a_server_that_is_not_trusted(tmp_path: Path, pki: Pki) -> None:
    """It is not even told them, and nothing is said of our own key."""
    client = pki.client()
    certificates = {f"{peer}__TLS__CERT_FILE": str(client) for peer in ("DICOM", "FHIR")}
    with embedded_servers(tmp_path, tls=pki.server(of=pki.stranger)) as site:
        for trust in ({}, {f"{peer}__TLS__CA_FILE": str(pki.ca_file) for peer in ("DICOM", "FHIR")}):
            given = settings(BASIC) | certificates | trust
            ended = site.run("run", "--once", "--max-duration", "1200ms", **given, code=75)
            assert untold(site, ended)
            assert not any(line in ended.err for line in client.read_text().splitlines() if line)
        assert site.dicom.callers + site.fhir.callers == []


def test_secrets_of_an_oauth2_client(tmp_path: Path) -> None:
    """Its secret, and the tokens that it gets for it, whether they are taken, refused or not to be had."""
    with token_server() as issuer:
        keeper = Keeper({"/fhir": "fhir", "/": "dicom"})
        with embedded_servers(tmp_path, front=wanting_tokens(issuer, keeper)) as site:
            site.put("1.2.3")
            oauth = {"KIND": "client-credentials", "TOKEN_URL": issuer.endpoint, "CLIENT_ID": CLIENT}
            given = settings(oauth | {"CLIENT_SECRET": SECRET}) | {
                "DICOM__AUTH__SCOPE": "dicom",
                "FHIR__AUTH__SCOPE": "fhir",
            }
            ended = [site.run("run", "--once", **given, code=0)]
            ended += [site.run(*command, **given, code=0) for command in (["status"], ["config"])]
            keeper.role = "another"
            ended.append(site.run("run", "--once", **given, code=77))
            keeper.audiences = {"/": "another"}
            ended.append(site.run("run", "--once", **given, code=77))
            ended.append(site.run("run", "--once", **given | {"DICOM__AUTH__CLIENT_SECRET": f"{SECRET}!"}, code=77))
            issuer.faults.always(answer(f"<html>{SECRET}</html>".encode(), kind="text/html"))
            ended.append(site.run("run", "--once", **given, code=75))
        said = "".join(one.out + one.err for one in ended)
        assert untold(site, *ended) and "invalid_client" in said and "the role" in said
        parts = {part for token in issuer.issued for part in token.split(".")[1:]}
        assert len(issuer.issued) > 6 and not any(part in said for part in (*parts, SECRET, quote_plus(SECRET)))


def test_secrets_in_the_place_of_others(embedded: Embedded, pki: Pki) -> None:
    """A password, a token or a whole key that was put into the wrong setting is not repeated."""
    key = pki.client().read_text()
    wrong = {
        "DICOM__TLS__CA_FILE": TOKEN,
        "FHIR__TLS__CERT_FILE": key,
        "DICOM__TLS__KEY_FILE": key,
        "FHIR__URL": PASSWORD,
    }
    for command in (["run", "--once"], ["config"]):
        ended = embedded.run(*command, **settings(BASIC), **wrong, code=78)
        assert len(ended.err.splitlines()) == len(wrong)
        assert untold(embedded, ended)
        assert not any(line in ended.err for line in key.splitlines() if line)
