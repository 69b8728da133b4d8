"""The search parameters of R4 that the FHIR server knows, for the types it serves.

Tokens are compared exactly, case included, as most servers do. A value that only a lenient server would guess at
(a lone backslash, a bare bar too many, an empty alternative) is refused: it means that a client forgot to escape.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

from dicomcast.demo.fhir_dates import date_test
from dicomcast.demo.fhir_store import Resource
from dicomcast.demo.fhir_validation import KINDS, Issue, Refusal

Matches = Callable[[Resource], bool]


class Token(NamedTuple):
    """A token to look for; None is any system or any value, "" is no system."""

    system: str | None
    value: str | None


class Parameter(NamedTuple):
    """A search parameter: its FHIR type, what makes a test of a value given for it, and where a reference leads to.

    `targets` are the types that a chain may go on with: with several of them it has to say which.
    """

    type: str
    compile: Callable[[str], Matches]
    references: Callable[[Resource], Iterable[str]] = lambda resource: ()
    targets: tuple[str, ...] = ()


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


def identifying(text: str) -> list[str] | None:
    """The values that an index can be asked for; None if some token takes any value."""
    values = [token.value for token in tokens(text)]
    return [value for value in values if value is not None] if None not in values else None


def _at(node: Any, path: str) -> Iterator[Any]:
    """What stands at the path, in all items of the arrays on the way."""
    if isinstance(node, list):
        for item in node:
            yield from _at(item, path)
    elif not path:
        yield node
    elif isinstance(node, dict):
        step, _, rest = path.partition(".")
        yield from _at(node.get(step, []), rest)


def _token_parameter(codings: Callable[[Resource], Iterable[tuple[str, str]]]) -> Parameter:
    def compile(text: str) -> Matches:
        wanted = set(tokens(text))
        return lambda resource: any(
            not wanted.isdisjoint([Token(system, value), Token(None, value), Token(system, None)])
            for system, value in codings(resource)
        )

    return Parameter("token", compile)


def _reference_parameter(path: str, *targets: str, only: str = "") -> Parameter:
    """By `Type/id`, by bare id, or by URL where that is what the resource says; never by a logical reference."""

    def references(resource: Resource) -> list[str]:
        found = (node.get("reference", "") for node in _at(resource, path))
        return [reference for reference in found if only in ("", reference.partition("/")[0])]

    def compile(text: str) -> Matches:
        wanted = {unescape(alternative) for alternative in split(text, ",")}
        return lambda resource: any(
            not wanted.isdisjoint([reference, reference.partition("/")[2]]) for reference in references(resource)
        )

    return Parameter("reference", compile, references, targets)


def _logical_parameter(path: str) -> Parameter:
    """By the identifier in a reference (R4 search.html#reference, `:identifier`)."""
    return _token_parameter(lambda resource: _identifiers(_at(resource, f"{path}.identifier")))


def _identifiers(found: Iterable[Any]) -> list[tuple[str, str]]:
    return [(one.get("system", ""), one.get("value", "")) for one in found]


def _code_parameter(path: str) -> Parameter:
    return _token_parameter(
        lambda resource: [(one.get("system", ""), one.get("code", "")) for one in _at(resource, f"{path}.coding")]
    )


def _date_parameter(element: str) -> Parameter:
    def compile(text: str) -> Matches:
        tests = [date_test(unescape(alternative)) for alternative in split(text, ",")]
        return lambda resource: element in resource and any(test(resource[element]) for test in tests)

    return Parameter("date", compile)


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
    "identifier": _token_parameter(lambda resource: _identifiers(resource.get("identifier", ()))),
}
_SUBJECT = {
    "subject": _reference_parameter("subject"),
    "patient": _reference_parameter("subject", "Patient", only="Patient"),
}
_CODE = {"code": _code_parameter("code")}
_SPECIAL = {
    "Communication": _SUBJECT,
    "Condition": _SUBJECT | _CODE,
    "DiagnosticReport": _SUBJECT | _CODE,
    "Endpoint": {"name": _string_parameter("name"), "name:exact": _string_parameter("name", exact=True)},
    "ImagingStudy": _SUBJECT
    | {
        "endpoint": _reference_parameter("endpoint", "Endpoint"),
        "interpreter": _reference_parameter("interpreter", "Practitioner", "PractitionerRole"),
        "interpreter:identifier": _logical_parameter("interpreter"),
        # This is the modality of the series, not ImagingStudy.modality: a Coding in R4, a CodeableConcept in R5.
        "modality": _token_parameter(
            lambda resource: [
                (coding.get("system", ""), coding.get("code", ""))
                for series in resource.get("series", ())
                for coding in series["modality"].get("coding", [series["modality"]])
            ]
        ),
        "performer": _reference_parameter("series.performer.actor", "Device", "Practitioner"),
        "performer:identifier": _logical_parameter("series.performer.actor"),
        "started": _date_parameter("started"),
    },
    "Observation": _SUBJECT
    | _CODE
    | {
        "derived-from": _reference_parameter("derivedFrom", "ImagingStudy", "Observation"),
        "device": _reference_parameter("device", "Device", "DeviceMetric"),
    },
    "Patient": {"birthdate": _date_parameter("birthDate")},
    "ServiceRequest": _SUBJECT,
}

PARAMETERS: Mapping[str, Mapping[str, Parameter]] = {kind: {**_EVERY, **_SPECIAL.get(kind, {})} for kind in KINDS}
