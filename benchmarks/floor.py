"""The floor: read the same pages, parse them with the fastest parser, post the same bundles; nothing in between.

The bundles lie in a file, a line each: those that dicomcast sent, without what it wrote again later.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.client import Peer, peers

_PAGE = 100
# As many posts at a time as dicomcast casts studies.
_AT_ONCE = 4


async def pass_through(dicom_url: str, fhir_url: str, bundles: Iterator[bytes]) -> None:
    """Read the feed to its end, and post the bundles meanwhile."""
    async with peers(dicom_url, fhir_url) as (archive, fhir):
        await asyncio.gather(_read(archive), *(_post(fhir, bundles) for _ in range(_AT_ONCE)))


async def _read(archive: Peer) -> None:
    latest = await archive.get("v1/changefeed/latest", includeMetadata="false")
    for offset in range(0, (latest or {}).get("sequence", 0), _PAGE):
        await archive.get("v1/changefeed", offset=str(offset), limit=str(_PAGE), includeMetadata="true")


async def _post(fhir: Peer, bundles: Iterator[bytes]) -> None:
    for bundle in bundles:
        await fhir.post(bundle.rstrip())


if __name__ == "__main__":
    with Path(sys.argv[3]).open("rb") as lines:
        asyncio.run(pass_through(*sys.argv[1:3], lines))
