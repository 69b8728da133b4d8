"""The one place where everything is put together from the settings."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import structlog

from dicomcast.auth import credentials
from dicomcast.casting import Caster
from dicomcast.dicom.azure import AzureFeed
from dicomcast.dicom.feed import Feed
from dicomcast.dry_run import DryRunServer, DryRunStore
from dicomcast.errors import ConfigError
from dicomcast.fhir import FhirServer
from dicomcast.http import Http
from dicomcast.identity import canonical
from dicomcast.mapping.rules import Rules
from dicomcast.model import Checkpoint, Cursor, MissingId
from dicomcast.settings import (
    DicomSettings,
    FhirSettings,
    MappingSettings,
    PatientRules,
    Settings,
    Start,
    StateSettings,
)
from dicomcast.spans import SILENT, Spans
from dicomcast.state import StateStore, TableAccess, open_store
from dicomcast.sync import Synchronizer
from dicomcast.tenure import Tenure
from dicomcast.tls import readable_on_the_way
from dicomcast.together import STUDIES, Together
from dicomcast.vitals import Vitals

if TYPE_CHECKING:
    from dicomcast.state.dicom_cast import DicomCast

__all__ = ["App", "build", "rules", "state_store"]

_log = structlog.get_logger()

# In the position of a cursor that was DICOM Cast's, until the first window is settled.
_TAKEN_OVER = "dicom_cast"


@dataclass(slots=True)
class App:
    """A source, a FHIR server and a store, and what keeps them in step."""

    feed: Feed
    fhir: FhirServer
    store: StateStore
    tenure: Tenure
    synchronizer: Synchronizer
    vitals: Vitals
    start: Start
    give_up: Callable[[], None]
    peers: tuple[Http, ...] = ()
    # What DICOM Cast left where our state is; whether a first run goes on from its cursor, and may note that there.
    dicom_cast: DicomCast | None = None
    takes_over: bool = False
    notes: bool = True

    async def open(self) -> Checkpoint:
        """Meet both peers, and find out where to go on; a first run starts at WORKER__START.

        Raises:
            ConfigError: a peer is not what the settings say.
            Retriable: a peer does not answer.
        """
        checkpoint = await self.store.load(self.feed.source)
        self.refuse_other_kind(checkpoint.cursor)
        await self.feed.open(checkpoint.cursor)
        await self.fhir.open()
        cursor = checkpoint.cursor or await self._taken_over() or await self.feed.start(self.start)
        cursor = replace(cursor, position={**cursor.position, "kind": self.feed.kind})
        _log.info("fhir.open", server=self.fhir.base_url, version=self.fhir.capabilities.version)
        _log.info("feed.open", source=self.feed.source, version=self.feed.version, sequence=cursor.sequence)
        return replace(checkpoint, cursor=cursor)

    async def _taken_over(self) -> Cursor | None:
        """The cursor that DICOM Cast left, if it was not taken over before."""
        if self.dicom_cast is None or not self.takes_over:
            return None
        sequence = await self.dicom_cast.cursor()
        if sequence is None:
            return None
        left = f"STATE__URL: DICOM Cast left its cursor there, behind sequence {sequence} of change feed v1"
        if self.feed.version != "v1":
            raise ConfigError(f"{left}, and this service is read by v2; set DICOM__API_VERSION to v1, or WORKER__START")
        try:
            cursor = await self.feed.start(sequence + 1)
        except ConfigError:
            raise ConfigError(f"{left}, which this archive has not reached: is it another? Set WORKER__START") from None
        _log.info("cursor.taken-over", source=self.feed.source, sequence=sequence)
        return replace(cursor, position={**cursor.position, _TAKEN_OVER: sequence})

    async def note_take_over(self, cursor: Cursor) -> None:
        """Note beside the cursor of DICOM Cast that it was taken over, once that is settled, and before a window is."""
        sequence = cursor.position.get(_TAKEN_OVER)
        if sequence is not None and self.dicom_cast is not None and self.notes:
            await self.dicom_cast.note(self.feed.source, sequence)

    def refuse_other_kind(self, cursor: Cursor | None) -> None:
        """The same archive followed in another way has other sequences: from there nobody knows what is new."""
        kind = self.feed.kind if cursor is None else cursor.position.get("kind", "azure")
        if kind != self.feed.kind:
            raise ConfigError(
                f"DICOM__KIND: the state store has a cursor of kind {kind}, from which {self.feed.kind} cannot go on; "
                "give it a new STATE__URL, with which nothing is written where FHIR is right"
            )


def rules(patient: PatientRules, mapping: MappingSettings) -> Rules:
    """The mapping's rules as the settings have them."""
    return Rules(
        patient_system=patient.system or "",
        accession_system=mapping.accession_system or "",
        issuers=patient.issuers,
        unknown_issuer_is_site=patient.unknown_issuer == "site",
        missing_id=MissingId(patient.missing_id),
        unknown=patient.unknown or "",
        timezone=ZoneInfo(mapping.timezone) if mapping.timezone else None,
        extras=frozenset(mapping.extras),
        compat=mapping.compat,
        strict=mapping.strict,
        most_listed=_most_listed(mapping.instances),
    )


def _most_listed(instances: str | int) -> int | None:
    match instances:
        case int():
            return instances
        case "counts":
            return 0
        case _:
            return None


@asynccontextmanager
async def build(
    settings: Settings,
    *,
    dry_run: Callable[[bytes], None] | None = None,
    read_only: bool = False,
    spans: Spans = SILENT,
) -> AsyncIterator[App]:
    """An `App` with its connections, closed at the end. A `dry_run` is handed the bundles, and nothing is written.

    With `read_only`, or in a dry run, the state store is not made where there is none.
    """
    async with AsyncExitStack() as stack:
        dicom = _http("dicom", settings.dicom, settings, spans)
        stack.push_async_callback(dicom.close)
        server = _http("fhir", settings.fhir, settings, spans)
        stack.push_async_callback(server.close)
        stored = state_store(settings.state, read_only=read_only or dry_run is not None)
        store = stored if dry_run is None else DryRunStore(stored)
        stack.push_async_callback(store.close)
        feed = _feed(settings.dicom, dicom, store)
        tenure = Tenure(store, feed.source, ttl=settings.worker.lease, clock=_now)
        fhir = FhirServer(
            server,
            version=settings.fhir.version,
            fence=lambda: tenure.epoch,
            search_lag=settings.fhir.search_lag,
        )
        if dry_run is not None:
            fhir = DryRunServer(server, dry_run, version=settings.fhir.version)
        vitals = Vitals(source=feed.source, peers=(dicom, server))
        site = rules(settings.patient, settings.mapping)
        together = Together(fhir, at_once=settings.worker.concurrency, most=STUDIES if dry_run is None else 1)
        caster = Caster(feed, fhir, site, mode=settings.patient.mode, note=vitals.report.note, together=together)
        synchronizer = Synchronizer(
            feed,
            fhir,
            store,
            tenure,
            caster,
            clock=_now,
            count=vitals.report.count,
            concurrency=settings.worker.concurrency,
            window=settings.worker.window,
            spans=spans,
        )

        def give_up() -> None:
            dicom.give_up()
            server.give_up()

        yield App(
            feed, fhir, store, tenure, synchronizer, vitals, settings.worker.start, give_up, (dicom, server),
            dicom_cast=_dicom_cast(settings),
            takes_over="start" not in settings.worker.model_fields_set,
            notes=dry_run is None,
        )  # fmt: skip


def _now() -> datetime:
    return datetime.now(UTC)


def state_store(state: StateSettings, *, read_only: bool) -> StateStore:
    return open_store(state.url, read_only=read_only, table=_access(state))


def _access(state: StateSettings) -> TableAccess:
    secret = state.connection_string.get_secret_value() if state.connection_string else ""
    return TableAccess(secret, state.table_prefix, state.client_id or "")


def _dicom_cast(settings: Settings) -> DicomCast | None:
    """What DICOM Cast left in the account that has our state; it followed a DICOM service alone."""
    scheme, _, account = settings.state.url.partition("://")
    if scheme != "azure-tables" or settings.dicom.kind != "azure":
        return None
    from dicomcast.state.dicom_cast import DicomCast

    return DicomCast(account, _access(settings.state))


def _feed(dicom: DicomSettings, http: Http, store: StateStore) -> Feed:
    """The feed of a kind of archive; those that are not asked for are not imported."""
    if dicom.kind == "azure":
        return AzureFeed(http, public_url=dicom.public_url, api=dicom.api_version, lag=dicom.safety_lag)
    from dicomcast.dicom.sweep import Sweeper

    sweeper = Sweeper(store, canonical(dicom.public_url), dicom.sweep_interval, dicom.vanished_limit)
    if dicom.kind == "orthanc":
        from dicomcast.dicom.orthanc import OrthancFeed

        return OrthancFeed(http, sweeper, public_url=dicom.public_url)
    from dicomcast.dicom.dicomweb import DicomwebFeed

    return DicomwebFeed(http, sweeper, public_url=dicom.public_url, recent=dicom.recent)


def _http(peer: str, group: DicomSettings | FhirSettings, settings: Settings, spans: Spans) -> Http:
    # A DICOM service's version is chosen here, and so is no part of its URL.
    url = canonical(group.url) if isinstance(group, DicomSettings) and group.kind == "azure" else group.url
    for name, to in (("URL", url), ("AUTH__TOKEN_URL", getattr(group.auth, "token_url", ""))):
        if group.auth.kind != "none" and readable_on_the_way(to):
            setting = f"DICOMCAST_{peer.upper()}__{name}"
            said = f"credentials go over plain http, where others can read them; use https ({setting})"
            _log.warning("credentials.unprotected", peer=peer, server=to, error=said)
    return Http(
        peer,
        url,
        credentials=credentials(group.auth, peer, url),
        tls=group.tls.files,
        timeout=group.timeout,
        budget=settings.worker.retry_budget,
        concurrency=2 * settings.worker.concurrency,  # a study may read some instances at once
        spans=spans,
    )
