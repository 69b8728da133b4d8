"""What a site decides about the mapping."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import tzinfo

from dicomcast.model import Extra

__all__ = ["Rules"]


@dataclass(frozen=True, slots=True)
class Rules:
    """Settings of the mapping, as plain values.

    `patient_system` is the system of a PatientID without issuer, `accession_system` that of an
    AccessionNumber, `issuers` the systems of local issuer names, `unknown_issuer_is_site` whether a
    PatientID of any other issuer has `patient_system` too, else it counts as missing, `surrogate`
    whether a study without PatientID gets a Patient of its own, `timezone` the site's zone for times
    without (0008,0201), `extras` what is mapped beside the usual, `compat` whether a study's description is its `note`
    too, as DICOM Cast had it, `strict` whether a study with an `Issue` is refused.
    """

    patient_system: str
    accession_system: str = ""
    issuers: Mapping[str, str] = field(default_factory=dict)
    unknown_issuer_is_site: bool = True
    surrogate: bool = True
    timezone: tzinfo | None = None
    extras: frozenset[Extra] = frozenset()
    compat: bool = False
    strict: bool = False
