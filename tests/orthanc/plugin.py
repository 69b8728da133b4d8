"""The plugin of `examples/orthanc`, as its clients see it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.servers.embedded import until
from tests.servers.orthanc import JSON, Orthanc, orthanc

__all__ = ["PLUGIN", "Feed", "with_feed"]

PLUGIN = Path(__file__).parents[2] / "examples" / "orthanc" / "changefeed.py"


@dataclass(slots=True)
class Feed:
    """The feed of an Orthanc behind a sequence."""

    server: Orthanc
    after: int = 0

    def entries(self, *, metadata: bool = False) -> list[JSON]:
        """All of them, page by page; their sequences have no gaps."""
        found: list[JSON] = []
        wanted = {"limit": "100", "includeMetadata": str(metadata).lower()}
        while page := self.server.ask(
            "GET", "/v1/changefeed", params={**wanted, "offset": str(self.after + len(found))}
        ):
            found += page
        assert [one["sequence"] for one in found] == list(range(self.after + 1, self.after + len(found) + 1))
        return found

    def actions(self) -> list[tuple[str, str]]:
        """(action, SOPInstanceUID) of each."""
        return [(one["action"], one["sopInstanceUid"]) for one in self.entries()]

    def once(self, number: int) -> list[JSON]:
        """The entries as soon as there are so many: a delete is told of later. There must be no more."""
        until(f"there were {number} entries", lambda: len(self.entries()) >= number)
        assert len(self.entries()) == number
        return self.entries()

    def go_on(self) -> None:
        """From now on, be the feed behind what is its end now."""
        self.after += len(self.entries())

    # Orthanc with and without it

    def start(self, **config: Any) -> None:
        """Start Orthanc with the plugin; what had been missed is in the feed when this returns."""
        self.server.config |= {"PythonScript": str(PLUGIN), **config}
        self.server.start()
        self.compared()

    def start_without(self) -> None:
        """Start Orthanc as if there were no plugin."""
        self.server.config.pop("PythonScript")
        self.server.start()

    def compared(self) -> None:
        """Wait for the end of the comparison after a start."""
        until("the comparison was done", lambda: "Change feed: compared" in self.server.log)


@contextmanager
def with_feed(folder: Path, **options: Any) -> Iterator[Feed]:
    """An Orthanc with the plugin, and with whatever `tests.servers.orthanc.orthanc` takes."""
    with orthanc(folder, script=PLUGIN, **{"overwrite": True, **options}) as server:
        feed = Feed(server)
        feed.compared()
        yield feed
