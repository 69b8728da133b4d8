"""The two peers: the archive that is followed, and the FHIR server that is kept in step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from dicomcast.durations import parse_duration
from dicomcast.settings.auth import Auth, NoAuth
from dicomcast.settings.group import Group
from dicomcast.settings.tls import Tls, TlsFiles
from dicomcast.settings.values import Duration, HttpUrl, Timeout, between

__all__ = ["DicomSettings", "FhirSettings"]


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
    search_lag: Annotated[Duration, between("0s", "10m")] = Field(
        default=parse_duration("0s"),
        description="How long a search may miss what was just written, on servers whose index runs behind (Google's, "
        "AWS's): no search is made sooner after a write, or after the start.",
    )
    auth: Auth = NoAuth()
    tls: Tls = TlsFiles()
