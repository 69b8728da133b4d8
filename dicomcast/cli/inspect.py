"""`status` and `config`: where the work stands, and what it was told."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from dicomcast import telemetry
from dicomcast.app import App, build
from dicomcast.errors import DicomCastError
from dicomcast.model import Cursor
from dicomcast.settings import effective, load_settings
from dicomcast.vitals import Backlog

__all__ = ["config", "status"]

# In seconds: somebody is waiting for the answer.
_PATIENCE = 10

Json = Annotated[bool, typer.Option("--json", help="One JSON object, for programs.")]


def status(as_json: Json = False) -> None:
    """Show the cursor, how far behind the feed it is, how many studies are parked, and who is at work.

    Example: dicomcast status --json
    """
    settings = load_settings()
    telemetry.configure(settings.log.level, settings.log.format)

    async def ask() -> dict[str, Any]:
        async with build(settings, read_only=True) as app:
            return await _status(app)

    facts = asyncio.run(ask())
    if as_json:
        print(json.dumps(facts))
        return
    for name, value in facts.items():
        print(f"{name.replace('_', ' '):<22} {'-' if value is None else value}")


async def _status(app: App) -> dict[str, Any]:
    checkpoint = await app.store.load(app.feed.source)
    lease = await app.store.lease(app.feed.source)
    rows, now = await app.store.parked(app.feed.source), datetime.now(UTC)
    problem, latest = "", Cursor()
    try:
        async with asyncio.timeout(_PATIENCE):
            await app.feed.open(checkpoint.cursor, budget=_PATIENCE / 2)
        latest = app.feed.newest
    except DicomCastError as error:  # what the store knows is worth telling all the same
        problem = str(error)
    except TimeoutError:
        problem = f"the archive does not answer within {_PATIENCE} seconds"
    backlog = Backlog.of(checkpoint.cursor or Cursor(), latest, rows)
    return {
        "source": app.feed.source,
        "settled": checkpoint.cursor.sequence if checkpoint.cursor else None,
        "settled_at": _text(checkpoint.updated_at),
        "latest": None if problem else latest.sequence,
        "lag_entries": None if problem else backlog.entries,
        "lag_seconds": None if problem else round(backlog.seconds(now, checkpoint.updated_at), 1),
        "parked": backlog.parked,
        "dead": backlog.dead,
        "oldest_parked_seconds": round(backlog.oldest_seconds(now), 1),
        "active_worker": lease.owner if lease and lease.expires_at > now else None,
        "feed": problem or "ok",
    }


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
