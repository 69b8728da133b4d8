"""FHIR R5: what is not as in R4 in ImagingStudy and Endpoint (R5 imagingstudy.html and endpoint.html, R4 Diff).

Patient is the same. `interpreter` is gone without a successor. `partOf`, the successor of `procedureReference`, is
not mapped. An accession number has its place in `basedOn` alone.
"""

from __future__ import annotations

from typing import Any

from dicomcast.mapping.terminology import DCM, IDENTIFIER_TYPE, SNOMED_CT
from dicomcast.mapping.values import JSON
from dicomcast.overlay import covers, objects
from dicomcast.versions import lens
from dicomcast.versions.concepts import (
    as_concept,
    coding_of,
    coding_or_reference,
    codings,
    concept_of,
    concepts,
)
from dicomcast.versions.lens import Lens, Shape

__all__ = ["read", "write"]

_CONNECTION = "http://terminology.hl7.org/CodeSystem/endpoint-connection-type"

# (R4's example value set, DICOM CID 244 to which R5 binds series.laterality); 51440002 Bilateral is in both.
_SIDES = [
    (("419161000", "Unilateral left"), ("7771000", "Left")),
    (("419465000", "Unilateral right"), ("24028007", "Right")),
]


def read(resource: JSON) -> JSON:
    """A resource of R5 as R4."""
    shape = _SHAPES.get(str(resource.get("resourceType")))
    return resource if shape is None else lens.read(shape, resource)


def write(resource: JSON) -> JSON:
    """A resource of R4 as R5."""
    shape = _SHAPES.get(str(resource.get("resourceType")))
    return resource if shape is None else lens.write(shape, resource)


def _sided(coding: JSON, sides: dict[tuple[str, str], tuple[str, str]]) -> JSON:
    """A coding of one value set as the other has it; a display that is not the usual one stays."""
    for (code, display), (other, shown) in sides.items():
        if coding.get("system") == SNOMED_CT and coding.get("code") == code:
            usual = {"display": shown} if coding.get("display") == display else {}
            return coding | {"code": other} | usual
    return coding


def _side_to_r4(coding: JSON) -> JSON:
    return _sided(coding, {r5: r4 for r4, r5 in _SIDES})


def _side_from_r4(coding: JSON) -> JSON:
    return _sided(coding, dict(_SIDES))


def _identifiers() -> Lens:
    """All but our accession numbers, which stand in `basedOn`; one that others wrote here stays."""

    def get(value: Any) -> JSON:
        return {} if value is None else {"identifier": value}

    def put(seen: JSON, stood: Any) -> Any:
        requested = [one.get("identifier") for one in objects(seen.get("basedOn"))]
        theirs = stood if isinstance(stood, list) else []

        def is_requested(one: Any) -> bool:
            return _is_accession(one) and any(covers(other, one) or covers(one, other) for other in requested)

        return [one for one in seen.get("identifier", []) if one in theirs or not is_requested(one)] or None

    return Lens("identifier", ("identifier",), get, put)


def _is_accession(identifier: Any) -> bool:
    kind = identifier.get("type") if isinstance(identifier, dict) else None
    found = objects(kind.get("coding")) if isinstance(kind, dict) else []
    return any((one.get("system"), one.get("code")) == (IDENTIFIER_TYPE, "ACSN") for one in found)


def _connection_type() -> Lens:
    """The one type of connection of R4 is the first known one of R5's; the others stay."""

    def leading(value: Any) -> JSON | None:
        found = objects(value)
        known = (one for one in found if any(c.get("system") == _CONNECTION for c in objects(one.get("coding"))))
        return next(known, found[0] if found else None)

    def get(value: Any) -> JSON:
        coding = coding_of(leading(value), _CONNECTION)
        return {} if coding is None else {"connectionType": coding}

    def put(seen: JSON, stood: Any) -> Any:
        first = leading(stood)
        ours = [concept_of(seen["connectionType"], first, _CONNECTION)] if "connectionType" in seen else []
        return [*ours, *(one for one in objects(stood) if one is not first)] or None

    return Lens("connectionType", ("connectionType",), get, put)


def _payload() -> Lens:
    """What R4 says of an Endpoint's payload is the first `payload` of R5."""
    names = {"payloadType": "type", "payloadMimeType": "mimeType"}

    def get(value: Any) -> JSON:
        first = next(iter(objects(value)), {})
        return {r4: first[name] for r4, name in names.items() if name in first}

    def put(seen: JSON, stood: Any) -> Any:
        first, *others = objects(stood) or [{}]
        kept = {name: value for name, value in first.items() if name not in names.values()}
        payload = kept | {name: seen[r4] for r4, name in names.items() if r4 in seen}
        return [*([payload] if payload else []), *others] or None

    return Lens("payload", tuple(names), get, put)


_SERIES = Shape(
    (
        as_concept("modality", DCM),
        coding_or_reference("bodySite", SNOMED_CT),
        as_concept("laterality", SNOMED_CT, _side_to_r4, _side_from_r4),
    )
)
_SHAPES = {
    "ImagingStudy": Shape(
        (
            _identifiers(),
            codings("modality", DCM),
            concepts("procedureCode", "procedure"),
            concepts("reasonCode", "reason"),
        ),
        lacks=frozenset({"interpreter"}),
        below={"series": _SERIES},
    ),
    "Endpoint": Shape((_connection_type(), _payload())),
}
