"""The versions of FHIR, each an adapter between its resources and those of R4. Pure.

All of dicomcast maps, merges and compares resources in the shape of R4. What is read from a server of another version
is brought into that shape, and out of it again before it is written. `write(read(resource)) == resource` for every
resource, whoever wrote it: what R4 cannot say travels along (`lens`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from dicomcast.mapping.rules import Rules
from dicomcast.mapping.values import JSON
from dicomcast.model import Extra
from dicomcast.versions import r5

__all__ = ["R4", "R4B", "R5", "VERSIONS", "Version"]


@dataclass(frozen=True, slots=True)
class Version:
    """A version of FHIR: its number as a CapabilityStatement's fhirVersion begins, and its name.

    `extras` is what it has that R4 has only where a site asks for it.
    """

    number: str
    name: str
    read: Callable[[JSON], JSON]
    write: Callable[[JSON], JSON]
    extras: frozenset[Extra] = frozenset()

    def rules(self, rules: Rules) -> Rules:
        """What a site decides about the mapping, and what the version does."""
        return replace(rules, extras=rules.extras | self.extras)

    def is_spoken(self, fhir_version: str) -> bool:
        """Whether a server that states this fhirVersion, such as 5.0.0, speaks it."""
        return fhir_version.split(".")[:2] == self.number.split(".")


def _as_it_is(resource: JSON) -> JSON:
    return resource


R4 = Version("4.0", "R4", _as_it_is, _as_it_is)
# Patient, ImagingStudy and Endpoint have the same StructureDefinitions in R4 and R4B.
R4B = Version("4.3", "R4B", _as_it_is, _as_it_is)
# R5 imagingstudy-definitions.html: the modalities of all series, those without acquisition too.
R5 = Version("5.0", "R5", r5.read, r5.write, frozenset({Extra.ALL_MODALITIES}))

VERSIONS = {version.number: version for version in (R4, R4B, R5)}
