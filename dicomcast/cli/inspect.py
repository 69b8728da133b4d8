"""`status` and `config`: where the work stands, and what it was told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException
from typing import Annotated, Any

import typer

from dicomcast import telemetry
from dicomcast.app import App, build
from dicomcast.errors import DicomCastError
from dicomcast.model import Cursor
from dicomcast.settings import HealthSettings, Settings, effective, load_settings
from dicomcast.vitals import Backlog

__all__ = ["config", "status"]

# In seconds: somebody is waiting for the answer.
_PATIENCE = 10
_WELL = "ok"

Json = Annotated[bool, typer.Option("--json", help="One JSON object, for programs.")]


def status(as_json: Json = False) -> None:
    """Show the cursor, how far behind the feed it is, how many studies are parked, and who is at work.

    What a worker on this machine is at, and why it is blocked, is asked at HEALTH__PORT, if that is set.

    Example: dicomcast status --json
    """
    settings = load_settings()
    telemetry.configure(settings.log.level, settings.log.format)

    async def ask() -> dict[str, Any]:
        async with build(settings, read_only=True) as app:
            return await _status(app, settings)

    facts = asyncio.run(ask())
    if as_json:
        print(json.dumps(facts))
        return
    for name, value in facts.items():
        print(f"{name.replace('_', ' '):<22} {'-' if value is None else value}")


async def _status(app: App, settings: Settings) -> dict[str, Any]:
    checkpoint = await app.store.load(app.feed.source)
    lease = await app.store.lease(app.feed.source)
    rows, now = await app.store.parked(app.feed.source), datetime.now(UTC)
    feed = await _asked(app.feed.open(checkpoint.cursor, budget=_PATIENCE / 2))
    fhir = await _asked(app.fhir.open(budget=_PATIENCE / 2))
    known = checkpoint.cursor is not None and feed == _WELL
    backlog = Backlog.of(checkpoint.cursor or Cursor(), app.feed.newest, rows, measurable=app.feed.measurable)
    oldest = backlog.oldest_seconds(now)
    lag = backlog.seconds(now, checkpoint.updated_at if backlog.settled.sequence else None) if known else None
    backfilling = checkpoint.cursor is not None and "backfill" in checkpoint.cursor.position
    worker = await asyncio.to_thread(_worker_here, settings.health, app.feed.source)
    return {
        "source": app.feed.source,
        "state": settings.state.url,
        "settled": checkpoint.cursor.sequence if checkpoint.cursor else None,
        "settled_at": _text(checkpoint.updated_at) if backlog.settled.sequence else None,
        "latest": app.feed.newest.sequence if feed == _WELL else None,
        "lag_entries": backlog.entries if known else None,
        "lag_seconds": round(lag, 1) if lag is not None else None,
        "parked": backlog.parked,
        "dead": backlog.dead,
        "oldest_parked_seconds": round(oldest, 1) if oldest is not None else None,
        "backfill_left": await app.store.count_enlisted(app.feed.source) if backfilling else None,
        "active_worker": lease.owner if lease and lease.expires_at > now else None,
        "worker_here": worker.get("phase"),
        "worker_reason": worker.get("reason") or None,
        "feed": feed,
        "fhir": fhir,
    }


def _worker_here(health: HealthSettings, source: str) -> dict[str, Any]:
    """What a worker on this machine says of itself at /readyz: it alone knows that it is blocked. Nothing where none
    answers, or where it has another source.
    """
    if health.port is None:
        return {}
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(health.address, health.address)
    connection = HTTPConnection(host, health.port, timeout=_PATIENCE / 5)
    try:
        connection.request("GET", "/readyz")
        said = json.loads(connection.getresponse().read())
    except (OSError, HTTPException, ValueError):
        return {}
    finally:
        connection.close()
    return said if isinstance(said, dict) and said.get("source") == source else {}


async def _asked(opening: Coroutine[Any, Any, None]) -> str:
    """How a peer is; what the store knows is worth telling all the same."""
    try:
        async with asyncio.timeout(_PATIENCE):
            await opening
    except DicomCastError as error:
        return str(error)
    except TimeoutError:
        return f"no answer within {_PATIENCE} seconds"
    return _WELL


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="seconds") if moment else None


def config(as_json: Json = False) -> None:
    """Show every setting as it is in effect and where it came from; secrets are hidden.

    Example: dicomcast config
    """
    settings = effective()
    if as_json:
        print(json.dumps([{"variable": one.variable, "value": one.value, "source": one.source} for one in settings]))
        return
    width = max(len(one.variable) for one in settings)
    for one in settings:
        print(f"{one.variable:<{width}}  {one.value:<28}  {one.source}")
