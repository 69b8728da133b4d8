"""What the examples take for a finding: diagnoses that stand, and reports that were given, each with its day."""

from __future__ import annotations

from fhir import Resource, refers, words

VOID = {"cancelled", "entered-in-error", "refuted", "registered"}


def stands(resource: Resource) -> bool:
    """Whether a Condition, report or Observation was neither taken back nor refuted."""
    verification = resource.get("verificationStatus", {}).get("coding", [])
    return VOID.isdisjoint([resource.get("status"), *(one.get("code") for one in verification)])


def day(resource: Resource) -> str:
    """When it was found, as well as that is known: a diagnosis may be of something that began long before."""
    elements = ("recordedDate", "effectiveDateTime", "effectiveInstant", "issued", "onsetDateTime")
    period = resource.get("effectivePeriod") or resource.get("onsetPeriod") or {}
    times = [*(resource.get(element) for element in elements), period.get("start")]
    return next((time[:10] for time in times if time), "")


def saying(resource: Resource) -> str:
    """What a Condition or a report says."""
    return resource.get("conclusion") or words(resource.get("code", {}))


def is_about(report: Resource, study: Resource) -> bool:
    """Whether a report is that of a study: it names it, or both name one order (the accession number)."""
    if any(refers(one, study) for one in report.get("imagingStudy", [])):
        return True
    return not orders(report).isdisjoint(orders(study))


def orders(resource: Resource) -> set[tuple[str, str]]:
    """The orders that a report or a study answers, by reference or by identifier."""
    found = set()
    for one in resource.get("basedOn", []):
        identifier = one.get("identifier", {})
        found |= {("", one["reference"])} if "reference" in one else set()
        found |= {(identifier.get("system", ""), identifier["value"])} if "value" in identifier else set()
    return found
