"""What the archive is asked for so that a study can be drafted: who speaks now, or all of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from dicomcast.dicom.feed import Feed
from dicomcast.errors import ReadFirst
from dicomcast.gathering import Gathering
from dicomcast.mapping.rules import Rules
from dicomcast.mapping.values import JSON
from dicomcast.merge import Draft, annotated, draft
from dicomcast.model import StudyDelta, StudyKey

__all__ = ["Reader"]

# With more speakers to read than this, one read of the whole study is cheaper.
_SINGLE_READS = 3


class Reader:
    """Reads the studies of one archive, of which much stands in the FHIR server at `base` already."""

    def __init__(self, feed: Feed, rules: Rules, base: str) -> None:
        self._feed = feed
        self._rules = rules
        self._base = base

    async def whole(self, key: StudyKey, existing: JSON | None, *, shared: bool = False) -> StudyDelta:
        """All that the archive holds of a study now.

        Raises:
            ReadFirst: it was to be written with others, so that too much would be in memory.
        """
        if shared:
            raise ReadFirst(f"study {key.study_uid} has to be read whole", peer="dicom")
        kept = annotated(existing, self._rules)
        return await self._feed.snapshot(key, lambda: Gathering(key, self._rules.most_listed, kept))

    async def draft(self, existing: JSON | None, delta: StudyDelta, endpoint: str, *, shared: bool = False) -> Draft:
        """Draft a study, and read who speaks where the delta does not say."""
        for _ in range(3):
            content = draft(existing, delta, self._rules, endpoint, self._base)
            if not (content.missing or content.whole):
                return content
            if content.whole or len(content.missing) > _SINGLE_READS:
                break
            read = await asyncio.gather(*(self._feed.instance(delta.key, key) for key in content.missing))
            found = {one.key: one for one in read if one is not None}
            if len(found) < len(content.missing):
                break
            delta = replace(delta, instances={**delta.instances, **found})
        snapshot = await self.whole(delta.key, existing, shared=shared)
        return draft(existing, snapshot, self._rules, endpoint, self._base)
