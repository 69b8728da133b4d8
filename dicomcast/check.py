"""The preflight: everything a worker needs, tried in the order in which it needs it, and nothing left behind.

What is wrong is told by the errors that a worker would meet, so cause and remedy read the same everywhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from dicomcast.app import App, build, state_store
from dicomcast.errors import DicomCastError, Retriable
from dicomcast.http import Http
from dicomcast.model import Cursor
from dicomcast.reach import reach
from dicomcast.settings import DicomSettings, FhirSettings, Settings, StateSettings
from dicomcast.state.trial import try_out

__all__ = ["Finding", "State", "examine", "exit_code"]

# In seconds, for one step: somebody is waiting for the answer.
_PATIENCE = 30
# Of several failures the one that has to be mended first: a setting, then a permission, then what may pass.
_WORST = (78, 77, 75)


class State(StrEnum):
    """How a step ended; it is `skipped` where one before it failed on which it depends."""

    OK = "ok"
    WRONG = "WRONG"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the preflight: `about` is a peer or the state store, `code` the exit code that it comes to."""

    about: str
    step: str
    state: State
    said: str = ""
    code: int = 0


def exit_code(findings: list[Finding]) -> int:
    """That of the worst, 0 if all is well."""
    codes = {one.code for one in findings}
    return next((code for code in _WORST if code in codes), max(codes, default=0))


async def examine(settings: Settings) -> AsyncIterator[Finding]:
    """Try everything; a line comes as soon as it is known."""
    state, cursor = await _state(settings)
    # The peers are tried without the state store, which may be what is wrong.
    apart = {
        "state": StateSettings(url="sqlite:///:memory:"),
        "worker": settings.worker.model_copy(update={"retry_budget": timedelta(0)}),
    }
    async with build(settings.model_copy(update=apart)) as app:
        dicom, fhir = app.peers
        async for finding in _peer(dicom, settings.dicom, {"read": _read_feed(app, cursor)}):
            yield finding
        asked = {"capabilities": _capabilities(app), "read": _search(app), "write": _write(app)}
        async for finding in _peer(fhir, settings.fhir, asked):
            yield finding
    for finding in state:
        yield finding


async def _peer(
    http: Http, group: DicomSettings | FhirSettings, asked: Mapping[str, Coroutine[Any, Any, str]]
) -> AsyncIterator[Finding]:
    """The way there, who we are there, and what is asked there; after a failure the rest is not tried."""
    steps: dict[str, Coroutine[Any, Any, str]] = {
        "address": reach(http.peer, group.url, group.tls.files),
        "credentials": _who(http),
        **asked,
    }
    failed = False
    for step, work in steps.items():
        finding = await _tried(http.peer, step, work, skip=failed)
        failed = finding.state is not State.OK
        yield finding


async def _tried(about: str, step: str, work: Coroutine[Any, Any, str], *, skip: bool = False) -> Finding:
    if skip:
        work.close()
        return Finding(about, step, State.SKIPPED)
    try:
        async with asyncio.timeout(_PATIENCE):
            return Finding(about, step, State.OK, await work)
    except DicomCastError as error:
        return Finding(about, step, State.WRONG, str(error), error.exit_code)
    except TimeoutError:
        said = f"no answer within {_PATIENCE} seconds"
        return Finding(about, step, State.WRONG, said, Retriable.exit_code)


async def _who(http: Http) -> str:
    return await http.credentials.described() if http.credentials is not None else "none are sent"


async def _read_feed(app: App, cursor: Cursor | None) -> str:
    app.refuse_other_kind(cursor)
    await app.feed.open(cursor, budget=0.0)
    newest = f", its newest entry is {app.feed.newest.sequence}" if app.feed.newest.sequence else ""
    return f"{app.feed.kind} {app.feed.version}{newest}"


async def _capabilities(app: App) -> str:
    await app.fhir.open(budget=0.0)
    can = app.fhir.capabilities
    writes = "transactions" if can.transaction else "no transactions, so that bundles are batches"
    ids = "ids of our choice" if can.update_create else "conditional creates, since it chooses the ids"
    return f"FHIR {can.version or app.fhir.version.number}, {writes}, {ids}"


async def _search(app: App) -> str:
    await app.fhir.find("ImagingStudy", [("urn:dicom:uid", "urn:oid:2.25.0")])
    return "a study can be searched for"


async def _write(app: App) -> str:
    await app.fhir.try_writing()
    return "bundles are taken: one that deletes what is not there was"


async def _state(settings: Settings) -> tuple[list[Finding], Cursor | None]:
    """What there is to say of the state store, and the cursor that is in it."""
    written = await _tried("state", "write", _written(settings))
    if written.state is not State.OK:
        return [written, Finding("state", "lease", State.SKIPPED)], None
    async with build(settings, read_only=True) as app:
        lease = await _tried("state", "lease", _lease(app))
        cursor = (await app.store.load(app.feed.source)).cursor if lease.state is State.OK else None
    return [written, lease], cursor


async def _written(settings: Settings) -> str:
    url = settings.state.url
    await try_out(url, lambda url: state_store(settings.state.model_copy(update={"url": url}), read_only=False))
    return f"{url} can be written"


async def _lease(app: App) -> str:
    lease = await app.store.lease(app.feed.source)
    if lease is None or lease.expires_at <= datetime.now(UTC):
        return "free: no worker is active on this archive"
    return f"held by {lease.owner}, a worker that is active on this archive; others stand by"
