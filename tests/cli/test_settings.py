"""The tree of settings: its defaults, its reference page, and what is shown of it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from dicomcast.errors import ConfigError
from dicomcast.settings import (
    KNOWN,
    DicomSettings,
    FhirSettings,
    PatientSettings,
    Setting,
    Settings,
    effective,
    load_offline_settings,
    sources,
)
from docs import generate
from tests.given_settings import REQUIRED, load


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
def test_every_setting_is_described(variable: sources.Variable) -> None:
    """The reference page and the errors have something to say about every setting."""
    assert variable.description.endswith(".")
    assert variable.written


@pytest.mark.parametrize("variable", KNOWN.values(), ids=lambda variable: variable.name)
def test_defaults_are_valid_as_written(variable: sources.Variable) -> None:
    """A default that is copied from the reference page into the environment means the same."""
    of_a_kind = "__AUTH__" in variable.name and not variable.name.endswith("KIND")  # alone it means nothing
    if variable.default in (None, *KNOWN) or of_a_kind:
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


@pytest.mark.parametrize("kind", ["azure", "orthanc", "dicomweb"])
@pytest.mark.parametrize("fhir", [{}, {"DICOMCAST_FHIR__URL": "https://fhir.example.com/r4"}])
def test_where_fhir_clients_reach_an_archive(kind: str, fhir: dict[str, str]) -> None:
    """Unless it is set: where we do, but an Orthanc below its root. It is shown so, whatever else is missing yet."""
    public = "https://dicom.example.com" + ("/dicom-web" if kind == "orthanc" else "")
    environ = {"DICOMCAST_DICOM__URL": "https://dicom.example.com/", "DICOMCAST_DICOM__KIND": kind, **fhir}
    assert Setting("DICOMCAST_DICOM__PUBLIC_URL", public, "default") in effective(environ)
    assert Setting("DICOMCAST_DICOM__PUBLIC_URL", "", "not set") in effective(
        {**environ, "DICOMCAST_DICOM__AUTH__KIND": "basic"}  # whose user name is missing
    )
    assert load(DICOM__KIND=kind).dicom.public_url == public
    told = "https://clinic.example.com/dicomweb"
    assert load(DICOM__KIND=kind, DICOM__PUBLIC_URL=told).dicom.public_url == told
    given = effective({**environ, "DICOMCAST_DICOM__PUBLIC_URL": told})
    assert Setting("DICOMCAST_DICOM__PUBLIC_URL", told, "environment") in given


def test_effective_with_nothing_set() -> None:
    """Missing settings are no reason not to show the others, and what copies a missing one is not set either."""
    settings = {each.variable: each for each in effective({})}
    assert {settings[name].source for name in (*REQUIRED, "DICOMCAST_DICOM__PUBLIC_URL")} == {"not set"}


def test_effective_refuses_what_is_wrong() -> None:
    """A bad value is an error and not shown: it may be a secret in the wrong place."""
    with pytest.raises(ConfigError, match=r"^DICOMCAST_FHIR__URL: take user name and password out") as caught:
        effective({"DICOMCAST_FHIR__URL": "https://user:sesame@host.example"})
    assert caught.value.__context__ is None


def test_reference_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The page is what the code says now, `--check` tells when it is not, and a run mends it."""
    assert generate.main(["--check"]) == 0
    assert generate.main(["--check"], tmp_path) == 1
    assert "docs/reference/settings.md: stale" in capsys.readouterr().err
    assert generate.main([], tmp_path) == 0
    assert generate.main(["--check"], tmp_path) == 0
    assert all(name in (tmp_path / "docs" / "reference" / "settings.md").read_text() for name in KNOWN)
