"""The predecessor's algorithm, re-stated: one entry at a time, three searches, one transaction, pages of ten.

What it asks and sends is DICOM Cast's: the newest entry and ten entries in turn; for each of them the Patient, the
Endpoint and the ImagingStudy are searched for, the instance is added, and the whole ImagingStudy is written again, with
If-Match. What it does in between is the least that gives the same series and instances, and it keeps no state.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any
from uuid import uuid4

import orjson

from benchmarks.client import Peer, peers

JSON = dict[str, Any]

_PAGE = 10
_SYSTEM = "urn:oid:2.25.1"
_CONNECTION = {
    "system": "http://terminology.hl7.org/CodeSystem/endpoint-connection-type",
    "code": "dicom-wado-rs",
}


async def follow(dicom_url: str, fhir_url: str) -> None:
    """Follow the feed to its present end."""
    async with peers(dicom_url, fhir_url) as (archive, fhir):
        synced = 0
        while True:
            latest = await archive.get("v1/changefeed/latest", includeMetadata="false")
            page = await archive.get("v1/changefeed", offset=str(synced), limit=str(_PAGE), includeMetadata="true")
            for entry in page:
                await _synchronise(fhir, entry, dicom_url)
                synced = entry["sequence"]
            if not page and synced >= (latest or {}).get("sequence", 0):
                return


async def _synchronise(fhir: Peer, entry: JSON, dicom_url: str) -> None:
    """Three searches, one transaction."""
    metadata = entry["metadata"]
    name = f"DICOM WADO-RS endpoint {dicom_url}"
    uid = f"urn:dicom:uid|urn:oid:{entry['studyInstanceUid']}"
    connection = f"{_CONNECTION['system']}|{_CONNECTION['code']}"
    patient = await _search(fhir, "Patient", identifier=f"{_SYSTEM}|{_first(metadata, '00100020')}")
    endpoint = await _search(fhir, "Endpoint", **{"name": name, "connection-type": connection})
    study = await _search(fhir, "ImagingStudy", identifier=uid)
    entries: list[JSON] = []
    subject = _refer(patient, _patient(metadata), entries)
    access = _refer(endpoint, _endpoint(name, dicom_url), entries)
    before = study or _study(metadata, uid, dicom_url, subject, access)
    entries.append(_entry(before, _with_instance(before, entry)))
    await fhir.post(orjson.dumps({"resourceType": "Bundle", "type": "transaction", "entry": entries}))


async def _search(fhir: Peer, kind: str, **query: str) -> JSON | None:
    found = (await fhir.get(kind, **query)).get("entry", [])
    return found[0]["resource"] if found else None


def _refer(found: JSON | None, desired: JSON, entries: list[JSON]) -> str:
    """How to refer to what was found, or to what is created beside it. What was found says the same already."""
    if found is not None:
        return f"{found['resourceType']}/{found['id']}"
    entries.append(_entry(None, desired))
    return entries[-1]["fullUrl"]


def _entry(before: JSON | None, resource: JSON) -> JSON:
    kind = resource["resourceType"]
    if before is not None and "id" in before:
        request = {"method": "PUT", "url": f"{kind}/{before['id']}", "ifMatch": f'W/"{before["meta"]["versionId"]}"'}
        return {"resource": resource, "request": request}
    request = {"method": "POST", "url": kind}
    if "identifier" in resource:
        identifier = resource["identifier"][0]
        request["ifNoneExist"] = f"identifier={identifier['system']}|{identifier['value']}"
    return {"fullUrl": f"urn:uuid:{uuid4()}", "resource": resource, "request": request}


def _patient(metadata: JSON) -> JSON:
    family, _, given = _first(metadata, "00100010")["Alphabetic"].partition("^")
    born = _first(metadata, "00100030")
    return {
        "resourceType": "Patient",
        "identifier": [{"system": _SYSTEM, "value": _first(metadata, "00100020")}],
        "name": [{"use": "usual", "family": family, "given": given.split("^")}],
        "gender": {"F": "female", "M": "male"}.get(_first(metadata, "00100040"), "other"),
        "birthDate": f"{born[:4]}-{born[4:6]}-{born[6:]}",
    }


def _endpoint(name: str, url: str) -> JSON:
    return {
        "resourceType": "Endpoint",
        "status": "active",
        "connectionType": _CONNECTION,
        "name": name,
        "payloadType": [{"text": "DICOM WADO-RS"}],
        "payloadMimeType": ["application/dicom"],
        "address": url,
    }


def _study(metadata: JSON, uid: str, url: str, subject: str, endpoint: str) -> JSON:
    system, _, value = uid.partition("|")
    return {
        "resourceType": "ImagingStudy",
        "meta": {"source": url},
        "identifier": [{"system": system, "value": value}, {"value": _first(metadata, "00080050")}],
        "status": "available",
        "subject": {"reference": subject},
        "endpoint": [{"reference": endpoint}],
        "note": [{"text": _first(metadata, "00081030")}],
        "series": [],
    }


def _with_instance(study: JSON, entry: JSON) -> JSON:
    metadata, series = entry["metadata"], list(study["series"])
    uid = entry["seriesInstanceUid"]
    at = next((index for index, one in enumerate(series) if one["uid"] == uid), None)
    if at is None:
        at = len(series)
        code = _first(metadata, "00080060")
        series.append({"uid": uid, "number": _first(metadata, "00200011"), "modality": {"code": code}, "instance": []})
    instance = {
        "uid": entry["sopInstanceUid"],
        "sopClass": {"code": _first(metadata, "00080016")},
        "number": _first(metadata, "00200013"),
    }
    others = [one for one in series[at]["instance"] if one["uid"] != instance["uid"]]
    series[at] = {**series[at], "instance": [*others, instance]}
    return {**study, "series": series}


def _first(metadata: JSON, tag: str) -> Any:
    return metadata[tag]["Value"][0]


if __name__ == "__main__":
    asyncio.run(follow(*sys.argv[1:]))
