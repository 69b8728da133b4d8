"""`parked`: the studies that could not be cast: which, why, and what to do about them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

import typer

from dicomcast import parking, telemetry
from dicomcast.app import App, build
from dicomcast.cli.uids import study_uid
from dicomcast.errors import ConfigError
from dicomcast.model import Parked
from dicomcast.settings import load_settings
from dicomcast.vitals import Report
from dicomcast.worker import Job, Replay, Worker

__all__ = ["app"]

app = typer.Typer(
    help="List, show, retry or drop the studies that could not be cast.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

All = Annotated[bool, typer.Option("--all", help="All of them.")]
Study = Annotated[
    list[str] | None,
    typer.Option(parser=study_uid, metavar="UID", help="Those of this StudyInstanceUID; repeatable."),
]
Reason = Annotated[list[str] | None, typer.Option(metavar="SLUG", help="Those with this reason; repeatable.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON array, for programs.")]
JsonObject = Annotated[bool, typer.Option("--json", help="One JSON object, for programs.")]

_T = TypeVar("_T")
_Filter = Callable[[Parked], bool]

_COLUMNS = ("study", "partition", "reason", "attempts", "first_seen", "next_attempt")


@app.command("list")
def list_parked(study: Study = None, reason: Reason = None, as_json: Json = False) -> None:
    """List them, oldest first.

    Example: dicomcast parked list --reason multiple-match
    """
    rows = asyncio.run(_rows(_filter(study, reason)))
    if as_json:
        print(json.dumps([_facts(row) for row in rows]))
        return
    table = [dict(zip(_COLUMNS, _COLUMNS, strict=True)), *map(_facts, rows)]
    for facts in table if rows else ():
        print("  ".join(f"{_cell(facts[name]):<{_width(table, name)}}" for name in _COLUMNS).rstrip())
    if not rows:
        print(_nothing(study, reason))


@app.command()
def show(study: Study = None, reason: Reason = None, as_json: Json = False) -> None:
    """Show all that is known of them: stage, message, status, codes, sequences, attempts.

    Example: dicomcast parked show --study 1.2.840.113619.2.55.3
    """
    rows = asyncio.run(_rows(_filter(study, reason)))
    if as_json:
        print(json.dumps([_facts(row) for row in rows]))
        return
    for row in rows:
        for name, value in _facts(row).items():
            print(f"{name.replace('_', ' '):<16} {_cell(value)}")
        print()
    if not rows:
        print(_nothing(study, reason))


@app.command()
def retry(every: All = False, study: Study = None, reason: Reason = None, as_json: JsonObject = False) -> None:
    """Cast them now, from what the archive holds now; where a worker is active, at its next poll.

    Exits 1 if no parked study matches.

    Example: dicomcast parked retry --reason not-found
    """
    chosen = _chosen(every, study, reason)

    async def work(app: App) -> tuple[Report, bool]:
        keys = [row.key for row in await _select(app, chosen)]
        job = Job(True, Replay(keys=keys), tail=False)
        return await Worker(app).run(job) if keys else Report(), bool(keys)

    report, any_row = asyncio.run(_with_app(work))
    if as_json:
        print(json.dumps(report.facts))
    else:
        print(report if any_row else _nothing(study, reason))
    _fail_if_misnamed(any_row, every)


@app.command("import")
def import_failures(as_json: JsonObject = False) -> None:
    """Take over what DICOM Cast could not store, from its tables in the account of STATE__URL, as dead letters.

    A study that is parked already keeps its row, and nothing is imported twice. `parked retry --all` casts them.

    Example: dicomcast parked import
    """

    async def work(app: App) -> tuple[int, int]:
        if app.dicom_cast is None:
            raise ConfigError(
                "STATE__URL: what DICOM Cast could not store is in its storage account: set it to that, with the "
                "TABLE_PREFIX of DICOM Cast; for the worker too, or for this command alone, and then retry there"
            )
        source = app.feed.source
        found, until = await app.dicom_cast.failures(source, datetime.now(UTC))
        there = {row.key.study_uid for row in await app.store.parked(source)}
        new = [row for row in found if row.key.study_uid not in there]
        await app.store.settle(source, parked=new, read=[])
        if until is not None:
            await app.dicom_cast.note_import(until)
        return len(new), len(found) - len(new)

    imported, known = asyncio.run(_with_app(work))
    if as_json:
        print(json.dumps({"imported": imported, "known": known}))
    else:
        print(f"{imported} imported as dead letters; {known} are parked or dead already")


@app.command()
def drop(every: All = False, study: Study = None, reason: Reason = None, as_json: Json = False) -> None:
    """Forget them: what they missed is missing until the study changes again, or `replay --replay-study UID`.

    Exits 1 if no parked study matches.

    Example: dicomcast parked drop --study 1.2.840.113619.2.55.3
    """
    chosen = _chosen(every, study, reason)

    async def work(app: App) -> list[Parked]:
        rows = await _select(app, chosen)
        await app.store.settle(app.feed.source, parked=[parking.drop(row) for row in rows])
        return rows

    rows = asyncio.run(_with_app(work))
    if as_json:
        print(json.dumps([_facts(row) for row in rows]))
    else:
        print(f"{len(rows)} dropped" if rows else _nothing(study, reason))
    _fail_if_misnamed(bool(rows), every)


async def _with_app(work: Callable[[App], Awaitable[_T]], *, read_only: bool = False) -> _T:
    settings = load_settings()
    telemetry.configure(settings.log.level, settings.log.format)
    async with build(settings, read_only=read_only) as app:
        return await work(app)


async def _rows(chosen: _Filter) -> list[Parked]:
    return await _with_app(lambda app: _select(app, chosen), read_only=True)


def _nothing(studies: list[str] | None, reasons: list[str] | None) -> str:
    return "no parked study matches" if studies or reasons else "nothing is parked"


def _fail_if_misnamed(found: bool, every: bool) -> None:
    """Who names what is not there has mistyped it, or comes too late; `--all` of nothing is done."""
    if not found and not every:
        raise typer.Exit(1)


async def _select(app: App, chosen: _Filter) -> list[Parked]:
    return [row for row in parking.undropped(await app.store.parked(app.feed.source)) if chosen(row)]


def _filter(studies: list[str] | None, reasons: list[str] | None) -> _Filter:
    return lambda row: (not studies or row.key.study_uid in studies) and (not reasons or row.reason in reasons)


def _chosen(every: bool, studies: list[str] | None, reasons: list[str] | None) -> _Filter:
    """What changes something wants to be told what: nobody should drop all rows by leaving a word out."""
    if every == bool(studies or reasons):
        raise typer.BadParameter("say which: --all, or --study UID, or --reason SLUG")
    return _filter(studies, reasons)


def _facts(row: Parked) -> dict[str, Any]:
    """A row, in the words of the table."""
    return {
        "study": row.key.study_uid,
        "partition": row.key.partition,
        "state": "dead" if row.next_attempt is None else "parked",
        "stage": row.stage.value,
        "reason": row.reason,
        "message": row.message,
        "status": row.status,
        "codes": list(row.codes),
        "first_sequence": row.first_sequence,
        "last_sequence": row.last_sequence,
        "attempts": row.attempts,
        "first_seen": _moment(row.first_seen),
        "last_seen": _moment(row.last_seen),
        "next_attempt": _moment(row.next_attempt),
    }


def _moment(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).isoformat(timespec="seconds") if moment else None


def _cell(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else "-" if value in (None, "") else str(value)


def _width(table: list[dict[str, Any]], name: str) -> int:
    return max(len(_cell(facts[name])) for facts in table)
