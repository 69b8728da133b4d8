"""What in an ImagingStudy that stands in FHIR is ours, so that it may be replaced; all else others wrote. Pure.

Nothing beside the resource says who wrote an item of a list. So it is ours by what it says: no more than we say, with
our type, in a system that we use. Ids, extensions and `_` siblings, which may be on anybody's element, do not count.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Any

from dicomcast.mapping.instance import INSTANCE
from dicomcast.mapping.rules import Rules
from dicomcast.mapping.study import ACCESSION, STUDY, STUDY_ID, VISIT
from dicomcast.mapping.values import JSON, without_empty
from dicomcast.model import Extra
from dicomcast.overlay import OURS, covers, listed, objects, overlay, replace_ours

__all__ = ["is_annotated", "lay_study_over"]

# What the OID or the UUID of an issuer becomes (PS3.3 §10.14).
_URN = re.compile("urn:(oid|uuid):")


def lay_study_over(before: JSON, elements: JSON, rules: Rules, *, owned: bool) -> JSON:
    """A study with the elements that are mapped; `owned` says that we created it."""
    uid, *others = elements["identifier"]
    requests = elements.get("basedOn", [])
    is_accession = _accessions([*others, *(one["identifier"] for one in requests)], rules, owned=owned)
    # One that stands says all that ours would say, whoever wrote it and whatever else it says.
    standing = [one for one in listed(before.get("identifier")) if _same_identifier(one, uid)]
    lists = {
        "identifier": replace_ours(
            before.get("identifier"),
            [*(standing or [uid]), *others],
            lambda item: item in standing or is_accession(item) or _is_study_id(item),
        ),
        "basedOn": replace_ours(
            before.get("basedOn"),
            requests,
            lambda item: _members(item) <= {"type", "identifier"} and is_accession(item.get("identifier")),
        ),
    }
    ours = STUDY.owned(rules)
    if rules.compat:
        notes = elements.get("note", [])
        said = [before.get("description"), *(note["text"] for note in notes)]
        lists["note"] = replace_ours(before.get("note"), notes, lambda item: _is_note(item, said))
        ours |= {"note"}
    visit = before.get("encounter")
    if visit and not _is_visit(visit):
        lists["encounter"] = visit
    elif owned and Extra.ENCOUNTER in rules.extras:
        ours |= {"encounter"}
    return overlay(before, without_empty(elements | lists), ours)


def _same_identifier(one: Any, other: JSON) -> bool:
    return isinstance(one, dict) and all(one.get(name) == other[name] for name in ("system", "value"))


def _accessions(now: list[JSON], rules: Rules, *, owned: bool) -> Callable[[Any], bool]:
    """Which accession numbers we wrote, `now` being what we write.

    The RIS writes there too, so it is the system that tells: none, or one that we write now; in a study that we
    created also any of the settings. An issuer that an instance named is known no longer once it names another: there
    an OID or a UUID with our words for the type is ours.
    """
    systems: list[Any] = ["", *(one.get("system", "") for one in now)]
    if owned:
        systems += [rules.accession_system, *rules.issuers.values()]

    def is_ours(identifier: Any) -> bool:
        if not isinstance(identifier, dict) or not _members(identifier) <= {"type", "system", "value", "assigner"}:
            return False
        system = identifier.get("system", "")
        if system in systems:
            return _is_of(ACCESSION, identifier)
        return owned and bool(_URN.match(str(system))) and covers(identifier.get("type"), ACCESSION)

    return is_ours


def _is_of(kind: JSON, identifier: JSON) -> bool:
    """Whether an identifier is of a type, by its code; where there is none, by its text."""
    stated = identifier.get("type")
    if not isinstance(stated, dict):
        return False
    if "coding" not in kind:
        return bool(stated.get("text") == kind["text"])
    ours = {name: kind["coding"][0][name] for name in ("system", "code")}
    return any(one | ours == one for one in objects(stated.get("coding")))


def _is_study_id(identifier: JSON) -> bool:
    """Whether we wrote a StudyID: by our own words for its type."""
    return _is_of(STUDY_ID, identifier) and "system" not in identifier


def _is_visit(encounter: Any) -> bool:
    """Whether we wrote an `encounter`: we know the number of a visit, and never its resource."""
    if not isinstance(encounter, dict) or not _members(encounter) <= {"type", "identifier"}:
        return False
    identifier = encounter.get("identifier")
    return isinstance(identifier, dict) and _is_of(VISIT, identifier)


def _is_note(note: JSON, said: Collection[Any]) -> bool:
    """Whether a note is a description and nothing else, as DICOM Cast wrote them: no author and no time."""
    return _members(note) == {"text"} and note["text"] in said


def _members(element: JSON) -> set[str]:
    """The names that say something."""
    return {name for name in element if name not in ("id", "extension") and not name.startswith("_")}


def is_annotated(instance: JSON, rules: Rules) -> bool:
    """Whether others wrote something on an instance of a series."""
    sop_class = instance.get("sopClass")
    parts = [(instance, {"uid", *INSTANCE.owned(rules)})]
    if isinstance(sop_class, dict):
        parts.append((sop_class, {"system", "code", "display"}))
    return any(_others(part, ours) for part, ours in parts)


def _others(part: JSON, ours: Collection[str]) -> bool:
    urls = [one.get("url") for one in objects(part.get("extension"))]
    return any(url not in ours and url not in OURS for url in urls) or not part.keys() <= {*ours, "extension"}
