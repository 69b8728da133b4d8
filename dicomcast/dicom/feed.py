"""What a source of changes has to be able to do, whatever archive stands behind it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from dicomcast.gathering import Gathering
from dicomcast.model import Cursor, Instance, InstanceKey, StudyDelta, StudyKey, Window

__all__ = ["Feed"]


class Feed(Protocol):
    """An archive that can be followed and read. `open()` first."""

    @property
    def source(self) -> str:
        """The archive's public URL without API version: its name in ids, in `meta.source`, in the store."""

    @property
    def kind(self) -> str:
        """DICOM__KIND: another kind of feed cannot go on from its cursors."""

    @property
    def sweeps(self) -> bool:
        """Whether it finds what vanished by comparing the archive with an inventory of what was seen before."""

    @property
    def measurable(self) -> bool:
        """Whether a cursor tells how much is left to read: how far behind we are is not known otherwise."""

    @property
    def version(self) -> str:
        """What is spoken with the archive, for people."""

    @property
    def newest(self) -> Cursor:
        """The newest entry, as of when the feed was last asked."""

    async def open(self, cursor: Cursor | None, *, budget: float | None = None) -> None:
        """Find out how to speak with the archive, and that it is the one that `cursor` was read from.

        Raises:
            ConfigError: this is no such archive (`SourceReset`: it was recreated since).
            Retriable: it does not answer within `budget` seconds.
        """

    async def start(self, start: str | int | datetime) -> Cursor:
        """The cursor for WORKER__START: `beginning`, `latest`, a sequence, or a time."""

    def base_url(self, partition: str) -> str:
        """The public DICOMweb base URL of a partition."""

    def windows(self, after: Cursor, size: int) -> AsyncGenerator[Window, None]:
        """Windows of `size` entries from `after` to the present end of the feed, which ends the iteration.

        A window is smaller where its entries are large, or where what is to be read ends, and may be empty then: its
        cursor counts all the same.
        """

    def replay(self, first: int, last: int | None, size: int) -> AsyncIterator[Window]:
        """The entries with sequences from `first` to `last`, once more."""

    async def latest(self) -> Cursor:
        """The newest entry of the feed; sequence 0 while there is none."""

    async def probe(self) -> None:
        """Whether the archive answers at all, asked once.

        Raises:
            Retriable: it does not.
        """

    async def partitions(self) -> list[str]:
        """The partitions of the archive; [""] where it knows no such thing."""

    def studies(self, partition: str, size: int) -> AsyncIterator[Sequence[str]]:
        """The StudyInstanceUIDs of all studies of a partition, in pages of at most `size`; one may come twice.

        None is left out that is there all the time, and "" is one that cannot be asked for.
        """

    async def still(self, study_uids: Collection[str]) -> Mapping[str, str]:
        """What a feed that `sweeps` has to note of some studies: a fingerprint of those that are there now."""

    async def snapshot(self, key: StudyKey, gathering: Callable[[], Gathering] | None = None) -> StudyDelta:
        """All that the archive holds of a study now; nothing if it is gone. `gathering` begins to gather it."""

    async def instance(self, key: StudyKey, instance: InstanceKey) -> Instance | None:
        """One instance as it is now, None if it is gone."""
