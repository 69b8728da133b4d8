"""Whatever stands in a FHIR resource, a study is cast or parked, and what others wrote is written back as it was."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import orjson
from hypothesis import given
from hypothesis import strategies as st

from dicomcast.errors import Retriable
from dicomcast.mapping.patient import PATIENT
from dicomcast.mapping.rules import Rules
from dicomcast.mapping.study import STUDY
from dicomcast.model import Outcome
from tests.harness import SYSTEM, Harness

# What a cast may change; everything else on the resource is somebody else's.
WRITTEN = {
    "ImagingStudy": STUDY.owned(Rules(SYSTEM))
    | {"modality", "numberOfSeries", "numberOfInstances", "endpoint", "series", "subject", "status"},
    "Patient": PATIENT.owned(Rules(SYSTEM)),
    "Endpoint": {"status", "connectionType", "name", "payloadType", "payloadMimeType", "address"},
}
NOTE = [{"url": "https://ris.test/note", "valueString": "seen"}]

scalars = st.sampled_from([None, True, 3, 1.5, "", "x", "Patient/..", "https://[/fhir/Patient/1"])
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["system", "value", "reference", "uid", "coding", "type"]), inner, max_size=2)
    ),
    max_leaves=4,
)


class Odd(Harness):
    """A harness whose FHIR server answers one resource otherwise than it could be stored, until it is written."""

    def __init__(self, mode: str) -> None:
        self.odd: dict[str, Any] | None = None
        self.sent: list[dict[str, Any]] = []
        super().__init__(mode=mode)

    def between(self, peer: str, transport: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
        # Past the judge of what is sent: what others wrote goes back, and may be no FHIR.
        return transport if peer == "dicom" else _Answers(self)


class _Answers(httpx.ASGITransport):
    def __init__(self, harness: Odd) -> None:
        super().__init__(harness.fhir_app)
        self._harness = harness

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        odd = self._harness.odd
        if odd is not None and "fhir+json" in request.headers.get("Content-Type", ""):
            sent = (entry.get("resource", {}) for entry in orjson.loads(request.content)["entry"])
            self._harness.sent += (one for one in sent if one.get("id") == odd["id"])
        response = await super().handle_async_request(request)
        body = await response.aread()
        if odd is None or not body or self._written(odd):
            return response
        answer = _replaced(orjson.loads(body), odd)
        return httpx.Response(response.status_code, json=answer)

    def _written(self, odd: dict[str, Any]) -> bool:
        return self._harness.store.versions(odd["resourceType"], odd["id"]) > 1


def _replaced(answer: Any, odd: dict[str, Any]) -> Any:
    """An answer with the odd resource where it has the stored one."""
    if isinstance(answer, dict) and all(answer.get(name) == odd[name] for name in ("resourceType", "id")):
        return odd
    if isinstance(answer, dict) and isinstance(answer.get("entry"), list):
        entries = [
            one | {"resource": _replaced(one["resource"], odd)} if "resource" in one else one for one in answer["entry"]
        ]
        return answer | {"entry": entries}
    return answer


def _places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every member and item of a resource but what makes it found."""
    items: Any = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    found = []
    for name, value in items:
        here = (*path, name)
        if here not in [("resourceType",), ("id",), ("identifier",)] and here[:2] != ("identifier", 0):
            found += [here, *_places(value, here)]
    return found


def _with(node: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    copy = node.copy()
    copy[path[0]] = _with(node[path[0]], path[1:], value)
    return copy


def _by_others(resource: dict[str, Any]) -> dict[str, Any]:
    """The members that a cast may not touch, without what FHIR has no word for."""
    ours = WRITTEN[resource["resourceType"]] | {"identifier", "meta"}
    return {name: value for name, value in resource.items() if name not in ours and value not in (None, "", [], {})}


@given(kind=st.sampled_from(["ImagingStudy", "Patient", "Endpoint", "theirs"]), data=st.data())
def test_malformed_resources_stop_nothing(kind: str, data: st.DataObject) -> None:
    """Any JSON in any place of a resource: every study is cast or parked, and what others wrote goes back.

    Only where the server refuses the archive's Endpoint, to which they all refer, do they wait.
    """
    try:
        asyncio.run(_stops_nothing(kind, data))
    except Retriable as error:
        assert kind == "Endpoint" and "Endpoint cannot be written" in str(error)


async def _stops_nothing(kind: str, data: st.DataObject) -> None:
    harness = Odd(data.draw(st.sampled_from(["own", "update"]), label="mode"))
    theirs = {"resourceType": "ImagingStudy", "id": "theirs", "meta": {"source": "https://ris.test"}}
    if kind == "theirs":
        identifier = [{"system": "urn:dicom:uid", "value": "urn:oid:1.2"}, {"value": "RIS"}]
        series = [{"uid": "9.9", "modality": {"system": "urn:x", "code": "MR"}, "instance": [{"uid": "9.9.1"}]}]
        harness.store.put(theirs | {"identifier": identifier, "subject": {"display": "x"}, "series": series})
    harness.put("1.2", "1.2.1", "1.2.1.1", PatientName="Doe^Jane", StudyDate="20240301", AccessionNumber="A1")
    harness.put("1.3", "1.3.1", "1.3.1.1", PatientName="Doe^Jo", StudyDate="20240201")
    if kind != "theirs":
        await harness.cast()
    wanted = "ImagingStudy" if kind == "theirs" else kind
    stored = next(one for one in harness.store.resources(wanted) if kind == "ImagingStudy" or len(one) > 1)
    marked = stored | {"extension": NOTE, "note": [{"text": "by hand"}], "link": [], "active": True}
    marked["identifier"] = [*stored["identifier"], {"value": "another"}]
    for _ in range(data.draw(st.integers(1, 2), label="changes")):
        path = data.draw(st.sampled_from(sorted(_places(marked), key=str)), label="place")
        marked = _with(marked, path, data.draw(values, label="value"))
    harness.odd = marked
    harness.restart()

    harness.put("1.2", "1.2.1", "1.2.1.2", PatientName="Roe^Jane", StudyDate="20240401", AccessionNumber="A2")
    harness.put("1.3", "1.3.1", "1.3.1.2", PatientName="Roe^Jo", StudyDate="20240201")
    outcomes = await harness.cast()
    harness.archive.delete("Microsoft.Default", "1.2")
    outcomes += await harness.cast()
    assert outcomes.total() >= 2
    assert outcomes.keys() <= set(Outcome)
    for one in harness.sent[:1]:
        assert _by_others(one) == _by_others(marked)
        assert [item for item in marked["identifier"][1:] if _foreign(item) and item not in one["identifier"]] == []


def _foreign(identifier: Any) -> bool:
    return not (isinstance(identifier, dict) and "type" in identifier)
