"""People in a study: logical references, since an archive is no source of Practitioner resources."""

from __future__ import annotations

from itertools import zip_longest

from dicomcast.mapping.dataset import Dataset
from dicomcast.mapping.tags import tag
from dicomcast.mapping.values import JSON, names, system_of, without_empty

__all__ = ["people"]


def people(dataset: Dataset, name_keyword: str, identification_keyword: str) -> list[JSON]:
    """References to the people of a PN attribute, identified by the sequence beside it (PS3.3 §10.1).

    Item n of the sequence belongs to value n of the name; either may be missing.
    """
    displays = [name[0]["text"] if name else "" for name in names(dataset, name_keyword)]
    identifiers = [_identifier(item) for item in dataset.items(tag(identification_keyword))]
    references = []
    for display, identifier in zip_longest(displays, identifiers, fillvalue=None):
        reference = without_empty({"identifier": identifier, "display": display})
        if reference:
            references.append({"type": "Practitioner", **reference})
    return references


def _identifier(item: Dataset) -> JSON:
    """PersonIdentificationCodeSequence (0040,1101): the code is the person's id in the scheme named."""
    for code in item.items(tag("PersonIdentificationCodeSequence")):
        value = code.identifier(tag("CodeValue")) or code.identifier(tag("LongCodeValue"))
        if value:
            scheme = code.identifier(tag("CodingSchemeDesignator"))
            system = system_of(code, scheme)
            assigner = item.text(tag("InstitutionName")) or ("" if system else scheme)
            return without_empty({"system": system, "value": value, "assigner": without_empty({"display": assigner})})
    return {}
