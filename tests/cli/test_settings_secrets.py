"""Credentials, and errors that help without telling what was read."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomcast.errors import ConfigError
from dicomcast.settings import (
    KNOWN,
    effective,
    load_settings,
)
from tests.given_settings import REQUIRED, load, problems


def test_basic_auth() -> None:
    """Each peer has credentials of its own, and secrets are hidden when settings are shown."""
    settings = load(DICOM__AUTH__KIND="basic", DICOM__AUTH__USERNAME="user", DICOM__AUTH__PASSWORD="sesame")
    assert settings.dicom.auth.kind == "basic"
    assert settings.dicom.auth.password.get_secret_value() == "sesame"
    assert settings.fhir.auth.kind == "none"
    assert "sesame" not in repr(settings)


@pytest.mark.parametrize(
    ("auth", "said"),
    [
        ({"KIND": "digest"}, ["KIND: write none, basic, bearer, client-credentials, smart-backend, azure"]),
        ({"TOKEN": "sesame"}, ["KIND is not set: write none, basic, bearer, client-credentials, smart-backend, azure"]),
        (
            {"KIND": "none", "TOKEN": "sesame"},
            ["TOKEN: it does not go with the chosen KIND; remove it, or choose another"],
        ),
        (
            {"KIND": "basic"},
            [
                "USERNAME is not set: the user name, for kind basic",
                "PASSWORD is not set: the password, for kind basic",
            ],
        ),
        (
            {"KIND": "basic", "USERNAME": "a:b", "PASSWORD": "sesame"},
            ["USERNAME: write a name without a colon"],
        ),
        ({"KIND": "basic", "USERNAME": "a", "PASSWORD": ""}, ["PASSWORD: write a secret"]),
        (
            {"KIND": "bearer", "TOKEN": ""},
            ["TOKEN: write the token alone: printable ASCII without blanks or line ends"],
        ),
        (
            {"KIND": "bearer", "TOKEN": "Bearer sesame"},
            ["TOKEN: write the token alone: printable ASCII without blanks or line ends"],
        ),
    ],
)
def test_auth_refused(auth: dict[str, str], said: list[str]) -> None:
    """Credentials that are incomplete, of two kinds, or not fit for a header are refused by name."""
    environ = REQUIRED | {f"DICOMCAST_FHIR__AUTH__{name}": value for name, value in auth.items()}
    assert problems(environ) == [f"DICOMCAST_FHIR__AUTH__{line}" for line in said]


SECRETS = {
    "AUTH__PASSWORD": {"AUTH__KIND": "basic", "AUTH__USERNAME": "user"},
    "AUTH__TOKEN": {"AUTH__KIND": "bearer"},
    "AUTH__CLIENT_SECRET": {
        "AUTH__KIND": "client-credentials",
        "AUTH__CLIENT_ID": "me",
        "AUTH__TOKEN_URL": "https://idp.example/token",
    },
}


@pytest.mark.parametrize("peer", ["DICOM", "FHIR"])
@pytest.mark.parametrize("secret", SECRETS)
def test_each_secret_may_be_a_file(tmp_path: Path, peer: str, secret: str) -> None:
    """In `/run/secrets`, with a line end as editors leave it; shown it is hidden, and so are all others there are."""
    name = f"DICOMCAST_{peer}__{secret}"
    assert {one.name.partition("__")[2] for one in KNOWN.values() if one.secret and "__AUTH__" in one.name} == {
        *SECRETS
    }
    (tmp_path / name).write_text("s3same\n")
    environ = REQUIRED | {f"DICOMCAST_{peer}__{other}": value for other, value in SECRETS[secret].items()}
    auth = getattr(load_settings(environ, secrets_dir=tmp_path), peer.lower()).auth
    assert getattr(auth, secret.removeprefix("AUTH__").lower()).get_secret_value() == "s3same"
    shown = {one.variable: (one.value, one.source) for one in effective(environ, secrets_dir=tmp_path)}
    assert shown[name] == ("********", f"secret file {name}")


KEYED = "DefaultEndpointsProtocol=https;AccountName=clinic;AccountKey=sesame==;EndpointSuffix=core.windows.net"


@pytest.mark.parametrize(
    "secret", [KEYED, "TableEndpoint=https://clinic.table.core.windows.net/;SharedAccessSignature=sv=x&sig=sesame"]
)
def test_a_connection_string(secret: str) -> None:
    """With a key or a signature; it says which account."""
    settings = load(STATE__URL="azure-tables://", STATE__CONNECTION_STRING=secret)
    assert settings.state.connection_string is not None
    assert settings.state.connection_string.get_secret_value() == secret
    assert "sesame" not in repr(settings)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"URL": "azure-tables://"}, "CONNECTION_STRING: set it, or write the account into DICOMCAST_STATE__URL"),
        ({"CONNECTION_STRING": KEYED}, "CONNECTION_STRING: it says itself which account"),
        (
            {"URL": "azure-tables://clinic", "CONNECTION_STRING": KEYED},
            "CONNECTION_STRING: it says itself which account",
        ),
        (
            {"URL": "azure-tables://", "CONNECTION_STRING": "sesame"},
            "CONNECTION_STRING: write it as the storage account",
        ),
        (
            {"URL": "azure-tables://", "CONNECTION_STRING": "UseDevelopmentStorage=true"},
            "CONNECTION_STRING: write it as the storage account",
        ),
        ({"URL": "azure-tables://a b"}, "URL: write sqlite:///FILE or azure-tables://ACCOUNT"),
        ({"TABLE_PREFIX": "1st-floor"}, "TABLE_PREFIX: write letters and digits, a letter first, at most 40"),
    ],
)
def test_a_table_that_is_told_wrongly(told: dict[str, str], said: str) -> None:
    """Half of it, two accounts, or what is no name; never with the secret."""
    [line] = problems(REQUIRED | {f"DICOMCAST_STATE__{name}": value for name, value in told.items()})
    assert line.startswith(f"DICOMCAST_STATE__{said}") and "sesame" not in line


MARK = "s3same"
DISGUISES = (
    "{}", "{}s", "https://u:{}@host", "https://host/?{}", "https://host:{}", "ftp://{}", "https://{} x", "{{{}",
    '{{"{}": "{}"}}', '["{}"]', "sqlite:/{}", "2025-01-{}", "2025-01-01T00:00:00{}", "urn {}", "a:{}:b", "{}\n",
    "../{}",
)  # fmt: skip


@given(
    st.dictionaries(st.sampled_from([*KNOWN, "DICOMCAST_FIHR__TOKEN"]), st.sampled_from(DISGUISES), min_size=1),
    st.sampled_from(["none", "basic", "bearer", "client-credentials", "smart-backend", "azure", MARK]),
)
def test_no_value_in_errors(disguises: dict[str, str], kind: str) -> None:
    """Whatever is put into whichever variable, nothing of it is in the error, its context or its traceback."""
    environ = {name: disguise.replace("{}", MARK) for name, disguise in disguises.items()}
    environ |= {"DICOMCAST_FHIR__AUTH__KIND": kind, "DICOMCAST_WORKER__WINDOW": MARK}
    with pytest.raises(ConfigError) as caught:
        load_settings(environ)
    assert MARK not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__context__ is None
    assert all(line.startswith("DICOMCAST_") for line in str(caught.value).splitlines())
