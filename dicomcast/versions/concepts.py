"""Where R4 has a Coding or a CodeableConcept, and a later version a CodeableConcept or a CodeableReference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dicomcast.mapping.values import JSON
from dicomcast.overlay import objects
from dicomcast.versions.lens import Lens

__all__ = ["as_concept", "coding_of", "coding_or_reference", "codings", "concept_of", "concepts"]

Change = Callable[[JSON], JSON]

# What a Coding without code has in common with a CodeableConcept without codings.
_UNCODED = frozenset("id extension display".split())


def coding_of(concept: Any, system: str) -> JSON | None:
    """The coding of a CodeableConcept that counts, of `system` if there is one; its text, if there is no coding."""
    if not isinstance(concept, dict):
        return None
    found = objects(concept.get("coding"))
    if found:
        counts: JSON = next((one for one in found if one.get("system") == system), found[0])
        return counts
    said: JSON = {name: concept[name] for name in ("id", "extension") if name in concept}
    if "text" in concept:
        said["display"] = concept["text"]
    return said or None


def concept_of(coding: JSON, stood: Any, system: str) -> JSON:
    """The CodeableConcept of a Coding; of the one that stood remains what says nothing else."""
    was = coding_of(stood, system)
    coded = was is not None and bool(objects(stood.get("coding")))
    if was is not None and (was == coding or (coded and _same_code(was, coding))):
        over: JSON = {"coding": [coding if one is was else one for one in stood["coding"]]} if coded else {}
        return {**stood, **over}
    kept = {name: stood[name] for name in ("id", "extension") if name in stood} if coded else {}
    if coding.keys() <= _UNCODED:
        return kept | {"text" if name == "display" else name: value for name, value in coding.items()}
    return kept | {"coding": [coding]}


def _same_code(one: JSON, other: JSON) -> bool:
    return "code" in one and all(one.get(name) == other.get(name) for name in ("system", "code"))


def _as_it_is(coding: JSON) -> JSON:
    return coding


def as_concept(name: str, system: str, to_r4: Change = _as_it_is, from_r4: Change = _as_it_is) -> Lens:
    """A Coding that became a CodeableConcept; the codes themselves may differ too."""

    def get(concept: Any) -> JSON:
        coding = coding_of(concept, system)
        return {} if coding is None else {name: to_r4(coding)}

    def put(seen: JSON, stood: Any) -> Any:
        return concept_of(from_r4(seen[name]), stood, system) if name in seen else None

    return Lens(name, (name,), get, put)


def codings(name: str, system: str) -> Lens:
    """An array of Codings that became one of CodeableConcepts."""

    def get(value: Any) -> JSON:
        found = [coding for one in objects(value) if (coding := coding_of(one, system)) is not None]
        return {name: found} if found else {}

    def put(seen: JSON, stood: Any) -> Any:
        rest = objects(stood)
        return [_taken(rest, coding, system) for coding in seen.get(name, [])] or None

    return Lens(name, (name,), get, put)


def _taken(rest: list[JSON], coding: JSON, system: str) -> JSON:
    """The concept of a coding, over the one of `rest` that has its code, which is taken out."""
    for position, one in enumerate(rest):
        was = coding_of(one, system)
        if was is not None and (was == coding or _same_code(was, coding)):
            return concept_of(coding, rest.pop(position), system)
    return concept_of(coding, None, system)


def coding_or_reference(name: str, system: str) -> Lens:
    """A Coding that became a CodeableReference, whose reference is nothing that we know."""

    def get(value: Any) -> JSON:
        coding = coding_of(value.get("concept"), system) if isinstance(value, dict) else None
        return {} if coding is None else {name: coding}

    def put(seen: JSON, stood: Any) -> Any:
        before = stood if isinstance(stood, dict) else {}
        if name in seen:
            return before | {"concept": concept_of(seen[name], before.get("concept"), system)}
        return {member: value for member, value in before.items() if member != "concept"} if _refers(before) else None

    return Lens(name, (name,), get, put)


def concepts(r4: str, name: str) -> Lens:
    """An array of CodeableConcepts that became one of CodeableReferences; those with a reference are not ours."""

    def get(value: Any) -> JSON:
        found = [one["concept"] for one in objects(value) if _only_concept(one)]
        return {r4: found} if found else {}

    def put(seen: JSON, stood: Any) -> Any:
        before = stood if isinstance(stood, list) else []
        rest = [one for one in objects(before) if _only_concept(one)]
        ours = []
        for concept in seen.get(r4, []):
            same = next((one for one in rest if one["concept"] == concept), None)
            ours.append({"concept": concept} if same is None else rest.pop(rest.index(same)))
        return [*ours, *(one for one in before if not (isinstance(one, dict) and _only_concept(one)))] or None

    return Lens(name, (r4,), get, put)


def _refers(value: JSON) -> bool:
    return "reference" in value


def _only_concept(value: JSON) -> bool:
    return isinstance(value.get("concept"), dict) and not _refers(value)
