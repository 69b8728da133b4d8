"""`status` and `config`: where the work stands, and what it was told."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any

import typer

from dicomcast import telemetry
from dicomcast.app import App, build
from dicomcast.errors import Retriable
from dicomcast.settings import effective, load_settings

__all__ = ["config", "status"]

Json = Annotated[bool, typer.Option("--json", help="One JSON object, for programs.")]


def status(as_json: Json = False) -> None:
    """Show the cursor, how far behind the feed it is, and how many studies are parked.

    Example: dicomcast status --json
    """
    settings = load_settings()
    telemetry.configure(settings.log.level, settings.log.format)

    async def ask() -> dict[str, Any]:
        async with build(settings) as app:
            return await _status(app)

    facts = asyncio.run(ask())
    if as_json:
        print(json.dumps(facts))
        return
    for name, value in facts.items():
        print(f"{name.replace('_', ' '):<16} {'-' if value is None else value}")


async def _status(app: App) -> dict[str, Any]:
    checkpoint = await app.store.load(app.feed.source)
    rows = await app.store.parked(app.feed.source)
    settled = checkpoint.cursor.sequence if checkpoint.cursor else None
    facts: dict[str, Any] = {
        "source": app.feed.source,
        "settled": settled,
        "settled_at": checkpoint.updated_at.isoformat() if checkpoint.updated_at else None,
        "latest": None,
        "lag": None,
        "parked": sum(row.next_attempt is not None for row in rows),
        "dead": sum(row.next_attempt is None for row in rows),
        "feed": "ok",
    }
    try:
        await app.feed.open(checkpoint.cursor, budget=5)
        latest = (await app.feed.latest()).sequence
        facts |= {"latest": latest, "lag": max(0, latest - (settled or 0))}
    except Retriable as error:
        facts["feed"] = str(error)
    return facts


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
