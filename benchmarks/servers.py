"""The two doubles as processes of their own, so that their time is not the contenders'."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from benchmarks.feed import Feed

__all__ = ["ROOT", "Servers", "servers"]

# Where `-m benchmarks…` finds itself, however it was started.
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the archive and the FHIR server are."""

    dicom: str
    fhir: str

    def prepare(self, feed: Feed, latency: float, *, keep_bundles: bool = False) -> None:
        """An archive with this feed and an empty FHIR server, whose answers take so long."""
        _ask(self.dicom, "feed", asdict(feed))
        for url in (self.dicom, self.fhir):
            _ask(url, "reset", keep_bundles)
            _ask(url, "latency", latency)

    def traffic(self) -> list[dict[str, int]]:
        """What passed since: requests, and bytes that the servers received and sent."""
        return [_ask(url, "traffic") for url in (self.dicom, self.fhir)]

    def counts(self) -> dict[str, int]:
        """What was asked for since: pages and metadata there, searches, reads, bundles and versions here."""
        return _ask(self.dicom, "counts") | _ask(self.fhir, "counts")

    def holds_all(self) -> bool:
        """Whether the FHIR server holds the instances of the archive, and no others."""
        return bool(_ask(self.dicom, "content") == _ask(self.fhir, "content"))

    def studies(self) -> list[dict[str, Any]]:
        """The ImagingStudies that there are."""
        found: list[dict[str, Any]] = _ask(self.fhir, "studies")
        return found

    def save_bundles(self, path: Path) -> None:
        """Write the bundles that were kept, without what was written again later."""
        _ask(self.fhir, "bundles", str(path))


@contextmanager
def servers() -> Iterator[Servers]:
    """Both of them, for as long as the context lasts."""
    with ExitStack() as stack:
        yield Servers(*(stack.enter_context(_running(f"benchmarks.doubles.{name}")) for name in ("archive", "fhir")))


@contextmanager
def _running(module: str) -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", module], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.communicate()  # closes its stdin, which ends it


def _ask(url: str, name: str, argument: Any = None) -> Any:
    with urlopen(Request(f"{url}/control/{name}", data=json.dumps(argument).encode(), method="POST")) as answer:
        return json.load(answer)
