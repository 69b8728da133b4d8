"""Everything an operator can set: one frozen tree, read once, all of its problems told at once.

`DICOMCAST_FHIR__URL` is `settings.fhir.url`; the same name is a file in `/run/secrets`, and `url` under
`[fhir]` in the TOML file that DICOMCAST_CONFIG names. The environment wins over the secret files, and
these over the TOML file. The descriptions below are the reference page (docs/reference/settings.md).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from dicomcast.durations import parse_duration
from dicomcast.errors import ConfigError
from dicomcast.settings_auth import Auth, BasicAuth, BearerAuth, Group, NoAuth
from dicomcast.settings_sources import DELIMITER, PREFIX, Given, explain, printed, read, tree, variables
from dicomcast.settings_tls import Tls, TlsFiles
from dicomcast.settings_values import (
    Address,
    Duration,
    Extras,
    HttpUrl,
    IdentifierValue,
    Issuers,
    LogLevel,
    SqliteUrl,
    Start,
    StartAt,
    Timeout,
    Uri,
    Zone,
    between,
)

__all__ = [
    "Auth",
    "BasicAuth",
    "BearerAuth",
    "DicomSettings",
    "FhirSettings",
    "HealthSettings",
    "LogSettings",
    "MappingSettings",
    "NoAuth",
    "OfflineSettings",
    "PatientRules",
    "PatientSettings",
    "Setting",
    "Settings",
    "Start",
    "StateSettings",
    "WorkerSettings",
    "effective",
    "load_offline_settings",
    "load_settings",
]


def _public_url(known: Mapping[str, str]) -> str:
    url = known.get("url", "")
    return f"{url}/dicom-web" if known.get("kind") == "orthanc" else url


class DicomSettings(Group):
    """The archive: a DICOM service with a change feed, an Orthanc, or any other that speaks DICOMweb."""

    url: HttpUrl = Field(
        description="The base URL of the archive, e.g. https://clinic.dicom.example.com: of a DICOM service without "
        "its version, of Orthanc its root, of any other what stands before `/studies`."
    )
    kind: Literal["azure", "orthanc", "dicomweb"] = Field(
        default="azure",
        description="The kind of archive: `azure` has a change feed, `orthanc` a log of what is new, and any other "
        "`dicomweb` archive is searched again and again.",
    )
    api_version: Literal["auto", "v1", "v2"] = Field(
        default="auto",
        description="The version of the change feed API; `auto` keeps to the cursor's, or else prefers v1. "
        "From v1 to v2 the feed is read on from an hour before the cursor; there is no way back.",
    )
    safety_lag: Annotated[Duration, between("0s", "1h")] = Field(
        default=parse_duration("30s"),
        description="How old an entry of the v2 feed must be before it is read, and a gap in v1 before it is passed: "
        "late entries may yet appear.",
    )
    recent: Annotated[Duration, between("1d", "365d")] = Field(
        default=parse_duration("3d"),
        description="How far back each poll of a `dicomweb` archive looks, by StudyDate; a sweep finds the others.",
    )
    sweep_interval: Annotated[Duration, between("1s", "30d")] = Field(
        default=parse_duration("1h"),
        description="How often an archive of kind `orthanc` or `dicomweb` is listed as a whole, to find what vanished "
        "and what nobody told. A sweep that takes long is repeated later: it has a tenth of the time.",
    )
    vanished_limit: Annotated[int, Field(ge=0, le=1_000_000)] | None = Field(
        default=None,
        description="Of so many studies a sweep believes that they vanished at once; unset, of half of those that were "
        "seen, but of no more than 100, and of 10 in any case. Where more are gone nothing is removed from FHIR, and "
        "the worker is blocked until they are back or this is set to more.",
    )
    public_url: HttpUrl = Field(
        default_factory=_public_url,
        description="The base URL at which FHIR clients reach the archive, for `Endpoint.address`; of kinds other than "
        "`azure` that of its DICOMweb, which for `orthanc` is below DICOM__URL at `/dicom-web`.",
    )
    timeout: Timeout = Field(default=parse_duration("60s"), description="How long one request to the archive may take.")
    auth: Auth = NoAuth()
    tls: Tls = TlsFiles()


class FhirSettings(Group):
    """The FHIR server that is kept in step."""

    url: HttpUrl = Field(description="The base URL of the FHIR server, e.g. https://server.example.com/fhir.")
    version: Literal["auto", "4.0", "4.3", "5.0"] = Field(
        default="auto",
        description="The version of FHIR; `auto` is the one that the server's CapabilityStatement states, and any "
        "other value must not contradict it.",
    )
    timeout: Timeout = Field(
        default=parse_duration("60s"), description="How long one request to the FHIR server may take."
    )
    auth: Auth = NoAuth()
    tls: Tls = TlsFiles()


class PatientRules(Group):
    """How patients are identified, and who may write them."""

    system: Uri | None = Field(default=None, description="The system of PatientID where no issuer says otherwise.")
    mode: Literal["link", "create", "own", "update"] = Field(
        default="own",
        description="What may be done to Patients: only `link` to them, `create` missing ones, also keep up "
        "those created here (`own`), or `update` all.",
    )
    issuers: Issuers = Field(
        default_factory=dict,
        description='The system URI of each IssuerOfPatientID, e.g. `{"HOSPITAL-A": "urn:oid:1.2.3"}`.',
    )
    unknown_issuer: Literal["site", "missing"] = Field(
        default="site",
        description="What becomes of a PatientID whose issuer is named but has no system: it has that of the `site`, "
        "so that equal PatientIDs of two hospitals are one patient, or counts as `missing`.",
    )
    missing_id: Literal["skip", "surrogate", "unknown"] = Field(
        default="surrogate",
        description="What becomes of a study without PatientID: `skip` it, let its study UID identify a "
        "`surrogate`, or hang it on the one `unknown` Patient.",
    )
    unknown: IdentifierValue | None = Field(
        default=None,
        validate_default=True,
        description="The identifier of the Patient whom all studies without PatientID share, in PATIENT__SYSTEM; with "
        "`unknown` it is required. It is created where there is none, with nothing but that, and never written to.",
    )

    @field_validator("unknown")
    @classmethod
    def _named_if_shared(cls, unknown: str | None, known: ValidationInfo) -> str | None:
        if unknown is None and known.data.get("missing_id") == "unknown":
            raise ValueError("with PATIENT__MISSING_ID=unknown, write the identifier of the Patient to be shared")
        return unknown


class PatientSettings(PatientRules):
    """How patients are identified, and who may write them."""

    system: Uri = Field(
        description="The system (absolute URI) of PatientID where no issuer says otherwise, e.g. "
        "https://hospital.example.com/mrn."
    )


class MappingSettings(Group):
    """How DICOM becomes FHIR."""

    strict: bool = Field(
        default=False,
        description="Whether a study with an issue is parked, instead of cast without the value that breaks a rule: an "
        "invalid value, an issuer that is named but not known, instances that contradict each other, or a Patient of "
        "others who does not match. A study that stands in FHIR is read whole with each change then.",
    )
    timezone: Zone | None = Field(
        default=None,
        description="The zone of times whose dataset has no TimezoneOffsetFromUTC; unset, only their date is mapped.",
    )
    accession_system: Uri | None = Field(
        default=None, description="The system of AccessionNumber where no issuer says otherwise; unset, it has none."
    )
    extras: Extras = Field(
        default=(),
        description="What is mapped beside the usual; [the mapping](mapping.md) says what each of them is.",
    )
    compat: bool = Field(
        default=False,
        description="Whether StudyDescription stands in `ImagingStudy.note` too, where queries made for DICOM Cast "
        "look for it.",
    )


class StateSettings(Group):
    """Where the cursor and the parked studies are kept."""

    url: SqliteUrl = Field(
        default="sqlite:///dicomcast.db",
        description="The state store; its disk must be durable and local (no network share).",
    )


class WorkerSettings(Group):
    """The pace of the work."""

    poll_interval: Annotated[Duration, between("1s", "1d")] = Field(
        default=parse_duration("1m"),
        description="How often the change feed is asked once it has been read to its end.",
    )
    start: StartAt = Field(
        default="beginning",
        description="Where in the change feed the first run starts; later runs go on from the cursor.",
    )
    concurrency: Annotated[int, Field(ge=1, le=64)] = Field(
        default=4, description="How many studies are cast at the same time."
    )
    window: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=2500, description="How many entries of the change feed are settled together."
    )
    lease: Annotated[Duration, between("1s", "1h")] = Field(
        default=parse_duration("1m"),
        description="How long another worker waits after the last sign of life of this one, before it takes over.",
    )
    retry_budget: Annotated[Duration, between("0s", "1d")] = Field(
        default=parse_duration("2m"),
        description="How long one request is retried before its server counts as down until the next poll.",
    )


class HealthSettings(Group):
    """The health port: /livez, /readyz and /metrics."""

    port: Annotated[int, Field(ge=1, le=65535)] | None = Field(
        default=None, description="The port; unset, there is none."
    )
    address: Address = Field(default="0.0.0.0", description="The address to listen on.")


class LogSettings(Group):
    """What is logged to stderr; never a patient."""

    level: LogLevel = Field(default="info", description="The least severe level that is logged.")
    format: Literal["auto", "json", "console"] = Field(
        default="auto",
        description="One JSON object a line, or text for people; `auto` is `console` on a terminal.",
    )


class Root(BaseSettings):
    """Constructed by hand it reads nothing: the sources are merged, and judged, by the loaders below."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter=DELIMITER,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

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
    _, given, problems = _read(Settings, environ, secrets_dir, missing_ok=True)
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
    settings, _, problems = _read(root, environ, secrets_dir)
    if settings is None or problems:
        raise ConfigError("\n".join(problems))
    return settings


def _read(
    root: type[AnyRoot],
    environ: Mapping[str, str] | None,
    secrets_dir: Path | None,
    *,
    missing_ok: bool = False,
) -> tuple[AnyRoot | None, dict[str, Given], list[str]]:
    """Read and judge. The error is raised by the caller, so that it has no context that knows the input."""
    given, problems = read(KNOWN, os.environ if environ is None else environ, secrets_dir)
    settings = None
    try:
        settings = root(**tree(root, given))
    except ValidationError as error:
        problems += explain(error, KNOWN, given, missing_ok=missing_ok)
    return settings, given, problems
