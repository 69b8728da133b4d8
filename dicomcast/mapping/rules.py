"""What a site decides about the mapping."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import tzinfo

from dicomcast.model import Extra, MissingId

__all__ = ["Rules"]


@dataclass(frozen=True, slots=True)
class Rules:
    """Settings of the mapping, as plain values.

    `patient_system` is the system of a PatientID without issuer, `accession_system` that of an
    AccessionNumber, `issuers` the systems of local issuer names, `unknown_issuer_is_site` whether a
    PatientID of any other issuer has `patient_system` too, else it counts as missing, `missing_id` what
    becomes of a study without PatientID, `unknown` the PatientID of the one Patient whom such studies may
    share, `timezone` the site's zone for times without (0008,0201), `extras` what is mapped beside the usual,
    `compat` whether a study's description is its `note` too, as DICOM Cast had it, `strict` whether a study
    with an `Issue` is refused, `most_listed` of how many instances a study may be so that they are listed in it
    (None: of any number), and not only counted.
    """

    patient_system: str
    accession_system: str = ""
    issuers: Mapping[str, str] = field(default_factory=dict)
    unknown_issuer_is_site: bool = True
    missing_id: MissingId = MissingId.SURROGATE
    unknown: str = ""
    timezone: tzinfo | None = None
    extras: frozenset[Extra] = frozenset()
    compat: bool = False
    strict: bool = False
    most_listed: int | None = None

    def is_nobody(self, system: str, value: str) -> bool:
        """Whether an identifier is that of the one Patient whom studies without PatientID share."""
        return self.missing_id is MissingId.UNKNOWN and (system, value) == (self.patient_system, self.unknown)
