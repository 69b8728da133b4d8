"""Search: the parameters of R4 search.html that the FHIR server knows, for the types it serves.

Tokens are compared exactly, case included, as most servers do. A value that only a lenient server would guess at
(a lone backslash, a bare bar too many, an empty alternative) is refused: it means that a client forgot to escape.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple
from urllib.parse import parse_qsl

from dicomcast.demo.fhir_store import FhirStore, Resource
from dicomcast.demo.fhir_validation import KINDS, Issue, Refusal

Matches = Callable[[Resource], bool]


class Token(NamedTuple):
    """A token to look for; None is any system or any value, "" is no system."""

    system: str | None
    value: str | None


class Parameter(NamedTuple):
    """A search parameter: its FHIR type, and what makes a test of a value given for it."""

    type: str
    compile: Callable[[str], Matches]


@dataclass(frozen=True, slots=True)
class Query:
    """A search that has been understood; `values` are the identifiers' values, if they narrow it down."""

    type: str
    filters: Sequence[Matches]
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
    values: Sequence[str] | None = None
    count, summary, elements = None, False, frozenset[str]()
    for name, text in parameters:
        if parameter := PARAMETERS[kind].get(name):
            filters.append(parameter.compile(text))
            if name == "identifier":
                values = _values(tokens(text))
        elif name == "_count" and text.isdecimal():
            count = int(text)
        elif name == "_summary" and text in ("count", "false"):
            summary = text == "count"
        elif name == "_elements":
            elements = frozenset(text.split(","))
        elif name != "_format" and (strict or ":" in name):
            raise Refusal(400, Issue("not-supported", f"parameter {name}, or its value, is not known for {kind}"))
    return Query(kind, filters, values, count, summary or count == 0, elements)


def find(store: FhirStore, query: Query) -> list[Resource]:
    """The resources that match, in a stable order."""
    candidates = store.current(query.type)
    if query.values is not None:
        hits = (hit for value in query.values for hit in store.identified(query.type, value))
        candidates = {hit["id"]: hit for hit in hits}.values()
    return [candidate for candidate in candidates if all(matches(candidate) for matches in query.filters)]


def tokens(text: str) -> list[Token]:
    """Read `system|value`, `|value`, `value` or `system|`, and alternatives of these between commas."""
    return [_token(alternative) for alternative in split(text, ",")]


def split(text: str, separator: str) -> list[str]:
    """Split at the separators that are not escaped (R4 search.html#escaping); the escapes stay."""
    found = re.finditer(rf"\\.|{re.escape(separator)}", text, re.DOTALL)
    cuts = [match.start() for match in found if match[0] == separator]
    return [text[left + 1 : right] for left, right in pairwise([-1, *cuts, len(text)])]


def unescape(text: str) -> str:
    r"""Undo `\,`, `\|`, `\$` and `\\`; any other backslash, and an empty text, is refused."""
    if not text or re.search(r"\\(?![,|$\\])", re.sub(r"\\\\", "", text)):
        raise Refusal(400, Issue("value", "a search value is empty, or not escaped"))
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)


def _token(text: str) -> Token:
    match split(text, "|"):
        case [value]:
            return Token(None, unescape(value))
        case [system, ""]:
            return Token(unescape(system), None)
        case ["", value]:
            return Token("", unescape(value))
        case [system, value]:
            return Token(unescape(system), unescape(value))
    raise Refusal(400, Issue("value", "a token has a bar too many, or one that is not escaped"))


def _values(wanted: Iterable[Token]) -> list[str] | None:
    """The values that an index can be asked for; None if some token takes any value."""
    values = [token.value for token in wanted]
    return [value for value in values if value is not None] if None not in values else None


def _token_parameter(codings: Callable[[Resource], Iterable[tuple[str, str]]]) -> Parameter:
    def compile(text: str) -> Matches:
        wanted = set(tokens(text))
        return lambda resource: any(
            not wanted.isdisjoint([Token(system, value), Token(None, value), Token(system, None)])
            for system, value in codings(resource)
        )

    return Parameter("token", compile)


def _reference_parameter(element: str, only: str = "") -> Parameter:
    """By `Type/id`, by bare id, or by URL where that is what the resource says; never by a logical reference."""

    def compile(text: str) -> Matches:
        wanted = {unescape(alternative) for alternative in split(text, ",")}

        def matches(resource: Resource) -> bool:
            reference = resource.get(element, {}).get("reference", "")
            kind, _, id = reference.partition("/")
            return only in ("", kind) and not wanted.isdisjoint([reference, id])

        return matches

    return Parameter("reference", compile)


def _string_parameter(element: str, *, exact: bool = False) -> Parameter:
    """From its start and whatever its case, or with `:exact` literally (R4 search.html#string)."""

    def compile(text: str) -> Matches:
        wanted = [unescape(alternative) for alternative in split(text, ",")]
        if exact:
            return lambda resource: resource.get(element) in wanted
        starts = tuple(start.casefold() for start in wanted)
        return lambda resource: resource.get(element, "").casefold().startswith(starts)

    return Parameter("string", compile)


_EVERY = {
    "_id": _token_parameter(lambda resource: [("", resource["id"])]),
    "identifier": _token_parameter(
        lambda resource: [(i.get("system", ""), i.get("value", "")) for i in resource.get("identifier", ())]
    ),
}
_SUBJECT = {
    "subject": _reference_parameter("subject"),
    "patient": _reference_parameter("subject", only="Patient"),
}
_SPECIAL = {
    "Endpoint": {"name": _string_parameter("name"), "name:exact": _string_parameter("name", exact=True)},
    "ImagingStudy": _SUBJECT
    | {
        # This is the modality of the series, not ImagingStudy.modality: a Coding in R4, a CodeableConcept in R5.
        "modality": _token_parameter(
            lambda resource: [
                (coding.get("system", ""), coding.get("code", ""))
                for series in resource.get("series", ())
                for coding in series["modality"].get("coding", [series["modality"]])
            ]
        )
    },
    "Observation": _SUBJECT,
    "ServiceRequest": _SUBJECT,
}

PARAMETERS: Mapping[str, Mapping[str, Parameter]] = {kind: {**_EVERY, **_SPECIAL.get(kind, {})} for kind in KINDS}
