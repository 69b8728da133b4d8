"""Who a resource belongs to and what its id is: all derived from the source, the partition and the UID.

`meta.source` of what we write is the DICOMweb base URL of the study's partition (as DICOM Cast did),
so ownership can be read off any resource, without state of our own.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlencode
from uuid import UUID, uuid5

from dicomcast.model import StudyKey

__all__ = [
    "DEFAULT_PARTITION",
    "canonical",
    "dicomweb_base",
    "endpoint_id",
    "origin",
    "origin_of",
    "owns",
    "patient_id",
    "patient_source",
    "patient_spoken_for",
    "sourced",
    "study_id",
]

DEFAULT_PARTITION = "Microsoft.Default"

# A namespace of our own, so that no other generator of name-based UUIDs makes our ids.
_NAMESPACE = UUID("6f1c7f0a-3c0e-5d5e-9d5b-0d1c0a5dca57")
_SOURCE = re.compile(
    r"(?P<scheme>https?)://(?P<host>[^/?#]+?)(?P<port>:\d+)?(?P<path>/[^?#]*?)??(/v\d[\w.-]*)?(/partitions/(?P<partition>[^/?#]+))?(/studies\?(?P<query>[^#]*))?/*(#.*)?",
    re.IGNORECASE,
)
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def canonical(url: str) -> str:
    """A DICOM service's URL, which is the name of the source.

    Without API version, trailing slash, fragment and default port, and with a lower-case scheme and host (RFC 3986
    §6.2): however it is spelt in a setting, it is the same archive.
    """
    return origin(url)[0]


def origin_of(resource: Any) -> tuple[str, str]:
    """(source, partition) that a resource was created for, read off its `meta.source`; ("", "") if it has none."""
    return origin(_meta_source(resource))


def origin(url: str) -> tuple[str, str]:
    """(source, partition) that a `meta.source` or a base URL names; a version of the API in it does not matter.

    HAPI appends `#<request id>` to what it stores.
    """
    match = _SOURCE.fullmatch(url)
    if match is None:
        return url, ""
    scheme, port = match["scheme"].lower(), match["port"] or ""
    host = match["host"].lower() + ("" if port == _DEFAULT_PORTS[scheme] else port)
    return f"{scheme}://{host}{match['path'] or ''}", _partition(match)


def _partition(match: re.Match[str]) -> str:
    """Studies from before partitions were switched on are in `Microsoft.Default` then: still the same studies."""
    partition = unquote(match["partition"] or "")
    return "" if partition == DEFAULT_PARTITION else partition


def owns(key: StudyKey, resource: Any) -> bool:
    """Whether `resource` was created for the archive and partition of `key`."""
    return origin_of(resource) == (key.source, key.partition)


def sourced(meta: Any, source: str) -> dict[str, Any]:
    """A resource's `meta` with another `source`; what is no object there is replaced by one."""
    before = meta if isinstance(meta, dict) else {}
    return before | {"source": source}


def _meta_source(resource: Any) -> str:
    meta = resource.get("meta") if isinstance(resource, dict) else None
    source = meta.get("source") if isinstance(meta, dict) else None
    return source if isinstance(source, str) else ""


def dicomweb_base(source: str, version: str, partition: str) -> str:
    """The DICOMweb base URL of a partition: `/studies` follows it."""
    base = f"{source}/{version}" if version else source
    return f"{base}/partitions/{quote(partition, safe='')}" if partition else base


def study_id(key: StudyKey) -> str:
    """The logical id of the ImagingStudy of a study."""
    return str(uuid5(_NAMESPACE, f"ImagingStudy|{key.source}|{key.partition}|{key.study_uid}"))


def patient_id(system: str, value: str) -> str:
    """The logical id of the Patient of an identifier: the same whichever archive speaks of them."""
    return str(uuid5(_NAMESPACE, f"Patient|{system}|{value}"))


def endpoint_id(source: str, partition: str) -> str:
    """The logical id of the Endpoint of a partition."""
    return str(uuid5(_NAMESPACE, f"Endpoint|{source}|{partition}"))


def patient_source(base: str, study_uid: str, started: str) -> str:
    """`meta.source` of a Patient: the QIDO-RS query (PS3.18 §10.6) for the study that it follows.

    It carries all that decides whether another study is newer.
    """
    query = {"StudyInstanceUID": study_uid, **({"started": started} if started else {})}
    return f"{base}/studies?{urlencode(query)}"


def patient_spoken_for(resource: Any) -> tuple[str, str, str]:
    """(started, StudyInstanceUID, partition) of the study that a Patient follows; compare to find the newer."""
    match = _SOURCE.fullmatch(_meta_source(resource))
    query = parse_qs(match["query"] or "") if match else {}
    partition = _partition(match) if match else ""
    return query.get("started", [""])[0], query.get("StudyInstanceUID", [""])[0], partition
