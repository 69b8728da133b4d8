"""How an element of another version is seen as R4, and written back with what R4 cannot say.

What is read keeps each element that looks different in R4 as it stood, under `STOOD`: a name that is in no version,
so that a merge leaves it alone as it does with all that it does not know. On the way back an element that looks as
it did is written as it stood; one that was changed is put over what stood.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dicomcast.mapping.values import JSON

__all__ = ["STOOD", "Lens", "Shape", "read", "write"]

STOOD = "_stood"


@dataclass(frozen=True, slots=True)
class Lens:
    """An element `name` of the version, and the elements `r4` that it is seen as.

    `get` makes these of its value (None: it is not there; any JSON may stand there). `put` makes its value of an R4
    resource that was changed, and of the value that stood; None is no value.
    """

    name: str
    r4: tuple[str, ...]
    get: Callable[[Any], JSON]
    put: Callable[[JSON, Any], Any]


@dataclass(frozen=True, slots=True)
class Shape:
    """An object of the version: what differs from R4, elements of R4 that it lacks, and the arrays of objects below."""

    lenses: tuple[Lens, ...]
    lacks: frozenset[str] = frozenset()
    below: Mapping[str, Shape] = field(default_factory=dict)

    @property
    def different(self) -> frozenset[str]:
        """The names that do not mean, or do not hold, the same in both."""
        return self.lacks.union({STOOD}, *({lens.name, *lens.r4} for lens in self.lenses))


def read(shape: Shape, element: JSON) -> JSON:
    """An object of the version as R4."""
    different = shape.different
    seen = {name: _below(read, shape, name, value) for name, value in element.items() if name not in different}
    for lens in shape.lenses:
        seen |= lens.get(element.get(lens.name))
    stood = {name: value for name, value in element.items() if name in different}
    return seen | ({STOOD: stood} if stood else {})


def write(shape: Shape, seen: JSON) -> JSON:
    """An object of R4 in the version."""
    stood: JSON = seen.get(STOOD, {})
    written = {lens.name: _written(lens, seen, stood) for lens in shape.lenses}
    places = {name: lens.name for lens in reversed(shape.lenses) for name in lens.r4}
    different = shape.different
    element: JSON = {}
    for name, value in seen.items():
        if name not in different:
            element[name] = _below(write, shape, name, value)
        elif places.get(name) in written:
            element |= written.pop(places[name])
    element |= {name: value for name, value in stood.items() if name not in {lens.name for lens in shape.lenses}}
    for members in written.values():
        element |= members
    return element


def _written(lens: Lens, seen: JSON, stood: JSON) -> JSON:
    """The member of a lens, {} for none."""
    before = stood.get(lens.name)
    if lens.name in stood and lens.get(before) == {name: seen[name] for name in lens.r4 if name in seen}:
        return {lens.name: before}
    value = lens.put(seen, before)
    return {} if value is None else {lens.name: value}


def _below(step: Callable[[Shape, JSON], JSON], shape: Shape, name: str, value: Any) -> Any:
    inner = shape.below.get(name)
    if inner is None or not isinstance(value, list):
        return value
    return [step(inner, one) if isinstance(one, dict) else one for one in value]
