"""One tree of all settings, read once from its sources, with all of its problems told at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import TypeVar

from pydantic import PrivateAttr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from dicomcast.errors import ConfigError
from dicomcast.settings.groups import (
    HealthSettings,
    LogSettings,
    MappingSettings,
    PatientRules,
    PatientSettings,
    StateSettings,
    TelemetrySettings,
    WorkerSettings,
)
from dicomcast.settings.peers import DicomSettings, FhirSettings
from dicomcast.settings.sources import DELIMITER, PREFIX, Given, explain, printed, read, tree, variables

__all__ = ["KNOWN", "OfflineSettings", "Setting", "Settings", "effective", "load_offline_settings", "load_settings"]


class Root(BaseSettings):
    """Constructed by hand it reads nothing: the sources are merged, and judged, by the loaders below."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter=DELIMITER,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    _moved: tuple[str, ...] = PrivateAttr(default=())

    @property
    def moved(self) -> tuple[str, ...]:
        """What became of each setting of DICOM Cast's that was given."""
        return self._moved

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *_: PydanticBaseSettingsSource,
        **__: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take the constructor's arguments alone."""
        return (init_settings,)


class OfflineSettings(Root):
    """What a command that talks to no server needs."""

    patient: PatientRules = PatientRules()
    mapping: MappingSettings = MappingSettings()
    log: LogSettings = LogSettings()


class Settings(Root):
    """What `run` and its kin need; the groups in the order of the reference page."""

    dicom: DicomSettings
    fhir: FhirSettings
    patient: PatientSettings
    mapping: MappingSettings = MappingSettings()
    state: StateSettings = StateSettings()
    worker: WorkerSettings = WorkerSettings()
    health: HealthSettings = HealthSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    log: LogSettings = LogSettings()


KNOWN = variables(Settings)
AnyRoot = TypeVar("AnyRoot", Settings, OfflineSettings)


@dataclass(frozen=True, slots=True)
class Setting:
    """One line of `dicomcast config`: what is in effect, as text, and where it came from."""

    variable: str
    value: str
    source: str


def load_settings(environ: Mapping[str, str] | None = None, *, secrets_dir: Path | None = None) -> Settings:
    """Read all settings, or raise one ConfigError that lists everything wrong with them, a problem a line."""
    return _load(Settings, environ, secrets_dir)


def load_offline_settings(
    environ: Mapping[str, str] | None = None, *, secrets_dir: Path | None = None
) -> OfflineSettings:
    """Read what commands without servers need; the rest may be missing, but not misspelt."""
    return _load(OfflineSettings, environ, secrets_dir)


def effective(environ: Mapping[str, str] | None = None, *, secrets_dir: Path | None = None) -> list[Setting]:
    """List every setting with its source, secrets hidden; one that is missing is listed as not set."""
    _, given, problems, _ = _read(Settings, environ, secrets_dir, missing_ok=True)
    if problems:
        raise ConfigError("\n".join(problems))
    return [_setting(name, given) for name in KNOWN]


def _derived(name: str, given: Mapping[str, Given]) -> str:
    """A default that is made of others of its group; "" where that is not complete, as other groups need not be."""
    group, *path = name.removeprefix(PREFIX).lower().split(DELIMITER)
    kind = Settings.model_fields[group].annotation
    assert kind is not None
    try:
        return str(reduce(getattr, path, kind(**tree(Settings, given)[group])))
    except ValidationError:
        return ""


def _setting(name: str, given: Mapping[str, Given]) -> Setting:
    variable = KNOWN[name]
    if name in given:
        value = "********" if variable.secret else printed(given[name].value)
        return Setting(name, value, given[name].source)
    if variable.default in KNOWN:
        value = _derived(name, given) if _setting(variable.default, given).value else ""
        return Setting(name, value, "default" if value else "not set")
    return Setting(name, variable.default or "", "not set" if variable.default is None else "default")


def _load(root: type[AnyRoot], environ: Mapping[str, str] | None, secrets_dir: Path | None) -> AnyRoot:
    settings, _, problems, moved = _read(root, environ, secrets_dir)
    if settings is None or problems:
        raise ConfigError("\n".join(problems))
    settings._moved = tuple(moved)
    return settings


def _read(
    root: type[AnyRoot],
    environ: Mapping[str, str] | None,
    secrets_dir: Path | None,
    *,
    missing_ok: bool = False,
) -> tuple[AnyRoot | None, dict[str, Given], list[str], list[str]]:
    """Read and judge. The error is raised by the caller, so that it has no context that knows the input."""
    environ = os.environ if environ is None else environ
    given, problems, moved = read(KNOWN, environ, secrets_dir, offline=root is OfflineSettings)
    settings = None
    try:
        settings = root(**tree(root, given))
    except ValidationError as error:
        problems += explain(error, KNOWN, given, missing_ok=missing_ok)
    return settings, given, problems, moved
