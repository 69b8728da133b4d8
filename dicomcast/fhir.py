"""The FHIR server: what it can, what it holds, and how it is written to (FHIR R4 http.html).

Everybody else knows resources in the shape of R4: what comes and goes is translated here (`versions`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

from dicomcast.answers import outcome_codes, refusal
from dicomcast.bundle import Method, Write, batches, token, transaction
from dicomcast.capabilities import Capabilities, capabilities_of, version_of_server
from dicomcast.errors import ConfigError, Conflict, NotFound, NotItself, Rejected, Retriable, Stranger, Unanswered
from dicomcast.http import Answer, Http, dump_json, parse_json
from dicomcast.mapping.values import JSON
from dicomcast.overlay import objects
from dicomcast.versions import R4, Version

__all__ = ["FhirServer", "Identifier", "Written", "has_identifier", "identifiers_of", "version_of"]

# (system, value) of a business identifier.
Identifier = tuple[str, str]

_SEARCHED_AT_ONCE = 50
_PAGE = 200
_FHIR_JSON = "application/fhir+json"


@dataclass(frozen=True, slots=True)
class Written:
    """What became of one entry of a bundle: the resource's id and version, "" where the server does not say."""

    status: int
    id: str
    version: str


def identifiers_of(resource: JSON) -> list[Identifier]:
    """All business identifiers of a resource, which anyone may have written."""
    return [(one.get("system", ""), one.get("value", "")) for one in objects(resource.get("identifier"))]


def has_identifier(resource: JSON, identifier: Identifier) -> bool:
    """Whether a resource carries exactly this identifier: what a search returns is not taken on trust."""
    return identifier in identifiers_of(resource)


class FhirServer:
    """A FHIR server. `open()` first: it learns what the server can, and which version of FHIR it speaks.

    `version` is the number of the version that it has to speak, `auto` for any that we know. `fence` is called
    before each sending of a write, and raises where we may not write. Searches may miss for `search_lag` what was
    written, also by a process before this one; so they are not made sooner.
    """

    def __init__(
        self,
        http: Http,
        *,
        version: str = "auto",
        fence: Callable[[], object] | None = None,
        search_lag: timedelta = timedelta(0),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._http = http
        self.spans = http.spans
        self._fence = fence
        self._lag = search_lag.total_seconds()
        self._sleep = sleep
        self._wrote = time.monotonic()
        self._wanted = version
        self.version: Version = R4
        self.capabilities = Capabilities("", transaction=False, update_create=frozenset())

    @property
    def base_url(self) -> str:
        """The base URL, without a trailing slash."""
        return self._http.base_url

    @property
    def requests(self) -> int:
        """How many requests were sent, retries included."""
        return self._http.requests

    async def open(self, *, budget: float | None = None) -> None:
        """Read the CapabilityStatement.

        Raises:
            ConfigError: this is no FHIR server, or not one that can be written to.
            Retriable: it does not answer.
        """
        try:
            statement = await self._statement(budget)
        except (Rejected, NotItself) as error:
            raise Stranger(
                f"FHIR__URL: {self._http.base_url} is not the base URL of a FHIR server ({error}). "
                "The CapabilityStatement is expected at <FHIR__URL>/metadata."
            ) from None
        self.version = version_of_server(statement, self._http.base_url, self._wanted)
        self.capabilities = capabilities_of(statement, self._http.base_url)

    async def probe(self) -> None:
        """Whether it answers at all, asked once.

        Raises:
            Retriable: it does not.
        """
        try:
            await self._statement(0.0)
        except Rejected as error:
            raise NotItself(str(error), peer="fhir", status=error.status) from None

    async def _statement(self, budget: float | None) -> JSON:
        answer = await self._http.request("GET", "metadata", headers={"Accept": _FHIR_JSON}, budget=budget)
        return _resource(answer, "CapabilityStatement")

    async def rest(self, seconds: float) -> None:
        """Wait before something is tried again."""
        await self._http.rest(seconds)

    def creates_by_put(self, kind: str) -> bool:
        """Whether we may choose the id of a new resource of this type."""
        return kind in self.capabilities.update_create

    async def find(
        self, kind: str, identifiers: Iterable[Identifier]
    ) -> tuple[dict[Identifier, list[JSON]], set[Identifier]]:
        """The resources of each identifier, many at once, by `POST [type]/_search`: no identifier gets into a URL.

        Beside them the identifiers that may be near to one that the server found instead, such as p1 to P1.
        """
        found: dict[Identifier, list[JSON]] = {identifier: [] for identifier in identifiers}
        near: set[Identifier] = set()
        wanted = sorted(found)
        for start in range(0, len(wanted), _SEARCHED_AT_ONCE):
            some = wanted[start : start + _SEARCHED_AT_ONCE]
            among = set(some)
            for resource in await self._find(kind, some):
                carried = identifiers_of(resource)
                exact = [one for one in carried if _is_text(one) and one in among]
                near.update(() if exact else some)
                for identifier in exact:
                    if resource not in found[identifier]:
                        found[identifier].append(resource)
        return found, {identifier for identifier in near if not found[identifier]}

    async def _find(self, kind: str, identifiers: Sequence[Identifier]) -> list[JSON]:
        tokens = [token(*identifier) for identifier in identifiers]
        found = await self.search(kind, {"identifier": ",".join(tokens)})
        # Some servers do not understand the escapes, so what has any is also asked for as it is, alone.
        for identifier, escaped in zip(identifiers, tokens, strict=True):
            plain = "|".join(identifier)
            if plain != escaped and not any(has_identifier(one, identifier) for one in found):
                try:
                    found += await self.search(kind, {"identifier": plain})
                except Rejected:
                    continue  # This server is strict, so it understood the escapes: there is none.
        return found

    async def search(self, kind: str, query: dict[str, str]) -> list[JSON]:
        """All matches of a search, over all its pages.

        Raises:
            Rejected: the server does not give all of them.
        """
        if (late := self._wrote + self._lag - time.monotonic()) > 0:
            await self._sleep(late)
        page = await self._first_page(kind, query, _PAGE)
        # Some servers have no links to a next page: what they say there is goes on one page then.
        there_are = page.get("total")
        if isinstance(there_are, int) and there_are > _PAGE and not self._next(page):
            page = await self._first_page(kind, query, there_are)
        matches: list[JSON] = []
        followed: set[str] = set()
        while True:
            matches += (one for one in _entries(page, "resource") if one.get("resourceType") == kind)
            following = self._next(page)
            if not following and not followed and isinstance(there_are, int) and len(matches) < there_are:
                raise _incomplete(f"{len(matches)} of {there_are} matches of a search for {kind}, and no next page")
            if not following:
                return list(map(self.version.read, matches))
            if following in followed:
                raise _incomplete(f"the same page of a search for {kind} again and again")
            followed.add(following)
            answer = await self._http.request(
                "GET", following, headers={"Accept": _FHIR_JSON}, shown=f"the next page of {kind}"
            )
            page = _resource(answer, "Bundle")

    async def _first_page(self, kind: str, query: dict[str, str], count: int) -> JSON:
        try:
            answer = await self._http.request(
                "POST",
                f"{kind}/_search",
                content=urlencode(query | {"_count": str(count)}).encode(),
                headers={
                    "Content-Type": "application/x-www-form-urlencoded",
                    "Accept": _FHIR_JSON,
                    "Cache-Control": "no-cache",  # HAPI would repeat the answer of a minute ago
                },
            )
        except NotFound as error:  # A search finds nothing, but is always there: this is not the server that we know.
            raise Retriable(f"{error}; see FHIR__URL", peer="fhir", status=error.status) from None
        return _resource(answer, "Bundle")

    def _next(self, page: JSON) -> str:
        """The link to the next page, on the same origin only: it is followed with our credentials."""
        url = next((link.get("url", "") for link in objects(page.get("link")) if link.get("relation") == "next"), "")
        if url and not self._http.is_ours(str(url)):
            raise Rejected(
                "the FHIR server links to a next page on another host; see FHIR__URL",
                reason="foreign-link",
                peer="fhir",
            )
        return str(url)

    async def read(self, kind: str, resource_id: str) -> JSON | None:
        """A resource by its id, None if it is not there (any more)."""
        try:
            # The id of a Patient may be a record number.
            answer = await self._http.request(
                "GET", f"{kind}/{resource_id}", headers={"Accept": _FHIR_JSON}, shown=f"{kind}/[id]"
            )
        except NotFound:
            return None
        return self.version.read(_resource(answer, kind))

    def says_the_same(self, one: JSON, other: JSON) -> bool:
        """Whether the server would see no difference: its version may lack something that R4 has."""
        return one == other or self.version.write(one) == self.version.write(other)

    def outgoing(self, writes: list[Write]) -> list[Write]:
        """The same writes in the server's version of FHIR."""
        return [replace(write, resource=self.version.write(write.resource)) for write in writes]

    async def write(self, writes: list[Write]) -> list[Written]:
        """Write all of `writes` in one transaction, or one batch after the other where there are none.

        Raises:
            Conflict: somebody else changed one of them; nothing (transaction) is written.
            Unanswered: whether they are written is not known.
            Rejected: the server will not have them.
        """
        writes = self.outgoing(writes)
        try:
            if self.capabilities.transaction:
                return await self._post(transaction(writes))
            return [written for one in batches(writes) for written in await self._post(one)]
        finally:
            self._wrote = time.monotonic()

    async def try_writing(self) -> None:
        """Whether we may write, found out by a bundle that deletes what is not there, and so leaves nothing behind.

        Raises:
            Unauthorized: we may not.
            ConfigError: this server is not written to.
            Retriable: it does not answer.
        """
        nothing = Write(Method.DELETE, {"resourceType": "ImagingStudy", "id": str(uuid4())})
        bundle = transaction([nothing]) if self.capabilities.transaction else batches([nothing])[0]
        headers = {"Content-Type": _FHIR_JSON, "Accept": _FHIR_JSON}
        try:
            answer = await self._http.request("POST", "", content=dump_json(bundle), headers=headers)
            for response in _entries(_resource(answer, "Bundle"), "response"):
                _written(response)
        except Conflict:
            return
        except (Rejected, NotItself) as error:
            if isinstance(error, NotFound) and error.codes:  # The server says it of what is to be deleted.
                return
            raise ConfigError(
                f"FHIR__URL: {self.base_url} takes no bundles from us, or is read-only ({error}); "
                "use the base URL at which it can be written"
            ) from None

    async def _post(self, bundle: JSON) -> list[Written]:
        with self.spans.span(bundle["type"], {"dicomcast.entries": len(bundle["entry"])}):
            return await self._answered(bundle)

    async def _answered(self, bundle: JSON) -> list[Written]:
        try:
            answer = await self._http.request(
                "POST",
                "",
                content=dump_json(bundle),
                headers={"Content-Type": _FHIR_JSON, "Accept": _FHIR_JSON, "Prefer": "return=minimal"},
                resend=False,
                fence=self._fence,
            )
            responses = list(_entries(_resource(answer, "Bundle"), "response"))
            if len(responses) != len(bundle["entry"]):
                raise Retriable("the FHIR server did not answer every entry of a bundle", peer="fhir")
        except NotFound as error:
            # Some servers refuse to delete or to update what is gone: then it is time to look again.
            raise Conflict(str(error), peer="fhir", status=error.status, codes=error.codes) from None
        except Retriable as error:
            if error.unsure:
                raise _unanswered(error) from None
            raise
        return [_written(response) for response in responses]


def _is_text(identifier: Identifier) -> bool:
    """Others may have written anything there."""
    return all(isinstance(part, str) for part in identifier)


def _unanswered(error: Retriable) -> Unanswered:
    return Unanswered(str(error), peer="fhir", status=error.status, codes=error.codes, retry_after=error.retry_after)


def _resource(answer: Answer, kind: str) -> JSON:
    """The resource of an answer; a server that suddenly sends something else is not itself, so we wait."""
    try:
        resource = parse_json(answer.content, exact=True)
    except ValueError:
        resource = None
    if isinstance(resource, dict) and resource.get("resourceType") == kind:
        return resource
    what = resource.get("resourceType", "JSON") if isinstance(resource, dict) else "no FHIR JSON"
    raise NotItself(f"the FHIR server sent {what} where a {kind} was expected; see FHIR__URL", peer="fhir")


def _entries(bundle: JSON, member: str) -> Iterator[JSON]:
    for entry in objects(bundle.get("entry")):
        if isinstance(entry.get(member), dict):
            yield entry[member]


def _incomplete(what: str) -> Rejected:
    return Rejected(f"the FHIR server gives only {what}", reason="incomplete-search", peer="fhir")


def _written(response: JSON) -> Written:
    """What became of an entry; one of a batch has its own outcome, as the status of a transaction is that of all."""
    status = _status(response)
    _refuse(status, outcome_codes(response.get("outcome")))
    parts = str(response.get("location", "")).split("/")
    version = str(response.get("etag", "")).removeprefix("W/").strip('"')
    if "_history" in parts:
        at = parts.index("_history")
        version = version or "".join(parts[at + 1 : at + 2])
        parts = parts[:at]
    return Written(status, parts[-1], version)


def _status(response: JSON) -> int:
    status = str(response.get("status", ""))[:3]
    return int(status) if status.isdigit() else 0


def _refuse(status: int, codes: tuple[str, ...]) -> None:
    said = f"the FHIR server answered {status} to an entry of a batch" + (f" ({', '.join(codes)})" if codes else "")
    error = refusal(status, said, peer="fhir", codes=codes)
    if isinstance(error, NotFound):
        raise Conflict(str(error), peer="fhir", status=error.status, codes=codes)
    if isinstance(error, Retriable) and not isinstance(error, Conflict):
        raise _unanswered(error)
    if error is not None:
        raise error


def version_of(resource: Any) -> str:
    """`meta.versionId`: opaque, compared for equality by the server alone."""
    meta = resource.get("meta") if isinstance(resource, dict) else None
    return str(meta.get("versionId", "")) if isinstance(meta, dict) else ""
