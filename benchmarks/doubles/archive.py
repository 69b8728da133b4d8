"""A DICOM service that tells a prepared change feed, v1 and v2, and the metadata of its instances.

Everything on it was created and nothing has changed since, so that an entry is text with some numbers filled in.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

from benchmarks.content import digest
from benchmarks.doubles.header import TEMPLATE
from benchmarks.doubles.wire import Answer, run
from benchmarks.feed import Entry, Feed

_BEGAN = datetime(2024, 7, 15, 12)
_TICKS = 10_000_000  # in a second
_APART = _TICKS // 1000
_ROW = (
    b'{"sequence":%(sequence)d,"partitionName":"Microsoft.Default","studyInstanceUid":"%(study)s",'
    b'"seriesInstanceUid":"%(series)s","sopInstanceUid":"%(instance)s","action":"Create","timestamp":"%(time)s",'
    b'"state":"Current"'
)
_VERSIONS = "api-supported-versions: 1.0-prerelease, 1, 2\r\n"


class Archive:
    """The double; `/control/feed` gives it a feed."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._pages = self._metadata = 0

    def control(self, name: str, argument: Any) -> Any:
        """Take a feed, start counting, or tell the count and what there is."""
        match name:
            case "feed":
                self._entries = list(Feed(tuple(argument["sizes"]), argument["beside"], argument["each"]).entries())
            case "reset":
                self._pages = self._metadata = 0
            case "counts":
                return {"pages": self._pages, "metadata": self._metadata}
            case "content":
                return digest((one.study_uid, one.series_uid, one.instance_uid) for one in self._entries)
        return None

    def answer(self, method: str, path: str, query: str, _body: bytes) -> Answer:
        """Answer a GET."""
        version, _, resource = path.strip("/").partition("/")
        parameters = {name.lower(): value for name, value in parse_qsl(query)}
        if version not in ("v1", "v2") or method != "GET":
            return Answer(b"", 404)
        if resource == "changefeed/latest":
            last = len(self._entries)
            return _json(self._row(last, parameters) if last else b"null")
        if resource == "changefeed":
            self._pages += 1
            first, last = self._page(version, parameters)
            return _json(b"[%b]" % b",".join(self._row(number, parameters) for number in range(first, last + 1)))
        if resource.endswith("/metadata"):
            self._metadata += 1
            return self._instances(resource.split("/")[1:-1:2])
        return Answer(b"Data partitions feature is disabled.", 400, "text/plain")

    def _page(self, version: str, parameters: dict[str, str]) -> tuple[int, int]:
        """The first and last sequence of a page."""
        offset, end = int(parameters.get("offset", 0)), len(self._entries)
        if version == "v1":
            return offset + 1, min(end, offset + int(parameters.get("limit", 10)))
        first = 1 + _until(parameters["starttime"], end) + offset if "starttime" in parameters else 1 + offset
        last = _until(parameters["endtime"], end) if "endtime" in parameters else end
        return first, min(last, first - 1 + int(parameters.get("limit", 100)))

    def _row(self, sequence: int, parameters: dict[str, str]) -> bytes:
        entry = self._entries[sequence - 1]
        time = (_BEGAN + timedelta(milliseconds=sequence)).isoformat(timespec="microseconds")
        places = _places(entry) | {b"sequence": sequence, b"time": b"%b0Z" % time.encode()}
        row = _ROW % places
        bare = parameters.get("includemetadata", "true").lower() == "false"
        return row + (b"}" if bare else b',"metadata":%b}' % (TEMPLATE % places))

    def _instances(self, uids: list[str]) -> Answer:
        """The metadata of a study, a series or an instance."""
        found = [
            TEMPLATE % _places(one)
            for one in self._entries
            if [one.study_uid, one.series_uid, one.instance_uid][: len(uids)] == uids
        ]
        return _json(b"[%b]" % b",".join(found)) if found else Answer(b"", 404)


def _json(body: bytes) -> Answer:
    return Answer(body, headers=_VERSIONS)


def _until(time: str, end: int) -> int:
    """How many of the entries are older; the time is in UTC, to the tick of 100 ns."""
    seconds, _, fraction = time.removesuffix("Z").removesuffix("+00:00").partition(".")
    passed = (datetime.fromisoformat(seconds) - _BEGAN) // timedelta(seconds=1) * _TICKS + int(fraction.ljust(7, "0"))
    return max(0, min(end, -(-passed // _APART) - 1))


def _places(entry: Entry) -> dict[bytes, Any]:
    return {
        b"study": entry.study_uid.encode(),
        b"series": entry.series_uid.encode(),
        b"instance": entry.instance_uid.encode(),
        b"number": b"%d" % entry.number,
        b"series_number": b"%d" % entry.series,
        b"study_number": b"%d" % entry.study,
        b"patient": b"%d" % entry.patient,
    }


if __name__ == "__main__":
    run(Archive())
