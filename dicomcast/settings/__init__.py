"""Everything an operator can set: one frozen tree, read once, all of its problems told at once.

`DICOMCAST_FHIR__URL` is `settings.fhir.url`; the same name is a file in `/run/secrets`, a secret in the Key Vault that
DICOMCAST_KEYVAULT names, and `url` under `[fhir]` in the TOML file that DICOMCAST_CONFIG names. The environment wins
over the secret files, these over the vault, and that over the TOML file. The descriptions below are the reference page
(docs/reference/settings.md).
"""

from dicomcast.settings.auth import (
    Auth,
    AzureAuth,
    BasicAuth,
    BearerAuth,
    ClientCredentialsAuth,
    NoAuth,
    SmartBackendAuth,
)
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
from dicomcast.settings.load import (
    KNOWN,
    OfflineSettings,
    Setting,
    Settings,
    effective,
    load_offline_settings,
    load_settings,
)
from dicomcast.settings.peers import DicomSettings, FhirSettings
from dicomcast.settings.values import Start

__all__ = [
    "KNOWN",
    "Auth",
    "AzureAuth",
    "BasicAuth",
    "BearerAuth",
    "ClientCredentialsAuth",
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
    "SmartBackendAuth",
    "Start",
    "StateSettings",
    "TelemetrySettings",
    "WorkerSettings",
    "effective",
    "load_offline_settings",
    "load_settings",
]
