"""Azure Key Vault as a source of settings: the real client, a managed identity, and a vault on loopback."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicomcast.errors import ConfigError, Retriable, Unauthorized
from dicomcast.settings import effective, load_offline_settings, load_settings
from tests.given_settings import REQUIRED
from tests.servers.embedded import silent_port
from tests.servers.identity import IdentityEndpoint, identity_endpoint
from tests.servers.pki import Pki
from tests.servers.vault import Vault, vault

SECRET = "DICOMCAST-FHIR--AUTH--PASSWORD"
BASIC = {"DICOMCAST_FHIR__AUTH__KIND": "basic", "DICOMCAST_FHIR__AUTH__USERNAME": "user"}


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch, pki: Pki) -> Iterator[IdentityEndpoint]:
    """The identity of this process; the vault's CA is trusted."""
    with identity_endpoint() as endpoint:
        for name in ("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_CLIENT_SECRET", "AZURE_FEDERATED_TOKEN_FILE"):
            monkeypatch.delenv(name, raising=False)
        for name, value in (endpoint.environ | {"REQUESTS_CA_BUNDLE": str(pki.ca_file)}).items():
            monkeypatch.setenv(name, value)
        yield endpoint


@pytest.fixture
def store(endpoint: IdentityEndpoint, pki: Pki) -> Iterator[Vault]:
    """A vault with one secret of ours, and others."""
    with vault(endpoint.token, **pki.server()) as store:
        store.secrets = {SECRET: "s3same", "another-app": "x", "AnotherWeb--Endpoint": "z"}
        yield store


def environ(store: Vault, **more: str) -> dict[str, str]:
    """What is set beside the vault."""
    return REQUIRED | BASIC | {"DICOMCAST_KEYVAULT": store.url} | more


def password(settings: dict[str, str]) -> str:
    """The password that was loaded."""
    auth = load_settings(settings).fhir.auth
    assert auth.kind == "basic"
    return auth.password.get_secret_value()


def test_a_secret_is_a_setting(store: Vault) -> None:
    """By its name with dashes, in any case, on any page; nothing of others is read."""
    assert password(environ(store)) == "s3same"
    assert store.read == [SECRET]
    # The line end of a file that was stored as it was, as of one in /run/secrets.
    store.secrets = {f"a{number}": "x" for number in range(5)} | {SECRET.lower(): "lower\n"}
    assert password(environ(store)) == "lower"
    shown = {one.variable: one for one in effective(environ(store))}["DICOMCAST_FHIR__AUTH__PASSWORD"]
    assert (shown.value, shown.source) == ("********", f"key vault secret {SECRET.lower()}")


def test_the_environment_wins(store: Vault, tmp_path: Path) -> None:
    """Then secret files, then the vault, then the TOML file."""
    toml = tmp_path / "settings.toml"
    toml.write_text('[fhir.auth]\npassword = "toml"\n[worker]\nwindow = 7\n')
    given = environ(store, DICOMCAST_CONFIG=str(toml))
    assert password(given) == "s3same"
    assert load_settings(given).worker.window == 7
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "DICOMCAST_FHIR__AUTH__PASSWORD").write_text("file")
    given |= {"DICOMCAST_SECRETS_DIR": str(tmp_path / "run")}
    assert password(given) == "file"
    assert password(given | {"DICOMCAST_FHIR__AUTH__PASSWORD": "variable"}) == "variable"


def test_a_misspelt_secret(store: Vault) -> None:
    """It is named with the nearest right name, and where it is; one that is disabled is not there."""
    store.secrets["DICOMCAST-FHIR--AUTH--PASWORD"] = "s3same"
    store.secrets["DICOMCAST-FHIR--AUTH--TOKEN"] = "x"
    store.disabled = {"DICOMCAST-FHIR--AUTH--TOKEN"}
    with pytest.raises(ConfigError) as caught:
        load_settings(environ(store))
    assert str(caught.value) == (
        "DICOMCAST_FHIR__AUTH__PASWORD: there is no such setting; the nearest is DICOMCAST_FHIR__AUTH__PASSWORD "
        "(in key vault secret DICOMCAST-FHIR--AUTH--PASWORD)"
    )


def test_what_needs_no_server_asks_no_vault(store: Vault) -> None:
    """`map` works offline."""
    load_offline_settings(environ(store))
    assert not store.read


def test_refused(store: Vault, endpoint: IdentityEndpoint) -> None:
    """403 names the role; a token that it does not take is an identity's matter; neither quotes the answer."""
    store.status = 403
    with pytest.raises(Unauthorized, match="answered 403: give the identity the role Key Vault Secrets User") as caught:
        load_settings(environ(store))
    assert "s3same" not in str(caught.value) and caught.value.__context__ is None
    endpoint.token = "another"
    with pytest.raises(Unauthorized, match="Azure refuses the identity a token: check the identity"):
        load_settings(environ(store))


def test_away(store: Vault, endpoint: IdentityEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """A vault that does not answer, one that is not trusted, and an identity that is not there yet: 75."""
    monkeypatch.setattr("dicomcast.settings.keyvault._PATIENCE", {"retry_total": 0})
    store.status = 404
    with pytest.raises(Retriable, match="the vault answered 404"):
        load_settings(environ(store))
    with silent_port() as port, pytest.raises(Retriable, match=r"no vault to be reached .*ServiceRequestError"):
        load_settings(REQUIRED | {"DICOMCAST_KEYVAULT": f"https://127.0.0.1:{port}"})
    endpoint.status = 400
    with pytest.raises(Retriable, match="Azure has no identity for this process, or not yet"):
        load_settings(environ(store))


@pytest.mark.parametrize(
    "url", ["http://v.vault.azure.net", "v.vault.azure.net", "https://", "https://v/secrets", "s3same"]
)
def test_no_address(url: str) -> None:
    """What is no vault's address is a wrong setting, and is not repeated."""
    with pytest.raises(ConfigError) as caught:
        load_settings(REQUIRED | {"DICOMCAST_KEYVAULT": url})
    assert (
        str(caught.value) == "DICOMCAST_KEYVAULT: write the address of the vault, such as https://NAME.vault.azure.net"
    )


def test_the_extra_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named."""
    monkeypatch.setitem(sys.modules, "azure.keyvault.secrets", None)
    with pytest.raises(ConfigError, match=r"^DICOMCAST_KEYVAULT needs more packages .*: pip install '.\[azure\]'"):
        load_settings(REQUIRED | {"DICOMCAST_KEYVAULT": "https://v.vault.azure.net"})
