"""All groups of settings but those of the two peers; their descriptions are the reference page."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from dicomcast.durations import parse_duration
from dicomcast.settings.group import Group
from dicomcast.settings.values import (
    Address,
    ClientId,
    ConnectionString,
    Duration,
    Extras,
    IdentifierValue,
    Instances,
    Issuers,
    LogLevel,
    StartAt,
    StateUrl,
    TablePrefix,
    Uri,
    Zone,
    between,
)

__all__ = [
    "HealthSettings",
    "LogSettings",
    "MappingSettings",
    "PatientRules",
    "PatientSettings",
    "StateSettings",
    "TelemetrySettings",
    "WorkerSettings",
]


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
    instances: Instances = Field(
        default=10_000,
        description="Of how many instances a study may be so that each is listed in it (`full`: of any number; "
        "`counts`: none is ever listed). The series of a larger one have `numberOfInstances` alone, and all its "
        "metadata are read with each change; see [very large studies](../explanation/design.md#very-large-studies).",
    )
    compat: bool = Field(
        default=False,
        description="Whether StudyDescription stands in `ImagingStudy.note` too, where queries made for DICOM Cast "
        "look for it.",
    )


class StateSettings(Group):
    """Where the cursor and the parked studies are kept."""

    url: StateUrl = Field(
        default="sqlite:///dicomcast.db",
        description="The state store: a file, whose disk must be durable and local (no network share), or a table in a "
        "storage account of Azure, which is reached as the identity that the machine has there. "
        "[Which one where](../how-to/state-stores.md).",
    )
    connection_string: ConnectionString | None = Field(
        default=None,
        validate_default=True,
        description="The connection string of the storage account, where there is no identity; STATE__URL is "
        "`azure-tables://` then.",
    )
    table_prefix: TablePrefix = Field(
        default="",
        description="What the name of the table begins with, before `dicomcast`: each deployment that shares a storage "
        "account has another.",
    )
    client_id: ClientId | None = Field(
        default=None, description="The identity that the storage account is asked as, where the machine has several."
    )

    @field_validator("connection_string")
    @classmethod
    def _one_account(cls, secret: SecretStr | None, known: ValidationInfo) -> SecretStr | None:
        url = known.data.get("url", "")
        if url == "azure-tables://" and secret is None:
            raise ValueError("set it, or write the account into STATE__URL: azure-tables://ACCOUNT")
        if secret is not None and url and url != "azure-tables://":
            raise ValueError("it says itself which account: write STATE__URL=azure-tables://, or remove it")
        return secret


class WorkerSettings(Group):
    """The pace of the work."""

    poll_interval: Annotated[Duration, between("1s", "1d")] = Field(
        default=parse_duration("1m"),
        description="How often the change feed is asked once it has been read to its end.",
    )
    settle: Annotated[Duration, between("0s", "1h")] = Field(
        default=parse_duration("0s"),
        description="How long a study in arrival may collect: entries are read when none has come behind them for so "
        "long, with 0s at the next poll. `run --once` does not wait, and an archive that is only searched (`dicomweb`) "
        "does not tell that there is something to wait for.",
    )
    settle_limit: Annotated[Duration, between("1s", "1d")] = Field(
        default=parse_duration("5m"),
        description="How long an entry waits at most for others to come behind it: where the archive is never quiet, "
        "this is how often it is read.",
    )
    start: StartAt = Field(
        default="beginning",
        description="Where in the change feed the first run starts; later runs go on from the cursor.",
    )
    concurrency: Annotated[int, Field(ge=1, le=64)] = Field(
        default=4, description="How many studies are cast at the same time."
    )
    window: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=2500,
        description="How many entries of the change feed are settled together, at most; with 8 MiB of metadata "
        "a window is full too, so that memory stays small while much is to be read.",
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
    """The health port: /livez, /readyz and /metrics, and [the status page](../how-to/status-page.md) at /."""

    port: Annotated[int, Field(ge=1, le=65535)] | None = Field(
        default=None, description="The port; unset, there is none."
    )
    address: Address = Field(default="0.0.0.0", description="The address to listen on.")


class TelemetrySettings(Group):
    """Traces and metrics that are sent away ([how to](../how-to/telemetry.md)); never a patient, nor a UID.

    Where to is told by the variables that OpenTelemetry and Azure Monitor have for it.
    """

    exporter: Literal["none", "otlp", "azure-monitor"] = Field(
        default="none",
        description="What sends them: OTLP over HTTP, to `OTEL_EXPORTER_OTLP_ENDPOINT`, or Azure Monitor. Each of them "
        "needs its extra.",
    )
    connection_string: SecretStr | None = Field(
        default=None,
        description="That of Application Insights; unset, `APPLICATIONINSIGHTS_CONNECTION_STRING` has it.",
    )


class LogSettings(Group):
    """What is logged to stderr; never a patient."""

    level: LogLevel = Field(default="info", description="The least severe level that is logged.")
    format: Literal["auto", "json", "console"] = Field(
        default="auto",
        description="One JSON object a line, or text for people; `auto` is `console` on a terminal.",
    )
