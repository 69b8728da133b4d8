"""Search: what R4 search.html makes of a type's parameters, chains of them and `_include`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import parse_qsl

from dicomcast.demo.fhir_parameters import PARAMETERS, Matches, Parameter, identifying
from dicomcast.demo.fhir_store import FhirStore, Resource
from dicomcast.demo.fhir_validation import Issue, Refusal


class Chain(NamedTuple):
    """A test of what a reference leads to, such as `patient.birthdate` (R4 search.html#chaining)."""

    parameter: Parameter
    target: str
    matches: Matches


@dataclass(frozen=True, slots=True)
class Query:
    """A search that has been understood; `values` are the identifiers' values, if they narrow it down."""

    type: str
    filters: Sequence[Matches]
    chains: Sequence[Chain]
    include: Sequence[Parameter]
    values: Sequence[str] | None
    count: int | None
    summary: bool
    elements: frozenset[str]


def parse_form(body: bytes) -> list[tuple[str, str]]:
    """The parameters of a form, or of If-None-Exist."""
    try:
        return parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=bool(body))
    except ValueError:
        raise Refusal(400, Issue("value", "these are not search parameters, encoded as a form")) from None


def parse_query(kind: str, parameters: Iterable[tuple[str, str]], *, strict: bool = True) -> Query:
    """Understand a search; unknown parameters are refused if `strict`, else ignored as many servers do."""
    filters: list[Matches] = []
    chains: list[Chain] = []
    include: list[Parameter] = []
    values: Sequence[str] | None = None
    count, summary, elements = None, False, frozenset[str]()
    for name, text in parameters:
        if parameter := PARAMETERS[kind].get(name):
            filters.append(parameter.compile(text))
            if name == "identifier":
                values = identifying(text)
        elif chain := _chain(kind, name, text):
            chains.append(chain)
        elif name == "_include" and (included := _included(kind, text)):
            include.append(included)
        elif name == "_count" and text.isdecimal():
            count = int(text)
        elif name == "_summary" and text in ("count", "false"):
            summary = text == "count"
        elif name == "_elements":
            elements = frozenset(text.split(","))
        elif name != "_format" and (strict or ":" in name):
            raise Refusal(400, Issue("not-supported", f"parameter {name}, or its value, is not known for {kind}"))
    return Query(kind, filters, chains, include, values, count, summary or count == 0, elements)


def find(store: FhirStore, query: Query) -> list[Resource]:
    """The resources that match, in a stable order."""
    candidates = store.current(query.type)
    if query.values is not None:
        hits = (hit for value in query.values for hit in store.identified(query.type, value))
        candidates = {hit["id"]: hit for hit in hits}.values()
    return [
        candidate
        for candidate in candidates
        if all(matches(candidate) for matches in query.filters)
        and all(_leads_to_match(store, candidate, chain) for chain in query.chains)
    ]


def _chain(kind: str, name: str, text: str) -> Chain | None:
    """`patient.birthdate`, or `device:Device.identifier` where a reference may lead to several types."""
    link, dot, rest = name.partition(".")
    reference, _, target = link.partition(":")
    parameter = PARAMETERS[kind].get(reference)
    if not dot or parameter is None:
        return None
    if not target and len(parameter.targets) == 1:
        [target] = parameter.targets
    if target not in parameter.targets or rest not in PARAMETERS.get(target, {}):
        return None
    return Chain(parameter, target, PARAMETERS[target][rest].compile(text))


def _included(kind: str, text: str) -> Parameter | None:
    """`ImagingStudy:endpoint` (R4 search.html#include)."""
    source, _, name = text.partition(":")
    parameter = PARAMETERS[kind].get(name) if source == kind else None
    return parameter if parameter and parameter.type == "reference" else None


def _leads_to_match(store: FhirStore, candidate: Resource, chain: Chain) -> bool:
    found = (store.resource(reference) for reference in chain.parameter.references(candidate))
    return any(one is not None and one["resourceType"] == chain.target and chain.matches(one) for one in found)
