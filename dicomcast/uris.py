"""What FHIR takes for a URI (R4 datatypes.html#uri, #oid, #uuid): a system that is none has every resource refused."""

from __future__ import annotations

import re

__all__ = ["is_oid", "is_uri", "is_uuid"]

_OID = re.compile(r"[0-2](\.(0|[1-9][0-9]*))+")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
# RFC 3986: a scheme, then anything but blanks and the delimiters; "|" would split a FHIR search token.
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s\x00-\x1f<>\"{}|\\^`]+")


def is_oid(text: str) -> bool:
    """Whether a text is an OID. UIDs with leading zeros, or of letters, are met in the wild (PS3.5 §9.1)."""
    return _OID.fullmatch(text) is not None


def is_uuid(text: str) -> bool:
    """Whether a text is a UUID."""
    return _UUID.fullmatch(text) is not None


def is_uri(text: str) -> bool:
    """Whether a text is an absolute URI; one that calls itself an OID or a UUID has to be that."""
    for prefix, judge in (("urn:oid:", is_oid), ("urn:uuid:", is_uuid)):
        if text.startswith(prefix):
            return judge(text.removeprefix(prefix))
    return _URI.fullmatch(text) is not None
