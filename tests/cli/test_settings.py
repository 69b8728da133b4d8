"""Settings: sources, precedence, every rule on values, and errors that help without telling what was read."""

from __future__ import annotations

import importlib.util
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from dicomcast import settings_sources
from dicomcast.durations import format_duration, parse_duration
from dicomcast.errors import ConfigError
from dicomcast.settings import (
    KNOWN,
    BearerAuth,
    DicomSettings,
    FhirSettings,
    PatientSettings,
    Setting,
    Settings,
    effective,
    load_offline_settings,
    load_settings,
)

REQUIRED = {
    "DICOMCAST_DICOM__URL": "https://dicom.example.com/",
    "DICOMCAST_FHIR__URL": "https://fhir.example.com/r4",
    "DICOMCAST_PATIENT__SYSTEM": "urn:oid:1.2.3",
}
MOUNT = settings_sources.DEFAULT_SECRETS_DIR  # as shipped


@pytest.fixture(autouse=True, scope="module")
def no_secrets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the /run/secrets of the machine out of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings_sources, "DEFAULT_SECRETS_DIR", tmp_path_factory.mktemp("run") / "secrets")
        yield


def load(**variables: str) -> Settings:
    """Load the required settings and these, whose names lack the prefix."""
    return load_settings(REQUIRED | {f"DICOMCAST_{name}": value for name, value in variables.items()})


def problems(environ: dict[str, str], **options: Path) -> list[str]:
    """Load what cannot be loaded, and return what is said about it, a problem a line."""
    with pytest.raises(ConfigError) as caught:
        load_settings(environ, **options)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    return str(caught.value).splitlines()


def problem(**variables: str) -> str:
    """Load the required settings and these, and return the one problem there is."""
    [line] = problems(REQUIRED | {f"DICOMCAST_{name}": value for name, value in variables.items()})
    return line


# --- The tree ---


def test_defaults() -> None:
    """The three required settings are enough, and the defaults are the documented ones."""
    settings = load()

    assert settings.dicom.url == "https://dicom.example.com"
    assert settings.dicom.public_url == settings.dicom.url
    assert (settings.dicom.kind, settings.dicom.api_version, settings.dicom.auth.kind) == (
        "azure",
        "auto",
        "none",
    )
    assert (settings.dicom.safety_lag, settings.dicom.timeout) == (
        timedelta(seconds=30),
        timedelta(seconds=60),
    )
    assert (settings.patient.mode, settings.patient.issuers, settings.patient.missing_id) == (
        "own",
        {},
        "surrogate",
    )
    assert (settings.mapping.strict, settings.mapping.timezone) == (False, None)
    assert settings.state.url == "sqlite:///dicomcast.db"
    assert (settings.worker.poll_interval, settings.worker.retry_budget) == (
        timedelta(minutes=1),
        timedelta(minutes=2),
    )
    assert (settings.worker.start, settings.worker.concurrency, settings.worker.window) == (
        "beginning",
        4,
        2500,
    )
    assert (settings.log.level, settings.log.format) == ("info", "auto")


@pytest.mark.parametrize("variable", KNOWN.values(), ids=lambda variable: variable.name)
def test_every_setting_is_described(variable: settings_sources.Variable) -> None:
    """The reference page and the errors have something to say about every setting."""
    assert variable.description.endswith(".")
    assert variable.written


@pytest.mark.parametrize("variable", KNOWN.values(), ids=lambda variable: variable.name)
def test_defaults_are_valid_as_written(variable: settings_sources.Variable) -> None:
    """A default that is copied from the reference page into the environment means the same."""
    if variable.default in (None, *KNOWN):
        return
    assert load(**{variable.name.removeprefix("DICOMCAST_"): variable.default}) == load()


def test_settings_are_frozen_and_closed() -> None:
    """Neither a group nor the tree can be changed, or given a field that it does not have."""
    settings = load()
    with pytest.raises(ValidationError):
        settings.log = settings.log  # type: ignore[misc]  # the mistake under test
    with pytest.raises(ValidationError):
        settings.fhir.url = "https://other.example.com"  # type: ignore[misc]  # the mistake under test
    with pytest.raises(ValidationError):
        FhirSettings.model_validate({"url": "https://fhir.example.com", "endpoint": "x"})


def test_constructor_reads_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings made by hand are what the hand wrote, whatever the environment says."""
    monkeypatch.setenv("DICOMCAST_LOG__LEVEL", "debug")
    monkeypatch.setenv("DICOMCAST_DICOM__URL", "https://other.example.com")
    settings = Settings(
        dicom=DicomSettings(url="https://dicom.example.com"),
        fhir=FhirSettings(url="https://fhir.example.com/r4"),
        patient=PatientSettings(system="urn:oid:1.2.3"),
    )
    assert settings == load()


# --- Sources ---


def test_given_environment_is_the_only_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process environment counts when none is given, and only then."""
    monkeypatch.setenv("DICOMCAST_LOG__LEVEL", "debug")
    assert load().log.level == "info"
    for name, value in REQUIRED.items():
        monkeypatch.setenv(name, value)
    assert load_settings().log.level == "debug"


def test_names_in_any_case() -> None:
    """Variables may be written in lower case."""
    assert load_settings({name.lower(): value for name, value in REQUIRED.items()}) == load()


def test_precedence(tmp_path: Path) -> None:
    """The environment wins over secret files, these over the TOML file, and groups merge field by field."""
    config = tmp_path / "dicomcast.toml"
    config.write_text(
        """
        [log]
        level = "error"
        format = "json"
        [worker]
        window = 10
        [fhir.auth]
        kind = "bearer"
        token = "from-toml"
        """
    )
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "DICOMCAST_FHIR__AUTH__TOKEN").write_text("from-secret\n")
    (secrets / "dicomcast_log__level").write_text("warning")
    (secrets / "other-service-password").write_bytes(b"\xff")
    (secrets / "kubernetes.io").mkdir()
    environ = REQUIRED | {"DICOMCAST_CONFIG": str(config), "DICOMCAST_LOG__LEVEL": "debug"}

    settings = load_settings(environ, secrets_dir=secrets)

    assert isinstance(settings.fhir.auth, BearerAuth)
    assert settings.fhir.auth.token.get_secret_value() == "from-secret"
    assert (settings.log.level, settings.log.format, settings.worker.window) == ("debug", "json", 10)
    assert load_settings(environ | {"DICOMCAST_SECRETS_DIR": str(secrets)}) == settings


def test_default_secrets_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Secret files are found without being asked for, where container engines mount them."""
    assert Path("/run/secrets") == MOUNT
    monkeypatch.setattr(settings_sources, "DEFAULT_SECRETS_DIR", tmp_path)
    (tmp_path / "DICOMCAST_LOG__LEVEL").write_text("error\n")
    assert load().log.level == "error"


def test_toml_values_have_types(tmp_path: Path) -> None:
    """Integers, booleans, times and tables of the TOML file need no quotes."""
    config = tmp_path / "dicomcast.toml"
    config.write_text(
        """
        mapping.strict = true
        worker.concurrency = 8
        worker.start = 2025-01-31T00:00:00Z
        [patient.issuers]
        "Hospital A" = "urn:oid:1.2.4"
        """
    )
    settings = load(CONFIG=str(config))
    assert (settings.mapping.strict, settings.worker.concurrency) == (True, 8)
    assert settings.worker.start == datetime(2025, 1, 31, tzinfo=UTC)
    assert settings.patient.issuers == {"Hospital A": "urn:oid:1.2.4"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'[fhir]\nurl = "sesame\n', "is not TOML: see line 2"),
        (b'[fhir]\nurl = """sesame', "is not TOML: see its end"),
        (b"# \xff sesame", "is not UTF-8 text"),
        (None, "cannot read"),
    ],
)
def test_broken_config_file(tmp_path: Path, content: bytes | None, said: str) -> None:
    """A TOML file that is missing or broken is named, with the line and without its content."""
    config = tmp_path / "dicomcast.toml"
    if content is not None:
        config.write_bytes(content)
    line = problem(CONFIG=str(config))
    assert line.startswith("DICOMCAST_CONFIG: ")
    assert said in line
    assert str(config) in line
    assert "sesame" not in line


def test_broken_secrets(tmp_path: Path) -> None:
    """A directory that was named must exist, and a secret that is no text is named without its content."""
    assert "cannot read" in problem(SECRETS_DIR=str(tmp_path / "nowhere"))
    (tmp_path / "DICOMCAST_FHIR__AUTH__TOKEN").write_bytes(b"sesame\xff")
    assert problem(SECRETS_DIR=str(tmp_path)) == (
        "DICOMCAST_SECRETS_DIR: secret file DICOMCAST_FHIR__AUTH__TOKEN is not UTF-8 text"
    )


# --- Misspelt names ---


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("DICOMCAST_FIHR__URL", "DICOMCAST_FHIR__URL"),
        ("DICOMCAST_DICOM__ULR", "DICOMCAST_DICOM__URL"),
        ("DICOMCAST_LOG_LEVEL", "DICOMCAST_LOG__LEVEL"),
        ("DICOMCAST__LOG__LEVEL", "DICOMCAST_LOG__LEVEL"),
        ("dicomcast_fhir__auth__tokn", "DICOMCAST_FHIR__AUTH__TOKEN"),
        ("DICOMCAST_CONFG", "DICOMCAST_CONFIG"),
        ("DICOMCAST_DICOM", "DICOMCAST_DICOM__URL"),
        ("DICOMCAST_FHIR__URL__X", "DICOMCAST_FHIR__URL"),
    ],
)
def test_misspelt_variable(wrong: str, right: str) -> None:
    """A variable that nobody knows is refused, at any depth and in any case, and the nearest right one named."""
    assert problems(REQUIRED | {wrong: "sesame"}) == [
        f"{wrong.upper()}: there is no such setting; the nearest is {right}"
    ]


def test_misspelt_in_files(tmp_path: Path) -> None:
    """Secret files and TOML keys are held to the same rule, and their file is named."""
    (tmp_path / "DICOMCAST_FHIR__AUTH__TOKNE").write_text("sesame")
    config = tmp_path / "dicomcast.toml"
    config.write_text('[worker]\nwindwo = 5\n[log]\nlevel = "info"')
    assert problems(REQUIRED | {"DICOMCAST_CONFIG": str(config)}, secrets_dir=tmp_path) == [
        "DICOMCAST_WORKER__WINDWO: there is no such setting; the nearest is DICOMCAST_WORKER__WINDOW "
        f"(in config {config})",
        "DICOMCAST_FHIR__AUTH__TOKNE: there is no such setting; the nearest is DICOMCAST_FHIR__AUTH__TOKEN "
        "(in secret file DICOMCAST_FHIR__AUTH__TOKNE)",
    ]


def test_kubernetes_service_links_are_not_misspelt() -> None:
    """A Service named dicomcast does not keep the pods beside it from starting."""
    links = ("SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT", "PORT_80_TCP", "PORT_80_TCP_ADDR")
    assert load(**dict.fromkeys(links, "10.0.0.1")) == load()
    assert load(**{f"METRICS_{link}": "10.0.0.1" for link in links}) == load()
    assert "DICOMCAST_PORT: there is no such setting" in problem(PORT="80")


# --- Values ---


def test_missing_are_listed_together() -> None:
    """With nothing set, all that is required is named and described at once."""
    assert problems({}) == [
        "DICOMCAST_DICOM__URL is not set: the base URL of the DICOM service, e.g. https://clinic.dicom.example.com",
        "DICOMCAST_FHIR__URL is not set: the base URL of the FHIR server, e.g. https://server.example.com/fhir",
        "DICOMCAST_PATIENT__SYSTEM is not set: the system (absolute URI) of PatientID where no issuer says otherwise, "
        "e.g. https://hospital.example.com/mrn",
    ]


@pytest.mark.parametrize("url", ["https://host.example/a", "http://127.0.0.1:8080", "http://[::1]:80/a/b"])
def test_url(url: str) -> None:
    """URLs are kept as written, but for slashes at their end."""
    settings = load(DICOM__URL=url, DICOM__PUBLIC_URL=url + "//", FHIR__URL=url + "/")
    assert (settings.dicom.url, settings.dicom.public_url, settings.fhir.url) == (url, url, url)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "write an http or https URL"),
        ("sesame.example", "write an http or https URL"),
        ("ftp://sesame.example", "write an http or https URL"),
        ("https://", "write an http or https URL"),
        ("https://[sesame", "write an http or https URL"),
        ("https://host.example:sesame", "write an http or https URL"),
        ("https://host.example:99999", "write an http or https URL"),
        ("https://user:sesame@host.example", "take user name and password out"),
        ("https://sesame@host.example", "take user name and password out"),
        ("https://host.example/?code=sesame", "take the query"),
        ("https://host.example/?", "take the query"),
        ("https://host.example/#sesame", "take the query"),
        ("https://host.example/ses ame", "take the blanks"),
        ("https://host.example/\nsesame", "take the blanks"),
    ],
)
def test_url_refused(url: str, said: str) -> None:
    """What is no plain base URL is refused with what to do about it, and credentials are not repeated."""
    line = problem(FHIR__URL=url)
    assert line.startswith(f"DICOMCAST_FHIR__URL: {said}")
    assert "sesame" not in line


@pytest.mark.parametrize("system", ["", " ", "mrn", "urn:oid:1 2", "urn:", "https://a.example/mrn|x", "1a:b"])
def test_patient_system_refused(system: str) -> None:
    """A system that is no absolute URI is refused, and the reason given: equal PatientIDs would collide."""
    line = problem(PATIENT__SYSTEM=system)
    assert line.startswith("DICOMCAST_PATIENT__SYSTEM: write an absolute URI")
    assert "would be one patient" in line


@pytest.mark.parametrize("system", ["urn:oid:1.2.03", "urn:oid:1", "urn:oid:3.1", "urn:oid:1.2.x"])
def test_patient_system_that_is_no_oid_is_refused(system: str) -> None:
    """What stands behind urn:oid: has to be an OID, or a FHIR server refuses every Patient."""
    assert problem(PATIENT__SYSTEM=system).startswith("DICOMCAST_PATIENT__SYSTEM: write an OID behind urn:oid:")


def test_issuers() -> None:
    """Issuers are JSON in the environment, and their systems are held to the rule of all systems."""
    assert load(PATIENT__ISSUERS='{"A": "urn:oid:1.2.4"}').patient.issuers == {"A": "urn:oid:1.2.4"}
    assert problem(PATIENT__ISSUERS='{"sesame": "no"}').startswith("DICOMCAST_PATIENT__ISSUERS: write an absolute")
    assert problem(PATIENT__ISSUERS="{sesame").startswith("DICOMCAST_PATIENT__ISSUERS: write JSON, such as")
    assert problem(PATIENT__ISSUERS='["sesame"]') == "DICOMCAST_PATIENT__ISSUERS: write JSON (in TOML, a table)"
    assert problem(PATIENT__ISSUERS="[" * 100_000).startswith("DICOMCAST_PATIENT__ISSUERS: write JSON")


@pytest.mark.parametrize(
    ("start", "read"),
    [
        ("beginning", "beginning"),
        ("Latest", "latest"),
        ("0", 0),
        ("12345678901", 12_345_678_901),
        ("2025-01-31T00:00:00Z", datetime(2025, 1, 31, tzinfo=UTC)),
        ("2025-01-31T01:00:00+01:00", datetime(2025, 1, 31, tzinfo=UTC)),
    ],
)
def test_start(start: str, read: object) -> None:
    """A start is a word, a sequence or an instant, and of the type that says which."""
    found = load(WORKER__START=start).worker.start
    assert (found, type(found)) == (read, type(read))


@pytest.mark.parametrize(
    ("start", "said"),
    [
        ("", "write beginning, latest"),
        ("-1", "write beginning, latest"),
        ("end", "write beginning, latest"),
        ("9" * 5000, "write beginning, latest"),
        ("2025-01-31T00:00:00", "say which zone"),
        ("2025-01-31", "say which zone"),
    ],
)
def test_start_refused(start: str, said: str) -> None:
    """A start that is none of these is refused, and so is a time that could be any of 26 hours."""
    assert problem(WORKER__START=start).startswith(f"DICOMCAST_WORKER__START: {said}")


def test_negative_start_in_toml(tmp_path: Path) -> None:
    """A negative sequence is no time before 1970, which pydantic would make of it."""
    (tmp_path / "config").write_text("worker.start = -1")
    assert "not negative" in problem(CONFIG=str(tmp_path / "config"))


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("DICOM__KIND", "pacs", "write azure"),
        ("DICOM__API_VERSION", "v3", "write auto, v1, v2"),
        ("DICOM__SAFETY_LAG", "61m", "write a duration, such as 30s or 1h30m, from 0s to 1h"),
        ("DICOM__TIMEOUT", "0s", "write a duration, such as 30s or 1h30m, from 1s to 1h"),
        ("WORKER__POLL_INTERVAL", "30", "a number needs a unit: write 30s for thirty seconds"),
        ("WORKER__RETRY_BUDGET", "soon", "write a duration such as 30s, 4m, 1h30m or PT30S"),
        ("PATIENT__MODE", "delete", "write link, create, own, update"),
        ("PATIENT__MISSING_ID", "invent", "write skip, surrogate"),
        ("MAPPING__STRICT", "perhaps", "write true or false"),
        ("MAPPING__TIMEZONE", "Mars/Olympus", "write the name of an IANA time zone, such as Europe/Berlin"),
        ("MAPPING__TIMEZONE", "../etc/passwd", "write the name of an IANA time zone, such as Europe/Berlin"),
        ("MAPPING__TIMEZONE", "", "write the name of an IANA time zone, such as Europe/Berlin"),
        ("STATE__URL", "redis://cache", "write sqlite:///FILE (known state stores: sqlite)"),
        ("STATE__URL", "sqlite:///", "write sqlite:///FILE (known state stores: sqlite)"),
        ("WORKER__CONCURRENCY", "0", "write a whole number, from 1 to 64"),
        ("WORKER__CONCURRENCY", "65", "write a whole number, from 1 to 64"),
        ("WORKER__WINDOW", "10001", "write a whole number, from 1 to 10000"),
        ("WORKER__WINDOW", "many", "write a whole number, from 1 to 10000"),
        ("LOG__LEVEL", "loud", "write debug, info, warning, error"),
        ("LOG__FORMAT", "xml", "write auto, json, console"),
    ],
)
def test_value_refused(name: str, value: str, said: str) -> None:
    """A value that does not fit is refused with what to write instead."""
    assert problem(**{name: value}) == f"DICOMCAST_{name}: {said}"


def test_values_accepted() -> None:
    """Values at the edge of what is allowed are read, and a log level in any case."""
    settings = load(DICOM__SAFETY_LAG="0s", WORKER__CONCURRENCY="64", LOG__LEVEL="INFO", MAPPING__TIMEZONE="Asia/Tokyo")
    assert (settings.dicom.safety_lag, settings.worker.concurrency) == (timedelta(0), 64)
    assert (settings.log.level, settings.mapping.timezone) == ("info", "Asia/Tokyo")


def test_origin_of_a_bad_value(tmp_path: Path) -> None:
    """A bad value that is not in the environment is reported with the file it is in."""
    config = tmp_path / "dicomcast.toml"
    config.write_text('log.level = "loud"')
    assert problem(CONFIG=str(config)).endswith(f"write debug, info, warning, error (in config {config})")


# --- Credentials ---


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
        ({"KIND": "digest"}, ["KIND: write none, basic, bearer"]),
        ({"TOKEN": "sesame"}, ["KIND is not set: write none, basic, bearer"]),
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


# --- What errors tell ---

MARK = "s3same"
DISGUISES = (
    "{}", "{}s", "https://u:{}@host", "https://host/?{}", "https://host:{}", "ftp://{}", "https://{} x", "{{{}",
    '{{"{}": "{}"}}', '["{}"]', "sqlite:/{}", "2025-01-{}", "2025-01-01T00:00:00{}", "urn {}", "a:{}:b", "{}\n",
    "../{}",
)  # fmt: skip


@given(
    st.dictionaries(st.sampled_from([*KNOWN, "DICOMCAST_FIHR__TOKEN"]), st.sampled_from(DISGUISES), min_size=1),
    st.sampled_from(["none", "basic", "bearer", MARK]),
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


# --- Without servers ---


def test_offline_settings() -> None:
    """A command without servers runs on nothing at all, ignores their settings, and still knows a misspelt name."""
    assert load_offline_settings({}).patient.system is None
    settings = load_offline_settings({"DICOMCAST_PATIENT__SYSTEM": "urn:oid:1.2.3", "DICOMCAST_FHIR__URL": "nonsense"})
    assert settings.patient.system == "urn:oid:1.2.3"
    with pytest.raises(ConfigError, match="the nearest is DICOMCAST_FHIR__URL"):
        load_offline_settings({"DICOMCAST_FIHR__URL": "https://fhir.example.com"})
    with pytest.raises(ConfigError, match="DICOMCAST_PATIENT__SYSTEM: write an absolute URI"):
        load_offline_settings({"DICOMCAST_PATIENT__SYSTEM": "mrn"})


def test_effective(tmp_path: Path) -> None:
    """Every setting is listed with its value and source; secrets are hidden, and defaults follow what they copy."""
    config = tmp_path / "dicomcast.toml"
    config.write_text("mapping.strict = true\nworker.start = 2025-01-31T00:00:00Z")
    (tmp_path / "DICOMCAST_FHIR__AUTH__TOKEN").write_text("sesame")
    environ = {
        "DICOMCAST_CONFIG": str(config),
        "DICOMCAST_DICOM__URL": "https://dicom.example.com",
        "DICOMCAST_FHIR__AUTH__KIND": "bearer",
    }
    settings = effective(environ, secrets_dir=tmp_path)
    assert [each.variable for each in settings] == list(KNOWN)
    assert "sesame" not in str(settings)
    wanted = {
        Setting("DICOMCAST_DICOM__URL", "https://dicom.example.com", "environment"),
        Setting("DICOMCAST_DICOM__PUBLIC_URL", "https://dicom.example.com", "default"),
        Setting("DICOMCAST_FHIR__URL", "", "not set"),
        Setting("DICOMCAST_FHIR__AUTH__TOKEN", "********", "secret file DICOMCAST_FHIR__AUTH__TOKEN"),
        Setting("DICOMCAST_MAPPING__STRICT", "true", f"config {config}"),
        Setting("DICOMCAST_MAPPING__TIMEZONE", "", "not set"),
        Setting("DICOMCAST_WORKER__START", "2025-01-31T00:00:00+00:00", f"config {config}"),
        Setting("DICOMCAST_WORKER__POLL_INTERVAL", "1m", "default"),
    }
    assert wanted <= set(settings)


def test_effective_with_nothing_set() -> None:
    """Missing settings are no reason not to show the others, and what copies a missing one is not set either."""
    settings = {each.variable: each for each in effective({})}
    assert {settings[name].source for name in (*REQUIRED, "DICOMCAST_DICOM__PUBLIC_URL")} == {"not set"}


def test_effective_refuses_what_is_wrong() -> None:
    """A bad value is an error and not shown: it may be a secret in the wrong place."""
    with pytest.raises(ConfigError, match=r"^DICOMCAST_FHIR__URL: take user name and password out") as caught:
        effective({"DICOMCAST_FHIR__URL": "https://user:sesame@host.example"})
    assert caught.value.__context__ is None


# --- Durations ---


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30), ("4m", 240), ("1h30m", 5400), ("500ms", 0.5), ("1.5s", 1.5), ("1D", 86_400), (" 2m ", 120),
        ("PT30S", 30), ("PT1H30M", 5400), ("P1DT1S", 86_401), ("PT0,5S", 0.5), ("pt4m", 240), ("0s", 0),
    ],
)  # fmt: skip
def test_duration(text: str, seconds: float) -> None:
    """Durations read as people write them, and as ISO 8601 does."""
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["30", "1.5", "0", "", "s", "P", "PT", "P1M", "P1DT", "-30s", "30 s", "1m1h", "1w", "inf"]
)
def test_duration_refused(text: str) -> None:
    """A bare number, a month, a sign and the empty string are refused, with an example of what is right."""
    with pytest.raises(ValueError, match="write .*30s"):
        parse_duration(text)


@given(st.integers(min_value=0, max_value=10**13).map(lambda count: timedelta(milliseconds=count)))
def test_duration_round_trip(duration: timedelta) -> None:
    """What is printed reads as the same duration, to the millisecond."""
    assert parse_duration(format_duration(duration)) == duration


def test_duration_prints_short() -> None:
    """A duration prints as an operator would write it."""
    printed = [format_duration(parse_duration(text)) for text in ("PT5400S", "500ms", "0s", "90s")]
    assert printed == ["1h30m", "500ms", "0s", "1m30s"]


# --- The reference page ---


def test_reference_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The page is what the code says now, `--check` tells when it is not, and a run mends it."""
    script = Path(__file__).parents[2] / "docs" / "generate.py"
    spec = importlib.util.spec_from_file_location("generate", script)
    assert spec is not None and spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)

    assert generate.main(["--check"]) == 0
    assert generate.main(["--check"], tmp_path) == 1
    assert "docs/reference/settings.md: stale" in capsys.readouterr().err
    assert generate.main([], tmp_path) == 0
    assert generate.main(["--check"], tmp_path) == 0
    assert all(name in (tmp_path / "reference" / "settings.md").read_text() for name in KNOWN)
