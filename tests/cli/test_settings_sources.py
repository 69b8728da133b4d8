"""Where settings come from, which source wins, and names that nobody knows."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from dicomcast.settings import (
    BearerAuth,
    load_settings,
    sources,
)
from tests.given_settings import REQUIRED, load, problem, problems

MOUNT = sources.DEFAULT_SECRETS_DIR  # as shipped


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
    monkeypatch.setattr(sources, "DEFAULT_SECRETS_DIR", tmp_path)
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
