"""What DICOM Cast was told is understood as it stands: each of its settings, and what is said of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dicomcast.settings import Settings, effective, load_settings, sources
from dicomcast.settings.predecessor import ROWS, translate
from tests.given_settings import problems

# A deployment of DICOM Cast, as its template makes it.
DEPLOYED = {
    "DicomWeb__Endpoint": "https://clinic.dicom.example.com/",
    "Fhir__Endpoint": "https://clinic.fhir.example.com",
    "Patient__PatientSystemId": "urn:oid:1.2.3",
}
MANAGED = {"Enabled": "true", "AuthenticationType": "ManagedIdentity"}
CLIENT = {
    "Enabled": "True",
    "AuthenticationType": "OAuth2ClientCredential",
    "OAuth2ClientCredential__TokenUri": "https://login.example/token",
    "OAuth2ClientCredential__ClientId": "cast",
    "OAuth2ClientCredential__ClientSecret": "sesame",
}
ACCOUNT = "DefaultEndpointsProtocol=https;AccountName=clinic;AccountKey=sesame=="
NOTHING = "became nothing"
# Of each setting a value, what is set beside it, and what of ours is in effect then ("" where nothing is).
Example = tuple[str, dict[str, str], dict[str, str]]


def _auth(peer: str, settings: dict[str, str]) -> dict[str, str]:
    return {f"{peer}__Authentication__{name}": value for name, value in settings.items()}


def _credentials(old: str, new: str) -> dict[str, Example]:
    def example(name: str, beside: dict[str, str], value: str, ours: dict[str, str]) -> tuple[str, Example]:
        made = {f"{new}__AUTH__{setting}": text for setting, text in ours.items()}
        return f"{old}__Authentication__{name}", (value, _auth(old, beside), made)

    oauth = "OAuth2ClientCredential__"
    return dict(
        [
            example("Enabled", MANAGED, "false", {"KIND": "none"}),
            example("AuthenticationType", {"Enabled": "TRUE"}, "managedidentity", {"KIND": "azure"}),
            example("ManagedIdentityCredential__Resource", MANAGED, "api://dicom", {"AUDIENCE": "api://dicom"}),
            example(f"{oauth}TokenUri", CLIENT, "https://login.example/t", {"TOKEN_URL": "https://login.example/t"}),
            example(f"{oauth}Resource", CLIENT, "api://dicom", {"RESOURCE": "api://dicom"}),
            example(f"{oauth}Scope", CLIENT, "api://dicom/.default", {"SCOPE": "api://dicom/.default"}),
            example(f"{oauth}ClientId", CLIENT, "other", {"CLIENT_ID": "other", "KIND": "client-credentials"}),
            example(f"{oauth}ClientSecret", CLIENT, "x", {"CLIENT_SECRET": "********", "SECRET_IN": "body"}),
        ]
    )


EXAMPLES: dict[str, Example] = {
    "DicomWeb__Endpoint": ("https://d.example", {}, {"DICOM__URL": "https://d.example"}),
    "DicomWeb__PrivateEndpoint": (
        "https://10.0.0.4",
        {},
        {"DICOM__URL": "https://10.0.0.4", "DICOM__PUBLIC_URL": "https://clinic.dicom.example.com/"},
    ),
    **_credentials("DicomWeb", "DICOM"),
    "Fhir__Endpoint": ("https://f.example/r4", {}, {"FHIR__URL": "https://f.example/r4"}),
    **_credentials("Fhir", "FHIR"),
    "DicomCastWorker__PollInterval": ("00:02:30", {}, {"WORKER__POLL_INTERVAL": "2m30s"}),
    "DicomCastWorker__PollIntervalDuringCatchup": ("00:00:00", {}, {}),
    "DicomCast__Features__EnforceValidationOfTagValues": ("True", {}, {"MAPPING__STRICT": "true"}),
    "DicomCast__Features__GenerateObservations": ("true", {}, {}),
    "DicomCast__Features__IgnoreJsonParsingErrors": ("false", {}, {}),
    "RetryConfiguration__TotalRetryDuration": ("00:10:00", {}, {}),
    "Patient__PatientSystemId": ("https://clinic.example/mrn", {}, {"PATIENT__SYSTEM": "https://clinic.example/mrn"}),
    "Patient__IsIssuerIdUsed": ("true", {}, {}),
    "TableStore__ConnectionString": (
        ACCOUNT,
        {},
        {"STATE__URL": "azure-tables://", "STATE__CONNECTION_STRING": "********"},
    ),
    "TableStore__EndpointUri": (
        "https://clinic.table.core.windows.net/",
        {},
        {"STATE__URL": "azure-tables://clinic.table.core.windows.net"},
    ),
    "TableStore__ClientId": (
        "6a7a0c1e-0000-4000-8000-000000000001",
        {},
        {"STATE__CLIENT_ID": "6a7a0c1e-0000-4000-8000-000000000001"},
    ),
    "TableStore__TableNamePrefix": ("clinic", {}, {"STATE__TABLE_PREFIX": "clinic"}),
    "KeyVault__Endpoint": ("https://clinic.vault.azure.net/", {}, {}),
    "ApplicationInsights__InstrumentationKey": (
        "6a7a0c1e-0000-4000-8000-000000000002",
        {},
        {"TELEMETRY__EXPORTER": "azure-monitor", "TELEMETRY__CONNECTION_STRING": "********"},
    ),
}


@pytest.fixture(autouse=True)
def vault(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The secrets of the Key Vault, by their name, and nothing that would reach a real one."""
    secrets: dict[str, str] = {}

    def stored(url: str) -> dict[str, sources.Given]:
        assert url == "https://clinic.vault.azure.net/"
        return {name.upper().replace("-", "_"): sources.Given(value, "vault") for name, value in secrets.items()}

    monkeypatch.setattr(sources, "_key_vault", stored)
    return secrets


def loaded(environ: dict[str, str]) -> Settings:
    """What is in effect of a deployment with these variables."""
    return load_settings(DEPLOYED | environ)


def shown(environ: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Value and source of each setting, by its name without the prefix."""
    return {one.variable.removeprefix("DICOMCAST_"): (one.value, one.source) for one in effective(DEPLOYED | environ)}


def test_every_setting_has_an_example() -> None:
    """So that a row of the table is a test."""
    assert [row.old for row in ROWS] == list(EXAMPLES)


@pytest.mark.parametrize("spelling", ["{}", "upper", "lower"])
@pytest.mark.parametrize("old", EXAMPLES)
def test_what_each_setting_becomes(old: str, spelling: str) -> None:
    """In any case: the settings are in effect, `config` says where they came from, and `run` what became of it."""
    value, beside, ours = EXAMPLES[old]
    spelt = {"upper": old.upper(), "lower": old.lower()}.get(spelling, old)
    environ = {name: text for name, text in (DEPLOYED | beside).items() if name != old} | {spelt: value}
    found = {one.variable.removeprefix("DICOMCAST_"): one for one in effective(environ)}
    assert {name: found[name].value for name in ours} == ours
    said = [line for line in load_settings(environ).moved if line.startswith(f"{old} ")]
    if ours:
        assert f"DICOM Cast's {old}" in {found[name].source for name in ours}
        assert [f"DICOMCAST_{name}" in said[0] for name in ours].count(True) >= 1
    elif not old.startswith("KeyVault"):
        assert NOTHING in said[0]
    assert len(said) == 1
    assert value not in said[0] or len(value) < 6


def test_ours_win(tmp_path: Path) -> None:
    """Whatever source they are from; and of credentials and of the state, all that is theirs goes."""
    (tmp_path / "config").write_text('[fhir]\nurl = "https://ours.example/fhir"\n')
    environ = {
        **_auth("Fhir", CLIENT),
        "TableStore__ConnectionString": ACCOUNT,
        "TableStore__TableNamePrefix": "clinic",
        "DICOMCAST_CONFIG": str(tmp_path / "config"),
        "DICOMCAST_FHIR__AUTH__KIND": "none",
        "DICOMCAST_STATE__URL": "sqlite:///here.db",
        "DICOMCAST_DICOM__PUBLIC_URL": "https://public.example",
    }
    settings = loaded(environ)
    assert (settings.fhir.url, settings.fhir.auth.kind) == ("https://ours.example/fhir", "none")
    assert (settings.state.url, settings.state.connection_string, settings.state.table_prefix) == (
        "sqlite:///here.db", None, "")  # fmt: skip
    assert settings.dicom.public_url == "https://public.example"
    assert settings.dicom.url == "https://clinic.dicom.example.com"
    gave_way = {line.split()[0] for line in settings.moved if line.endswith("gives way to what is set of ours")}
    assert {"Fhir__Endpoint", "TableStore__ConnectionString", "TableStore__TableNamePrefix"} < gave_way


def test_a_key_vault_with_its_names(vault: dict[str, str]) -> None:
    """With `--`, and it wins over the environment as it did there; ours in it win over both."""
    vault |= {
        "DicomWeb--Endpoint": "https://vault.dicom.example.com",
        "TableStore--ConnectionString": ACCOUNT,
        "DICOMCAST-PATIENT--SYSTEM": "urn:oid:1.2.4",
    }
    settings = loaded({"KeyVault__Endpoint": "https://clinic.vault.azure.net/"})
    assert settings.dicom.url == "https://vault.dicom.example.com"
    assert settings.state.connection_string is not None
    assert settings.patient.system == "urn:oid:1.2.4"
    assert "sesame" not in " ".join(settings.moved)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("DicomCastWorker__PollInterval", "sesame", "write it as DICOM Cast does, such as 00:01:00"),
        ("DicomCastWorker__PollInterval", "00:99:00", "it has more hours, minutes or seconds than there are"),
        ("DicomCast__Features__EnforceValidationOfTagValues", "sesame", "write true or false"),
        ("TableStore__EndpointUri", "sesame", "write the endpoint of the tables"),
        ("Fhir__Authentication__Enabled", "sesame", "write true or false"),
    ],
)
def test_what_cannot_be_understood(name: str, value: str, said: str) -> None:
    """It is named by its own name, and not repeated."""
    [line] = problems(DEPLOYED | {name: value})
    assert line.startswith(f"{name}: {said}") and "sesame" not in line
    assert loaded({name: value, "DICOMCAST_WORKER__POLL_INTERVAL": "1m", "DICOMCAST_MAPPING__STRICT": "true",
                   "DICOMCAST_STATE__URL": "sqlite:///x.db", "DICOMCAST_FHIR__AUTH__KIND": "none"})  # fmt: skip


@pytest.mark.parametrize("kind", ["OAuth2ClientCertificate", "OAuth2UserPasswordCredential", "Kerberos"])
def test_credentials_of_no_kind_of_ours(kind: str) -> None:
    """A worker without credentials would only be refused for ever: what to set is said."""
    [line] = problems(DEPLOYED | _auth("DicomWeb", {"Enabled": "true", "AuthenticationType": kind}))
    assert line.startswith("DicomWeb__Authentication__AuthenticationType: ")
    assert "set DICOMCAST_DICOM__AUTH__KIND" in line


def test_a_value_that_is_none_of_ours_names_theirs() -> None:
    """What our own rules refuse is told with the name that it had."""
    [line] = problems(DEPLOYED | {"Patient__PatientSystemId": "MRN"})
    assert line.startswith("DICOMCAST_PATIENT__SYSTEM: write an absolute URI")
    assert line.endswith("(in DICOM Cast's Patient__PatientSystemId)")


@pytest.mark.parametrize(
    ("text", "ours"),
    [
        ("00:01", "1m"),
        ("1.02:03:04", "1d2h3m4s"),
        ("1", "1d"),
        ("00:00:01.5", "1s500ms"),
        ("0:00:10", "10s"),
        ("00:00:02.0000001", "2s"),
    ],
)
def test_time_spans(text: str, ours: str) -> None:
    """As .NET writes them."""
    assert translate({"DicomCastWorker__PollInterval": text}).given["DICOMCAST_WORKER__POLL_INTERVAL"][0] == ours


def test_a_key_that_was_never_set() -> None:
    """The 12345 of its own appsettings starts no exporter."""
    settings = loaded({"ApplicationInsights__InstrumentationKey": "12345"})
    assert settings.telemetry.exporter == "none"
    assert "ApplicationInsights__InstrumentationKey became nothing: it is no GUID" in settings.moved


def test_what_is_not_theirs() -> None:
    """Without any of theirs nothing is said; beside them a name below their groups that they never had is named."""
    assert load_settings({"DICOMCAST_DICOM__URL": "https://d.example", "DICOMCAST_FHIR__URL": "https://f.example",
                          "DICOMCAST_PATIENT__SYSTEM": "urn:oid:1.2", "Fhir__Colour": "blue"}).moved == ()  # fmt: skip
    settings = loaded({"Fhir__Colour": "blue", "Logging__LogLevel": "x", "DicomCast__Features__New": "1"})
    assert {line for line in settings.moved if "no setting of DICOM Cast" in line} == {
        "Fhir__Colour is no setting of DICOM Cast",
        "DicomCast__Features__New is no setting of DICOM Cast",
    }
    [line] = problems(DEPLOYED | {"DICOMCAST__FHIR__URL": "https://f.example"})
    assert "there is no such setting; the nearest is DICOMCAST_FHIR__URL" in line


def test_the_table_is_in_the_documentation() -> None:
    """A row of each, with what of ours it names."""
    page = (Path(__file__).parents[2] / "docs/reference/dicom-cast-settings.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", page, re.MULTILINE))
    assert list(rows) == [row.old for row in ROWS]
    assert all(f"`{name}`" in rows[row.old] for row in ROWS for name in row.new)
