"""What the examples share: how a FHIR server is asked, and how an answer is printed."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx

Resource = dict[str, Any]
AT_ONCE = 50  # patients in one search


class Refused(Exception):
    """The server does not answer such a request."""


def client() -> httpx.Client:
    """A client of the server that FHIR_URL names; FHIR_TOKEN is the bearer token, if it wants one."""
    if "FHIR_URL" not in os.environ:
        sys.exit("FHIR_URL is not set: it is the base URL of the FHIR server")
    # strict: a parameter that is not known is refused, and not left out of the question
    headers = {"Accept": "application/fhir+json", "Prefer": "handling=strict", "Cache-Control": "no-cache"}
    if token := os.environ.get("FHIR_TOKEN"):
        headers["Authorization"] = f"Bearer {token}"
    return httpx.Client(base_url=os.environ["FHIR_URL"].rstrip("/") + "/", headers=headers, timeout=60)


def search(kind: str, query: dict[str, str]) -> list[Resource]:
    """All that a search finds, page after page, with what it includes; by POST, so that no patient is in an address."""
    found: dict[str, Resource] = {}
    with client() as server:
        answer = server.post(f"{kind}/_search", data=query)
        while True:
            bundle = checked(answer).json()
            for resource in (entry["resource"] for entry in bundle.get("entry", [])):
                if resource["resourceType"] != "OperationOutcome":
                    found[name(resource)] = resource
            following = [link["url"] for link in bundle.get("link", []) if link["relation"] == "next"]
            if not following:
                return [*found.values()]
            address = urljoin(str(server.base_url), following[0])
            if urlsplit(address)[:2] != urlsplit(str(server.base_url))[:2]:
                raise Refused("the next page is on another server, which is not to get the token")
            answer = server.get(address)


def of_patients(kind: str, patients: Iterable[str], query: dict[str, str] | None = None) -> list[Resource]:
    """The same for some patients (`Patient/…`), of whom a server takes only so many at once."""
    wanted = sorted(set(patients))
    parts = [",".join(wanted[start : start + AT_ONCE]) for start in range(0, len(wanted), AT_ONCE)]
    return [resource for part in parts for resource in search(kind, {"patient": part, **(query or {})})]


def checked(answer: httpx.Response) -> httpx.Response:
    """The answer, if it is one."""
    if answer.is_error:
        raise Refused(f"the server answers {answer.status_code} to {answer.request.method} {answer.request.url.path}")
    return answer


def name(resource: Resource) -> str:
    """The relative reference to a resource."""
    return f"{resource['resourceType']}/{resource['id']}"


def refers(reference: Resource, resource: Resource) -> bool:
    """Whether a reference, relative or absolute, leads to a resource."""
    return f"/{reference.get('reference', '')}".split("/_history/")[0].endswith(f"/{name(resource)}")


def words(concept: Resource) -> str:
    """A CodeableConcept for people."""
    codings = concept.get("coding", [])
    return concept.get("text") or next((one.get("display") or one.get("code", "") for one in codings), "")


def show(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    """A table on stdout, or JSON for programs."""
    if as_json:
        print(json.dumps(rows, indent=2))
    elif not rows:
        print("nothing found")
    else:
        widths = {column: max(len(column), *(len(str(row[column])) for row in rows)) for column in rows[0]}
        for line in ({column: column for column in widths}, *rows):
            print("  ".join(str(line[column]).ljust(width) for column, width in widths.items()).rstrip())
